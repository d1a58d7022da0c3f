"""The closing numbers of a run, as `summary.json` has them."""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from experiments.harness.methods import Closing
from experiments.harness.stages import Timed
from mlsh_jax.adapt import Assessment, Episodes
from mlsh_jax.environment import TaskEnvironment
from mlsh_jax.host.runs import Run
from mlsh_jax.host.sinks import read_records
from mlsh_jax.host.train import FitResult
from mlsh_jax.tasks import Tasks

SAMPLED = "sampled"
"""What all tasks are called together where they are too many to have names."""


def summarize_costs(
    run: Run, seed: int, stages: Sequence[FitResult[Any]], timed: Sequence[Timed]
) -> dict[str, Any]:
    """What a run was and what it cost, over all its stages and sessions.

    Args:
        run: the run directory.
        seed: of the run.
        stages: results of the training stages.
        timed: evaluations; their time counts, their env steps do not.
    """
    env_steps = sum(stage.env_steps for stage in stages)
    training_seconds = sum(stage.wall_seconds for stage in stages)
    compile_seconds = sum(s.compile_seconds for s in stages) + sum(t.compile_seconds for t in timed)
    return {
        "experiment": run.experiment,
        "preset": run.preset,
        "seed": seed,
        "env_steps": env_steps,
        "wall_seconds": training_seconds + sum(t.wall_seconds for t in timed) + compile_seconds,
        "compile_seconds": compile_seconds,
        "env_steps_per_second": env_steps / max(training_seconds, 1e-9),
    }


def summarize_training(
    run: Run,
    seed: int,
    trained: FitResult[Any],
    assessed: Timed,
    closing: Closing,
) -> dict[str, Any]:
    """What a run came to that trained sub-policies and measured them.

    Args:
        run: the run directory.
        seed: of the run.
        trained: the stage that trained.
        assessed: the closing measurement, an `Assessment` and the curve of the adaptation.
        closing: what was measured.
    """
    env, tasks = closing.agent.env, closing.tasks
    summary = summarize_costs(run, seed, [trained], [assessed])
    assessment, curve = assessed.value
    summary |= summarize_assessment(assessment, env.task_names, np.asarray(tasks.index))
    returns = curve["return"].tolist()
    summary["adaptation_return"] = returns
    of_iteration = closing.agent.config.steps_per_iteration
    summary["adaptation_env_steps"] = [of_iteration * (i + 1) for i in range(len(returns))]
    summary["adaptation_episodes"] = np.cumsum(curve["episodes"]).tolist()
    by_task = curve.get("task_return", curve["return"][:, None])  # [iterations, M]
    for task, of_task in zip(summary["per_task"].values(), by_task.T, strict=True):
        task["adaptation_return"] = of_task.tolist()
    summary |= best_possible(env, tasks)
    recorded = _whole(run, "train")
    if recorded and recorded[-1]["env_steps"] == trained.env_steps:
        summary["training_return"] = [record["metrics"]["return"] for record in recorded]
    if "divergence" in trained.last_metrics:
        summary["subpolicy_divergence"] = trained.last_metrics["divergence"]
    return summary


