"""swimmer_bandits: a swimmer that is to reach a place without being told where it is.

Frans et al. 2018's released environments (openai/mlsh) have this task beside `ant_bandits`, the
paper has neither; the body is Brax's own `swimmer.xml`. Goals are drawn from a square, so that
tasks are infinitely many.
"""

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from envs.base import State
from envs.locomotion.bodies import (
    BodyEnv,
    check_choice,
    clip_action,
    first_state,
    next_state,
    simulate,
)
from envs.scene import NO_WALLS, Scene

BACKENDS = ("mjx", "generalized")
"""Physics backends in which the fluid carries the swimmer as in MuJoCo (tests/envs); in Brax's
others it swims elsewhere. "mjx" is the faster and the closer of the two."""

REWARDS = ("progress", "distance")

GOAL_SIDE = 5.0
"""Goals are uniform in the square from the origin to this x and y."""

_TIMESTEP, _SUBSTEPS = 0.01, 4  # as in `brax.envs.swimmer`
_POSE_NOISE = 0.1  # as in `brax.envs.swimmer`
_CONTROL_COST = 1e-4
_REWARD_SCALE = 1e-3


class SwimmerBandits(BodyEnv):
    """Swim to a goal that the observation does not show, and stay; the task is the goal, [2].

    Actions: 2 torques in [-1, 1] (clipped). Observation, float32 [10]: q (x and y, heading, two
    joint angles) and then qd, their velocities; x and y are those of the frame of the front link.
    Reward "progress": decrease of the distance to the goal in units per second, minus 1e-4 of the
    sum of squared torques. Reward "distance", nearly that of the released environment, which takes
    the place of the middle link before the step: (-distance to the goal - 1e-4 of the sum of
    squared torques) * 1e-3. Sub-policies do not see x and y unless
    `position_visible`: goals are everywhere in the square, so that headings, and not places, are
    what tasks share. Only failing physics ends an episode early.
    """

    name = "swimmer_bandits"
    episode_length = 1000
    task_names = ()

    def __init__(
        self, reward: str = "progress", backend: str = "mjx", position_visible: bool = False
    ):
        """Loads the body.

        Args:
            reward: one of `REWARDS`.
            backend: one of `BACKENDS`.
            position_visible: whether sub-policies see x and y.

        Raises:
            EnvError: if an option has another value.
        """
        check_choice("reward", reward, REWARDS)
        check_choice("backend", backend, BACKENDS)
        path = epath.resource_path("brax") / "envs/assets/swimmer.xml"
        super().__init__(path.read_text(), _TIMESTEP, _SUBSTEPS, backend, position_visible)
        self._reward_kind = reward

    def sample_task(self, key: jax.Array) -> jax.Array:
        """Draws a goal: float32 [2], uniform in the square."""
        return jax.random.uniform(key, (2,), jnp.float32, maxval=GOAL_SIDE)

    def all_tasks(self) -> None:
        """Returns None: tasks are infinitely many."""
        return None

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """No walls; the goal, which is a point."""
        del observation
        x, y = np.asarray(task).tolist()
        return Scene(walls=NO_WALLS, start=(0.0, 0.0), bounds=(-3.0, 8.0, -3.0, 8.0), goal=(x, y))

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Lays the swimmer stretched along x with its front link's frame at the origin."""
        key_q, key_qd = jax.random.split(key)
        size = (self.sys.q_size(),)
        q = self.sys.init_q + jax.random.uniform(
            key_q, size, minval=-_POSE_NOISE, maxval=_POSE_NOISE
        )
        qd = jax.random.uniform(key_qd, size, minval=-_POSE_NOISE, maxval=_POSE_NOISE)
        physics = self.pipeline_init(q, qd)
        return first_state(physics, {"task": jnp.asarray(task, jnp.float32)})

    def step(self, state: State, action: jax.Array) -> State:
        """Applies the torques for one env step (0.04 s)."""
        action = clip_action(action)
        before, goal = state.pipeline_state, state.info["task"]
        physics, sound = simulate(self, self.sys, before, action)
        reward = self._reward(before.q[:2] - goal, physics.q[:2] - goal, action)
        return next_state(state, physics, sound, reward)

    def _reward(self, before: jax.Array, after: jax.Array, action: jax.Array) -> jax.Array:
        """Reward of a step, by the ways from the goal [2] before and after it."""
        distance = jnp.linalg.norm(after)
        cost = _CONTROL_COST * jnp.sum(action**2)
        if self._reward_kind == "progress":
            return (jnp.linalg.norm(before) - distance) / self.dt - cost
        return (-distance - cost) * _REWARD_SCALE
