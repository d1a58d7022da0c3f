"""Whether an environment keeps the contract of `envs.base.TaskEnv`, said before it is used.

Only shapes are computed, and one task is drawn; nothing is simulated. What the package brings is
checked by its tests; `envs.make` checks what comes from elsewhere.
"""

import collections
import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.base import TaskEnv
from envs.errors import EnvError


def check(env: TaskEnv, name: str) -> None:
    """Refuses an environment whose functions and attributes do not agree.

    Args:
        env: without wrappers.
        name: of the environment, for messages.

    Raises:
        EnvError: naming the environment, and the attribute or function to mend.
    """

    def require(condition: bool, what: str) -> None:
        if not condition:
            raise EnvError(f"environment {name!r}: {what}")

    key = jax.eval_shape(lambda: jax.random.key(0))
    task = jax.eval_shape(env.sample_task, key)
    rows = env.all_tasks()
    if rows is None:
        require(not env.task_names, "all_tasks is None, so task_names must be empty")
    else:
        one = jax.eval_shape(lambda: jax.tree.map(lambda x: jnp.asarray(x)[0], rows))
        different = _first_difference(task, one)
        require(different is None, f"sample_task and the rows of all_tasks differ: {different}")
        counts = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(rows)}
        require(
            counts == {len(env.task_names)},
            f"all_tasks has {', '.join(map(str, sorted(counts)))} rows and task_names "
            f"{len(env.task_names)} names",
        )
        # Tables and files of tasks go by them.
        counted = collections.Counter(env.task_names)
        odd = [each for each, count in counted.items() if count > 1 or not each or "/" in each]
        require(not odd, f"task_names must differ, without /, and be no empty ones, got {odd[:3]}")

    best = env.best_returns(env.episode_length)
    if best is not None:
        shape = (len(env.task_names),)
        known = rows is not None and np.shape(best) == shape and np.isfinite(best).all()
        require(
            bool(known),
            f"best_returns must be None or {len(env.task_names)} finite numbers, got {best!r}",
        )
    state: Any = jax.eval_shape(env.reset_to_task, key, task)
    require("task" in state.info, 'reset_to_task must keep the task in info["task"]')
    expected = {"obs": (env.observation_size,), "reward": (), "done": ()}
    for field, shape in expected.items():
        value = getattr(state, field)
        size = " (observation_size)" if field == "obs" else ""
        require(
            value.shape == shape and value.dtype == jnp.float32,
            f"{field} of reset_to_task must be float32 {list(shape)}{size}, got {_describe(value)}",
        )
    for metric, value in state.metrics.items():
        require(
            value.shape == (), f"the metric {metric!r} must be a scalar, got {_describe(value)}"
        )
    discrete = env.num_actions is not None
    action = jax.ShapeDtypeStruct(
        () if discrete else (env.action_size,), jnp.int32 if discrete else jnp.float32
    )
    different = _first_difference(state, jax.eval_shape(env.step, state, action))
    require(different is None, f"step must return what reset_to_task does: {different}")
    key = jax.random.key(0)
    task = env.sample_task(key) if rows is None else jax.tree.map(lambda x: x[0], rows)
    if rows is None:
        best_of = env.best_return_of(task, env.episode_length)
        require(
            best_of is None or (np.shape(best_of) == () and bool(np.isfinite(best_of))),
            f"best_return_of must return None or a finite number, got {best_of!r}",
        )
    scene = env.scene(task)
    if scene is not None:
        places: Any = None
        with contextlib.suppress(KeyError):
            observation = np.zeros((1, *state.obs.shape), np.float32)
            places = env.positions(observation, {name: np.zeros(1) for name in state.metrics})
        require(
            np.shape(places) == (1, 2),
            "with a scene it needs the metrics x_position and y_position, or positions that "
            "returns x and y of other things [..., 2]",
        )
        heading: Any = env.headings(np.zeros((1, *state.obs.shape), np.float32))
        require(
            heading is None or np.shape(heading) == (1,),
            f"headings must return None or an angle each, [...], got {heading!r}",
        )
        num_items = len(scene.items)
        if num_items:
            observation = np.zeros((1, 2, *state.obs.shape), np.float32)
            recorded = {name: np.zeros((1, 1)) for name in state.metrics}
            shape = np.shape(env.item_positions(task, observation, recorded))
            require(
                shape == (1, 2, num_items, 2),
                f"item_positions must return x and y of the {num_items} items of the scene, "
                f"[R, 1 + T, {num_items}, 2], got {list(shape)} for R = T = 1",
            )


def _first_difference(first: Any, second: Any) -> str | None:
    """Where two trees of shapes differ, in words; None where they do not."""
    ones, others = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (first, second))
    for path in [*ones, *(path for path in others if path not in ones)]:
        one, other = ones.get(path), others.get(path)
        if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
            where = jax.tree_util.keystr(path) or "the whole"
            return f"{where} is {_describe(one)} in one and {_describe(other)} in the other"
    return None


def _describe(leaf: Any) -> str:
    return "missing" if leaf is None else f"{leaf.dtype} {list(leaf.shape)}"