def summarize_assessment(
    assessment: Assessment, task_names: Sequence[str], task_index: np.ndarray
) -> dict[str, Any]:
    """Returns with fresh masters before and after adaptation, in all and per task.

    Episodes in which the physics failed count in no return, position or success.

    Args:
        assessment: of G masters.
        task_names: of the M tasks of the distribution; empty where it is infinite.
        task_index: which of them each master had, `[G]`.

    Returns:
        `initial_return`, `adapted_return`, `per_task` (these, and of the adapted masters
        `episode_length`, the mean number of env steps, and `terminated_rate`, the share of episodes
        that ended for good, as by a fall or at a goal), `subpolicy_task_returns`,
        `subpolicy_episode_lengths` and `subpolicy_terminated_rates` `[K][M]`, `subpolicy_usage`
        `[M][K]` of the adapted masters and `physics_failures`, the share of their episodes. Where
        the environment reports success also `success_rate`, the share that were successful at any
        step, and `final_success_rate`, at the last step, in all and per task, and
        `initial_success_rate` with untrained masters; per task `steps_to_success`, env steps until
        the first success of those that were successful (NaN if none was);
        `subpolicy_success_rates` `[K][M]`. Where it reports places also, per task,
        `final_position`, and `subpolicy_final_positions` `[K][M][2]`.
    """
    names = list(task_names) or [SAMPLED]
    per_task = functools.partial(mean_by_task, task_index=task_index, num_tasks=len(names))

    initial, adapted = (mean_return(e) for e in (assessment.initial, assessment.adapted))  # [G]
    forced = assessment.forced
    ends = lengths(assessment.adapted), terminations(assessment.adapted)  # [G] each
    summary = {
        "initial_return": float(initial.mean()),
        "adapted_return": float(adapted.mean()),
        "per_task": {
            name: {"initial_return": float(before), "adapted_return": float(after)}
            | _spread(adapted[task_index == m])
            | {"episode_length": float(length), "terminated_rate": float(rate)}
            for m, (name, before, after, length, rate) in enumerate(
                zip(names, *map(per_task, (initial, adapted, *ends)), strict=True)
            )
        },
        "subpolicy_task_returns": [per_task(row).tolist() for row in mean_return(forced)],
        "subpolicy_episode_lengths": [per_task(row).tolist() for row in lengths(forced)],
        "subpolicy_terminated_rates": [per_task(row).tolist() for row in terminations(forced)],
        "subpolicy_usage": per_task(np.asarray(assessment.adapted.usage)).tolist(),
        "physics_failures": float(np.mean(assessment.adapted.failed)),
    }
    if {"x_position", "y_position"} <= set(assessment.adapted.env_finals):
        final = final_positions(assessment.adapted)  # [G, 2]
        for name, xy in zip(names, per_task(final), strict=True):
            summary["per_task"][name]["final_position"] = xy.tolist()
        alone = final_positions(assessment.forced)  # [K, G, 2]
        summary["subpolicy_final_positions"] = [per_task(row).tolist() for row in alone]
    if "success" in assessment.adapted.env_sums:
        rates = {
            "initial_success_rate": successes(assessment.initial),  # [G]
            "success_rate": successes(assessment.adapted),
            "final_success_rate": final_successes(assessment.adapted),
        }
        for key, rate in rates.items():
            summary[key] = float(rate.mean())
            for name, value in zip(names, per_task(rate), strict=True):
                summary["per_task"][name][key] = float(value)
        for m, name in enumerate(names):
            steps = steps_to_success(assessment.adapted, task_index == m)
            summary["per_task"][name]["steps_to_success"] = steps
        alone = successes(assessment.forced)  # [K, G]
        summary["subpolicy_success_rates"] = [per_task(row).tolist() for row in alone]
    return summary


def mean_by_task(values: np.ndarray, task_index: np.ndarray, num_tasks: int) -> np.ndarray:
    """Mean over the masters of each task: `[G, ...] -> [M, ...]`.

    Args:
        values: of the masters.
        task_index: which task each of them has, `[G]`.
        num_tasks: M.
    """
    return np.stack([values[task_index == m].mean(axis=0) for m in range(num_tasks)])


def summarize_baseline(episodes: Episodes, env_steps: int) -> dict[str, Any]:
    """What a baseline came to.

    Args:
        episodes: `[G, E, ...]` after it has learned.
        env_steps: environment steps that it learned from.
    """
    summary: dict[str, Any] = {
        "adapted_return": float(mean_return(episodes).mean()),
        "episode_length": float(lengths(episodes).mean()),
        "terminated_rate": float(terminations(episodes).mean()),
        "physics_failures": float(np.mean(episodes.failed)),
        "env_steps": env_steps,
    }
    if "success" in episodes.env_sums:
        summary["success_rate"] = float(successes(episodes).mean())
    return summary


def returns_by_task(
    episodes: Episodes, task_names: Sequence[str], task_index: np.ndarray
) -> dict[str, float]:
    """Mean return on every task, by its name; "sampled" where tasks are infinitely many.

    Args:
        episodes: `[G, E, ...]`.
        task_names: of the M tasks of the distribution; empty where it is infinite.
        task_index: which of them each of the G is, `[G]`.
    """
    returns = mean_return(episodes)  # [G]
    names = list(task_names) or [SAMPLED]
    return {name: float(returns[task_index == m].mean()) for m, name in enumerate(names)}


