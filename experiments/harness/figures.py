"""Figures of a run: usage, and trajectories, replays and animations of the measured episodes.

All but usage only of environments that say how they are drawn (`envs.base.TaskEnv.scene` and
`positions`).
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import brax.base
import jax
import numpy as np

from envs.base import TaskEnv
from envs.scene import Scene
from experiments.harness.summary import mean_by_task
from mlsh_jax.adapt import Assessment, Episodes
from mlsh_jax.host import processes
from mlsh_jax.host.runs import Run
from mlsh_jax.rollout import Rollout
from mlsh_jax.tasks import Tasks
from mlsh_jax.viz.animation import write_animation
from mlsh_jax.viz.bodies import UndrawableError
from mlsh_jax.viz.heights import plot_heights
from mlsh_jax.viz.replay import Recording, write_replay
from mlsh_jax.viz.trajectories import Panel, plot_trajectories
from mlsh_jax.viz.usage import plot_usage

USAGE = "usage.png"
FIGURE = "trajectories.png"
HEIGHTS = "heights.png"
REPLAYS = "replays"
_MOST_SAMPLED = 4  # tasks shown of a distribution that has infinitely many
_MOST_REPLAYED = 24  # tasks; a page is 0.6 MB, an animation a second or two
_EPISODES_IN_A_ROW = 4  # shown of a master where every episode has a world of its own


@dataclasses.dataclass(frozen=True)
class Played:
    """R recorded episodes of one master, as they are drawn.

    Positions and all else are as they were after each step. An agent without a body goes so far in
    a step that its path begins with where it started: there T is the number of steps and one more.

    Attributes:
        scenes: the world of each episode.
        xy: where the agent was, float `[R, T, 2]`; NaN after the end of an episode.
        subpolicy: which sub-policy was active, int `[R, T]`.
        reward: 0 after the end of an episode, `[R, T]`.
        q: positions of the body, `[R, T, Q]`; None if there is none.
        enemy: where the enemy was, `[R, T, 2]`; None if there is none.
        roofed: whether the ceilings of the scenes were there, bool `[R, T]`; None if they always
            are.
        items: where the items of the scenes were, `[R, T, I, 2]`; None if there is none.
        heading: where an agent without a body faced, `[R, T]`; None if it faces nowhere.
    """

    scenes: list[Scene]
    xy: np.ndarray
    subpolicy: np.ndarray
    reward: np.ndarray
    q: np.ndarray | None
    enemy: np.ndarray | None
    roofed: np.ndarray | None
    items: np.ndarray | None
    heading: np.ndarray | None

    @property
    def returns(self) -> np.ndarray:
        """Sum of rewards, `[R]`."""
        return self.reward.sum(axis=1)


def draw_run(run: Run, env: TaskEnv, assessment: Assessment, tasks: Tasks) -> None:
    """Writes `usage.png`, `trajectories.png`, `replays/<task>.gif` and `.html` of a run.

    The first shows which sub-policies adapted masters use. Of an environment that does not say how
    it is drawn it is all there is. The second has a panel per task with the adapted master and one
    per sub-policy that acts alone, on the task that it is best at, or where a body gets farthest.
    Where every episode has a world of its own, a row of episodes takes the place of a panel.
    Where scenes are seen from the side, `heights.png` shows the heights of the body in the same
    episodes over time.
    The animation of a task, and the page beside it, are of the episode of median return among those
    recorded of the task's first master; of more than 24 tasks every n-th has one. An episode of
    2000 steps takes about 3 seconds.

    Args:
        run: the run directory.
        env: that the episodes were played in.
        assessment: on NumPy arrays.
        tasks: of its G masters.
    """
    if not processes.is_first():
        return
    task_index = np.asarray(tasks.index)
    usage = np.asarray(assessment.adapted.usage)
    plot_usage(run.directory / USAGE, usage_by_task(env.task_names, task_index, usage))
    shown = shown_masters(env.task_names, task_index)
    chosen = {name: jax.tree.map(lambda x, g=g: x[g], tasks.task) for name, g in shown.items()}
    if all(env.scene(task) is None for task in chosen.values()):
        _say_what_there_is(run, [USAGE])
        return

    def of_each_task(episodes: Episodes) -> dict[str, Played]:
        recorded = {name: _of_master(episodes, g) for name, g in shown.items()}
        return {name: played(env, chosen[name], recorded[name]) for name in shown}

    adapted = of_each_task(assessment.adapted)
    worlds_differ = any(len(set(map(_contents, each.scenes))) > 1 for each in adapted.values())
    groups = {f"{name}: adapted master": each for name, each in adapted.items()}
    # A gait that earns nothing on any task is seen best where it gets somewhere.
    by_return = worlds_differ or system(env) is None
    for k in range(np.shape(assessment.forced.returns)[0]):
        alone = of_each_task(jax.tree.map(lambda x, k=k: x[k], assessment.forced))
        merit = {
            n: each.returns.mean() if by_return else _distance(each.xy) for n, each in alone.items()
        }
        name = max(merit, key=merit.__getitem__)
        groups[f"{name}: sub-policy {k} alone"] = alone[name]
    if worlds_differ:
        panels = [panel for title, each in groups.items() for panel in _one_by_one(title, each)]
        columns = len(panels) // len(groups)
        plot_trajectories(run.directory / FIGURE, panels, columns=columns)
    else:
        panels = [Panel(title, p.scenes[0], p.xy, p.subpolicy) for title, p in groups.items()]
        plot_trajectories(run.directory / FIGURE, panels)
    written = [USAGE, FIGURE]
    heights = {title: h for title, each in groups.items() if (h := _heights(each)) is not None}
    if heights:
        plot_heights(run.directory / HEIGHTS, heights, float(env.unwrapped.dt))
        written.append(HEIGHTS)
    try:
        _replay(run, env, adapted)
        written.append(f"{REPLAYS}/*.html and *.gif")
    except UndrawableError as error:
        print(f"{run.directory}: no {REPLAYS}: {error}; all else is there", flush=True)
    _say_what_there_is(run, written)


def _say_what_there_is(run: Run, written: Sequence[str]) -> None:
    print("to look at:", ", ".join(f"{run.directory}/{name}" for name in written), flush=True)


def usage_by_task(
    task_names: Sequence[str], task_index: np.ndarray, usage: np.ndarray
) -> Mapping[str, np.ndarray]:
    """What the masters of each task use on average, `[K]`; of sampled tasks each by itself.

    Args:
        task_names: of all tasks; empty where they are sampled.
        task_index: which of them each master has, `[G]`.
        usage: of the masters, `[G, K]`.
    """
    if not task_names:
        return {sampled_name(g): shares for g, shares in enumerate(usage)}
    return dict(zip(task_names, mean_by_task(usage, task_index, len(task_names)), strict=True))


def sampled_name(g: int) -> str:
    """What the task of the g-th master is called where tasks are drawn."""
    return f"task_{g}"


def shown_masters(task_names: Sequence[str], task_index: np.ndarray) -> Mapping[str, int]:
    """The first master `[G]` of each task by the task's name; of sampled tasks the first few."""
    if not task_names:
        return {sampled_name(g): g for g in range(min(len(task_index), _MOST_SAMPLED))}
    return {name: int(np.argmax(task_index == m)) for m, name in enumerate(task_names)}


