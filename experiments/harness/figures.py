"""What a run looks like: figures, replays and animations of the episodes it was measured on.

Only for environments that can draw themselves (`envs.base.TaskEnv.scene`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlsh_jax.adapt import Assessment, Episodes
from mlsh_jax.host import processes
from mlsh_jax.host.runs import Run
from mlsh_jax.rollout import Rollout
from mlsh_jax.tasks import Tasks
from mlsh_jax.viz.animation import write_animation
from mlsh_jax.viz.replay import Recording, write_replay
from mlsh_jax.viz.trajectories import Panel, plot_trajectories

FIGURE = "trajectories.png"
REPLAYS = "replays"
_MOST_SAMPLED = 4  # tasks shown of a distribution that has infinitely many


def look(run: Run, env: Any, assessment: Assessment, tasks: Tasks) -> None:
    """Writes `trajectories.png` and `replays/<task>.html` and `.gif` into the run directory.

    The figure has a panel per task with the adapted master and one per sub-policy that acts
    alone, on the task where it gets farthest; the replay of a task, and the animation beside it,
    is that of median return among the recorded episodes of the task's first master. An episode of
    2000 steps takes about 3 seconds.

    Args:
        run: the run directory.
        env: that the episodes were played in.
        assessment: on NumPy arrays.
        tasks: of its G masters.
    """
    if not processes.is_first():
        return
    shown = shown_masters(env.task_names, np.asarray(tasks.index))
    scenes = [env.scene(jax.tree.map(lambda x, g=g: x[g], tasks.task)) for g in shown.values()]
    if scenes[0] is None:
        return
    body = env.unwrapped
    adapted = [_of_master(assessment.adapted, g) for g in shown.values()]
    panels = [
        Panel(f"{name}: adapted master", scene, *paths(rollout))
        for name, scene, rollout in zip(shown, scenes, adapted, strict=True)
    ]
    num_subpolicies = np.shape(assessment.forced.returns)[0]
    for k in range(num_subpolicies):
        forced = jax.tree.map(lambda x, k=k: x[k], assessment.forced)
        alone = [paths(_of_master(forced, g)) for g in shown.values()]
        m = int(np.argmax([_distance(xy) for xy, _ in alone]))
        panels.append(Panel(f"{list(shown)[m]}: sub-policy {k} alone", scenes[m], *alone[m]))
    plot_trajectories(run.directory / FIGURE, panels)
    directory = run.directory / REPLAYS
    directory.mkdir(exist_ok=True)
    for name, scene, rollout in zip(shown, scenes, adapted, strict=True):
        recording = median_episode(body, rollout)
        title = f"{run.experiment}: {name}"
        write_replay(directory / f"{name}.html", body.sys, recording, scene, title)
        write_animation(directory / f"{name}.gif", body.sys, recording, scene)
    print(f"to look at: {run.directory / FIGURE}, {directory}/*.html and *.gif", flush=True)


def shown_masters(task_names: Sequence[str], task_index: np.ndarray) -> Mapping[str, int]:
    """The first master `[G]` of each task by the task's name; of sampled tasks the first few."""
    if not task_names:
        return {f"task_{g}": g for g in range(min(len(task_index), _MOST_SAMPLED))}
    return {name: int(np.argmax(task_index == m)) for m, name in enumerate(task_names)}


def paths(rollout: Rollout) -> tuple[np.ndarray, np.ndarray]:
    """Where the episodes of one master went, `[R, T, 2]`, and what was active, int `[R, T]`.

    After the end of an episode there are NaNs, which figures leave out.
    """
    metrics = rollout.env_metrics
    xy = np.stack([metrics["x_position"], metrics["y_position"]], axis=-1)  # [S, N, R, 2]
    xy = np.where(np.asarray(rollout.weight)[..., None] > 0, xy, np.nan)
    return np.moveaxis(_flat(xy), 1, 0), np.moveaxis(_flat(active(rollout)), 1, 0)


def _distance(xy: np.ndarray) -> float:
    """How far the episodes `[R, T, 2]` ended from where they started, on average."""
    last = np.isfinite(xy[..., 0]).sum(axis=1) - 1
    return float(np.linalg.norm(xy[np.arange(len(xy)), last] - xy[:, 0], axis=-1).mean())


def active(rollout: Rollout) -> np.ndarray:
    """The active sub-policy at every step, `[S, N, R]`."""
    return np.broadcast_to(np.asarray(rollout.subpolicy)[:, None], np.shape(rollout.reward))


def median_episode(body: Any, rollout: Rollout) -> Recording:
    """The recorded episode of median return of one master's, `[S, N, R, ...]`.

    Everything is as it was after each step.
    """
    returns = (np.asarray(rollout.reward) * rollout.weight).sum(axis=(0, 1))
    chosen = int(np.argsort(returns)[len(returns) // 2])
    length = int(np.asarray(rollout.weight)[:, :, chosen].sum())

    def steps(x: Any) -> np.ndarray:
        return _flat(np.asarray(x))[:length, chosen]

    metrics = rollout.env_metrics
    enemy = None
    if "enemy_x" in metrics:
        enemy = np.stack([steps(metrics["enemy_x"]), steps(metrics["enemy_y"])], axis=-1)
    seen = np.asarray(rollout.observation)
    seen = np.concatenate([seen[:, 1:], np.asarray(rollout.next_observation)[:, None]], axis=1)
    return Recording(
        q=steps(seen)[:, : body.sys.q_size()],
        subpolicy=steps(active(rollout)),
        reward=steps(rollout.reward),
        enemy=enemy,
        dt=float(body.dt),
    )


def _of_master(episodes: Episodes, g: int) -> Rollout:
    return jax.tree.map(lambda x: np.asarray(x)[g], episodes.recorded)


def _flat(x: np.ndarray) -> np.ndarray:
    """Joins slices: `[S, N, ...]` to `[T, ...]`."""
    return np.reshape(x, (-1, *np.shape(x)[2:]))