def best_possible(env: TaskEnvironment, tasks: Tasks) -> dict[str, Any]:
    """What an optimal player earns, where an environment knows it.

    Of its listed tasks (`best_returns`), or of those that were drawn (`best_return_of`).

    Args:
        env: the environment.
        tasks: that were played, `[G, ...]`.

    Returns:
        `best_return` over the tasks that were played and `best_returns` by the name of each task.
    """
    best = getattr(env, "best_returns", lambda: None)()  # [M]
    if best is not None:
        by_name = dict(zip(env.task_names, best.tolist(), strict=True))
        return {"best_return": float(best[np.asarray(tasks.index)].mean()), "best_returns": by_name}
    of_task, drawn = getattr(env, "best_return_of", lambda task: None), jax.device_get(tasks.task)
    of_drawn = []
    for g in range(tasks.index.shape[0]):
        best_of = of_task(jax.tree.map(lambda x, g=g: x[g], drawn))
        if best_of is None:
            return {}
        of_drawn.append(best_of)
    mean = sum(of_drawn) / len(of_drawn)
    return {"best_return": mean, "best_returns": {SAMPLED: mean}}


def learning_curve(run: Run, stage: str, iterations: int, num_tasks: int) -> dict[str, list[float]]:
    """What learns on given tasks, as a run has recorded it.

    Args:
        run: the run directory.
        stage: in which it has learned.
        iterations: of the stage.
        num_tasks: G, that are learned.

    Returns:
        `adaptation_return`, the return of the episodes of each iteration, `adaptation_env_steps`
        and `adaptation_episodes`, those that one task has had by then; nothing where not all are
        recorded.
    """
    mine = _whole(run, stage)
    returns, episodes = (
        [record["metrics"].get(name) for record in mine] for name in ("return", "episodes")
    )
    if len(mine) != iterations:
        return {}
    steps = [record["env_steps"] / num_tasks for record in mine]
    curve = {"adaptation_return": returns, "adaptation_env_steps": steps}
    if None not in episodes:  # of older iterations
        curve["adaptation_episodes"] = np.cumsum(episodes).tolist()
    return curve


def _whole(run: Run, stage: str) -> list[dict[str, Any]]:
    """What a stage has recorded of its iterations; nothing where one of them is missing."""
    records: list[dict[str, Any]] = []
    with contextlib.suppress(OSError):  # a record that is lost costs no summary
        records = read_records(run.directory / "metrics.jsonl")
    mine = [record for record in records if record["stage"] == stage]
    iterations = [record["iteration"] for record in mine]
    return mine if iterations == list(range(1, len(mine) + 1)) else []


def mean_return(episodes: Episodes) -> np.ndarray:
    """Mean over the episodes of each master, `[..., G]`."""
    return _mean(episodes, episodes.returns)


def lengths(episodes: Episodes) -> np.ndarray:
    """Env steps of an episode, mean over those of each master, `[..., G]`."""
    return _mean(episodes, episodes.lengths)


def terminations(episodes: Episodes) -> np.ndarray:
    """Share of episodes of each master that ended for good, `[..., G]`."""
    return _mean(episodes, episodes.terminated)


def final_positions(episodes: Episodes) -> np.ndarray:
    """Where episodes ended, mean over those of a master, in units of length: `[..., G, 2]`."""
    finals = episodes.env_finals
    means = [_mean(episodes, finals[name]) for name in ("x_position", "y_position")]
    return np.stack(means, axis=-1)


def successes(episodes: Episodes) -> np.ndarray:
    """Share of episodes of each master that were successful at any step, `[..., G]`."""
    return _mean(episodes, np.asarray(episodes.env_sums["success"]) > 0)


def final_successes(episodes: Episodes) -> np.ndarray:
    """Share of episodes of each master that were successful at the last step, `[..., G]`."""
    return _mean(episodes, episodes.env_finals["success"])


def steps_to_success(episodes: Episodes, of_task: np.ndarray) -> float:
    """Env steps until the first success, mean over the episodes that had one; NaN if none had.

    Args:
        episodes: `[G, E, ...]`.
        of_task: which masters count, bool `[G]`.
    """
    steps = np.asarray(episodes.steps_to_success)[of_task]
    reached = steps[np.isfinite(steps) & ~np.asarray(episodes.failed)[of_task]]
    return float(reached.mean()) if reached.size else float("nan")


def _mean(episodes: Episodes, values: Any) -> np.ndarray:
    """Mean over those episodes `[..., G, E]` of a master whose physics did not fail; NaN if all."""
    kept = np.ma.masked_array(np.asarray(values, np.float64), np.asarray(episodes.failed))
    return np.ma.filled(kept.mean(axis=-1), np.nan)


def _spread(returns: np.ndarray) -> dict[str, float]:
    """Worst and best master of a task."""
    return {"worst_master": float(returns.min()), "best_master": float(returns.max())}
