"""What the environments with a body share: its loading, a guarded step of physics, its states.

A body is Brax's; its state is a pipeline state, of which q holds the positions (x and y of the
torso first) and qd the velocities.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import brax.base
import jax
import jax.numpy as jnp
import numpy as np
from brax.envs.base import PipelineEnv, State
from brax.io import mjcf

from envs.base import PHYSICS_NAN, TaskEnv
from envs.errors import EnvError

X_AND_Y = (0, 1)
"""Entries of `observe` that are x and y of the torso."""

_TOO_FAST = 1e3
"""Units or radians a second of any degree of freedom. Ants with the largest torques, drawn at
random in every step, reached 23, swimmers 7, humanoids 10; 1e12 is finite as well and ruins
every statistic."""


class BodyEnv(PipelineEnv, TaskEnv):
    """A body with torques in [-1, 1]; masters see all of `observe`.

    Sub-policies see all but x and y or, where the option `position_visible` is true, all of it.
    Skills that do not see them can be used in places where they were not learned.
    """

    num_actions = None

    def __init__(
        self, xml: str, timestep: float, n_frames: int, backend: str, position_visible: bool
    ):
        """Loads the body.

        Args:
            xml: the body and its world, MJCF.
            timestep: seconds of a substep.
            n_frames: substeps of an env step.
            backend: physics of Brax.
            position_visible: whether sub-policies see x and y of the torso.

        Raises:
            EnvError: if `position_visible` is not a bool.
        """
        if not isinstance(position_visible, bool):
            raise EnvError(f"position_visible must be true or false, got {position_visible!r}")
        with warnings.catch_warnings():
            # Brax advises to use another library, which is nothing the user of a task can do.
            warnings.filterwarnings("ignore", message="Brax System", category=UserWarning)
            sys = mjcf.loads(xml).tree_replace({"opt.timestep": timestep})
        super().__init__(sys=sys, backend=backend, n_frames=n_frames)
        self._position_visible = position_visible
        # Environments that move their body while it acts need it twice; it is traced once.
        self._pipeline_init = jax.jit(super().pipeline_init)

    def pipeline_init(self, q: jax.Array, qd: jax.Array) -> Any:
        """Pipeline state of the body at positions q `[Q]` with velocities qd `[QD]`."""
        return self._pipeline_init(q, qd)

    @property
    def observation_size(self) -> int:
        """Length of the observation: positions and velocities of all degrees of freedom."""
        return self.sys.q_size() + self.sys.qd_size()

    @property
    def subpolicy_observation_indices(self) -> tuple[int, ...]:
        """All of the observation, without x and y unless `position_visible`."""
        return tuple(range(0 if self._position_visible else 2, self.observation_size))

    @property
    def place_indices(self) -> tuple[int, ...]:
        """X and y."""
        return X_AND_Y


def simulate(
    env: PipelineEnv, sys: brax.base.System, physics: Any, action: jax.Array
) -> tuple[Any, jax.Array]:
    """Runs one env step of physics and keeps the state before it if that fails.

    Args:
        env: the environment, whose backend and substeps are used.
        sys: its system, perhaps with walls put in their slots.
        physics: pipeline state of the backend.
        action: float32 [A], clipped to [-1, 1].

    Returns:
        The new pipeline state, and whether it is sound (bool scalar): finite, with velocities that
        bodies can have. If it is not, the pipeline state is `physics`.
    """

    def substep(carry: Any, _: None) -> tuple[Any, None]:
        return env._pipeline.step(sys, carry, action, False), None

    after, _ = jax.lax.scan(substep, physics, None, env._n_frames)
    sound = jnp.isfinite(after.q).all() & (jnp.abs(after.qd) < _TOO_FAST).all()
    return where_tree(sound, after, physics), sound


def clip_action(action: jax.Array) -> jax.Array:
    """Limits torques to [-1, 1], the range of the actuators; what is not finite becomes NaN.

    An infinite torque is no largest one, but a fault of who acts, which makes the physics fail.
    """
    return jnp.where(jnp.isfinite(action), jnp.clip(action, -1.0, 1.0), jnp.nan)


def observe(physics: Any) -> jax.Array:
    """Reads the observation, q and then qd, off a pipeline state."""
    return jnp.concatenate([physics.q, physics.qd])


def position_metrics(physics: Any, sound: jax.Array) -> dict[str, jax.Array]:
    """Returns the metrics of every environment with a body, float32 scalars.

    `x_position` and `y_position` of the torso; `physics_nan`, 1 where the physics failed.
    """
    return {
        "x_position": physics.q[0],
        "y_position": physics.q[1],
        PHYSICS_NAN: 1.0 - sound.astype(jnp.float32),
    }


def first_state(physics: Any, info: dict[str, Any], **metrics: jax.Array) -> State:
    """State at the start of an episode.

    Args:
        physics: pipeline state of the body where it starts.
        info: `State.info`, with the task.
        **metrics: those beside `position_metrics`, float32 scalars.
    """
    zero = jnp.zeros((), jnp.float32)
    everything = {**position_metrics(physics, jnp.ones((), bool)), **metrics}
    return State(physics, observe(physics), zero, zero, everything, info)


def next_state(
    state: State,
    physics: Any,
    sound: jax.Array,
    reward: jax.Array,
    terminated: jax.Array | bool = False,
    **metrics: jax.Array,
) -> State:
    """State after an env step.

    Args:
        state: that before the step, whose `info` is kept.
        physics: pipeline state after the step.
        sound: whether the physics was sound, as `simulate` says, bool scalar.
        reward: of the step if it was, float32 scalar.
        terminated: whether the episode ends, bool scalar; a failure of the physics ends it too.
        **metrics: as in `first_state`.
    """
    return state.replace(
        pipeline_state=physics,
        obs=observe(physics),
        reward=jnp.where(sound, reward, 0.0),
        done=(~sound | terminated).astype(jnp.float32),
        metrics={**position_metrics(physics, sound), **metrics},
    )


def within(physics: Any, point: jax.Array | np.ndarray, radius: float) -> jax.Array:
    """Returns 1 where the torso is closer than `radius` to `point` [2], else 0 (float32)."""
    return (jnp.linalg.norm(physics.q[:2] - point) < radius).astype(jnp.float32)


def check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    """Raises EnvError, naming the option, if `value` is not one of `choices`."""
    if value not in choices:
        raise EnvError(f"{option} must be one of {', '.join(choices)}, got {value!r}")


def where_tree(condition: jax.Array, when_true: Any, when_false: Any) -> Any:
    """Chooses between two pytrees of one structure by a bool scalar."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), when_true, when_false)