def played(env: TaskEnv, task: Any, rollout: Rollout) -> Played:
    """What is drawn of the episodes of one master, recorded as `[S, N, R, ...]`."""
    first = np.asarray(rollout.observation)
    after = np.concatenate([first[:, 1:], np.asarray(rollout.next_observation)[:, None]], axis=1)
    scenes = [env.scene(task, observation) for observation in first[0, 0]]
    metrics = {name: np.asarray(value) for name, value in rollout.env_metrics.items()}
    xy = env.positions(after, metrics)  # [S, N, R, 2]
    enemy = None
    if "enemy_x" in metrics:
        enemy = np.stack([metrics["enemy_x"], metrics["enemy_y"]], axis=-1)
    known = [scene for scene in scenes if scene is not None]
    roof = known[0].ceilings_while if known else None
    sys = system(env)
    episodes = Played(
        scenes=known,
        xy=_by_episode(np.where(np.asarray(rollout.weight)[..., None] > 0, xy, np.nan)),
        subpolicy=_by_episode(active(rollout)),
        reward=_by_episode(np.asarray(rollout.reward) * rollout.weight),
        q=None if sys is None else _by_episode(after[..., : sys.q_size()]),
        enemy=None if enemy is None else _by_episode(enemy),
        roofed=None if roof is None else _by_episode(metrics[roof]) > 0,
        items=_items(env, task, known, first[0, 0], after, metrics),
        heading=None if sys is not None else env.headings(_from_first(first[0, 0], after)),
    )
    return episodes if sys is not None else _from_the_start(episodes)


def _items(
    env: TaskEnv,
    task: Any,
    scenes: Sequence[Scene],
    start: np.ndarray,
    after: np.ndarray,
    metrics: Mapping[str, np.ndarray],
) -> np.ndarray | None:
    """Where items were, as `Played` has it.

    Args:
        env: the environment.
        task: of the episodes.
        scenes: of the episodes.
        start: first observations, `[R, O]`.
        after: observations after each step, `[S, N, R, O]`.
        metrics: of the same states, `[S, N, R]` each.
    """
    if not scenes or not scenes[0].items:
        return None
    observation = _from_first(start, after)
    by_episode = {name: _by_episode(value) for name, value in metrics.items()}
    items = env.item_positions(task, observation, by_episode)
    return items if system(env) is None else items[:, 1:]


def _from_first(start: np.ndarray, after: np.ndarray) -> np.ndarray:
    """All observations of each episode, `[R, 1 + T, O]`, in order.

    Args:
        start: the first ones, `[R, O]`.
        after: those after each step, `[S, N, R, O]`.
    """
    return np.concatenate([start[:, None], _by_episode(after)], axis=1)


def system(env: TaskEnv) -> brax.base.System | None:
    """The system of the environment's body, None if it has none."""
    return getattr(env.unwrapped, "sys", None)


def active(rollout: Rollout) -> np.ndarray:
    """The active sub-policy at every step, `[S, N, R]`."""
    return np.broadcast_to(np.asarray(rollout.subpolicy)[:, None], np.shape(rollout.reward))


def median_episode(episodes: Played) -> int:
    """Which of the episodes has the median return."""
    return int(np.argsort(episodes.returns)[len(episodes.returns) // 2])


def record(env: TaskEnv, episodes: Played, r: int) -> Recording:
    """The r-th of the episodes, to its end."""
    length = int(np.isfinite(episodes.xy[r, :, 0]).sum())
    body = system(env)
    q = episodes.xy if episodes.q is None else episodes.q
    return Recording(
        q=q[r, :length],
        subpolicy=episodes.subpolicy[r, :length],
        reward=episodes.reward[r, :length],
        enemy=None if episodes.enemy is None else episodes.enemy[r, :length],
        roofed=None if episodes.roofed is None else episodes.roofed[r, :length],
        items=None if episodes.items is None else episodes.items[r, :length],
        heading=None if episodes.heading is None else episodes.heading[r, :length],
        dt=None if body is None else float(env.unwrapped.dt),
    )


def _replay(run: Run, env: TaskEnv, adapted: Mapping[str, Played]) -> None:
    """Writes the median episode of every task, of very many only of every n-th."""
    directory = run.directory / REPLAYS
    directory.mkdir(exist_ok=True)
    sys = system(env)
    every = math.ceil(len(adapted) / _MOST_REPLAYED)
    for name, episodes in itertools.islice(adapted.items(), 0, None, every):
        r = median_episode(episodes)
        recording, scene = record(env, episodes, r), episodes.scenes[r]
        title = f"{run.experiment}: {name}"
        write_replay(directory / f"{name}.html", sys, recording, scene, title)
        write_animation(directory / f"{name}.gif", sys, recording, scene)


def _heights(episodes: Played) -> tuple[np.ndarray, np.ndarray] | None:
    """Height of the body over time and who was active, None where there is nothing to show."""
    is_running = np.isfinite(episodes.xy[..., 0])
    if episodes.q is None or not episodes.scenes[0].seen_from_side or not is_running.any():
        return None
    return np.where(is_running, episodes.q[..., 2], np.nan), episodes.subpolicy


def _one_by_one(title: str, episodes: Played) -> list[Panel]:
    """A panel for each of the first episodes, in its own world."""
    return [
        Panel(
            f"{title}\nreturn {episodes.returns[r]:.3g}",
            episodes.scenes[r],
            episodes.xy[r : r + 1],
            episodes.subpolicy[r : r + 1],
        )
        for r in range(min(_EPISODES_IN_A_ROW, len(episodes.scenes)))
    ]


def _from_the_start(episodes: Played) -> Played:
    """The same with where each episode started before its first step."""
    starts = np.array([[scene.start] for scene in episodes.scenes])  # [R, 1, 2]

    def held(path: np.ndarray) -> np.ndarray:
        """What is not known of the time before the first step, taken from after it."""
        return np.concatenate([path[:, :1], path], axis=1)

    return dataclasses.replace(
        episodes,
        xy=np.concatenate([starts, episodes.xy], axis=1),
        subpolicy=held(episodes.subpolicy),
        reward=np.pad(episodes.reward, ((0, 0), (1, 0))),
        enemy=jax.tree.map(held, episodes.enemy),
        roofed=jax.tree.map(held, episodes.roofed),
    )


def _contents(scene: Scene) -> tuple[Any, ...]:
    """What may differ between the worlds of two episodes of a task."""
    return scene.start, scene.goal, scene.marks


def _distance(xy: np.ndarray) -> float:
    """How far the episodes `[R, T, 2]` ended from where they started, on average."""
    last = np.isfinite(xy[..., 0]).sum(axis=1) - 1
    return float(np.linalg.norm(xy[np.arange(len(xy)), last] - xy[:, 0], axis=-1).mean())


def _of_master(episodes: Episodes, g: int) -> Rollout:
    return jax.tree.map(lambda x: np.asarray(x)[g], episodes.recorded)


def _by_episode(x: np.ndarray) -> np.ndarray:
    """Joins slices and puts episodes first: `[S, N, R, ...]` to `[R, S * N, ...]`."""
    return np.moveaxis(np.reshape(x, (-1, *np.shape(x)[2:])), 1, 0)
