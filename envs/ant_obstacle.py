"""ant_obstacle: cross a walled course past an enemy, paid only in the far corner.

Frans et al. 2018, section 6.3: sub-policies that were learned on `ant_twowalk` are transferred
to it, since a policy from scratch never meets the reward. The course is that of the authors'
released environment (openai/mlsh), the body and the physics are Brax's.
"""

from typing import Any

import jax
import jax.numpy as jnp

from envs import ant, walls
from envs.base import State

COURSE = walls.Walls.from_rows(
    [
        (28.0, -3.0, 35.0, 0.3),
        (28.0, 40.0, 35.0, 0.3),
        (-3.0, 28.0, 0.3, 35.0),
        (40.0, 28.0, 0.3, 35.0),
        (35.0, 25.0, 5.0, 0.3),
        (30.0, 10.0, 0.3, 15.0),
    ]
)
"""Four outer and two inner walls; they meet in pairs, so that `walls.SLOTS` hold."""

GOAL = (38.0, 38.0)
GOAL_SQUARED_RADIUS = 30.0

ENEMY_START = (0.0, 20.0)
ENEMY_RADIUS = 3.0
ENEMY_ZONE = 15.0
"""The enemy moves while the ant is within this distance of `ENEMY_START`."""
ENEMY_STRIDE = 1.0
"""The most that the enemy moves in x and in y in an env step."""
ENEMY_CONTACT = ENEMY_RADIUS + ant.LEG_REACH
"""Distance between centres at which the enemy touches the ant's feet and stops."""
KNOCK_SPEED = 5.0
"""Speed away from the enemy, in units per second, that an ant has at least after a knock."""

UPRIGHT_EVERY = 200
"""Env steps after which the ant is stood up again."""

_CONTACT_SLACK = 0.1  # a gap at which the enemy, which stops short of the ant, still hits it


class AntObstacle(ant.AntEnv):
    """From the bottom left to the top right corner; the one task, "corner", is 0.

    Reward: 1 in every step that ends in the goal area (squared distance to `GOAL` below 30),
    else 0. `state.info` holds the enemy's position (`enemy`, float32 [2]), the steps since the
    reset (`clock`, int32) and a key. The enemy is a ball without mass in no one's way but the
    ant's: where it touches, the ant gets a velocity away from it. Being a velocity it is the same
    in every backend and cannot squeeze the ant against a wall.
    """

    name = "ant_obstacle"
    episode_length = 2000
    task_names = ("corner",)

    def __init__(self, backend: str = "spring"):
        """Makes the environment.

        Args:
          backend: one of `envs.ant.BACKENDS`.

        Raises:
          EnvError: if the backend is not offered.
        """
        super().__init__(backend, walls.slot_geoms(ant.COLLIDER_BITS))
        self._slots = walls.find_slots(self.sys, ant.COLLIDERS)

    def sample_task(self, key: jax.Array) -> jax.Array:
        """Returns the one task: int32 scalar 0."""
        del key
        return jnp.zeros((), jnp.int32)

    def all_tasks(self) -> jax.Array:
        """Returns int32 [1]."""
        return jnp.zeros(1, jnp.int32)

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Stands the ant at the origin, the enemy at its start."""
        key_pose, key_episode = jax.random.split(key)
        physics = self.pipeline_init(*self._draw_pose(key_pose))
        zero = jnp.zeros((), jnp.float32)
        info = {
            "task": jnp.asarray(task, jnp.int32),
            "key": key_episode,
            "clock": jnp.zeros((), jnp.int32),
            "enemy": jnp.asarray(ENEMY_START, jnp.float32),
        }
        metrics = _metrics(physics, jnp.ones((), bool))
        return State(physics, ant.observe(physics), zero, zero, metrics, info)

    def step(self, state: State, action: jax.Array) -> State:
        """Applies the torques for one env step (0.05 s), then lets the enemy move."""
        before = state.pipeline_state
        sys = walls.place(self.sys, self._slots, COURSE, before)
        physics, finite = self._simulate(sys, before, ant.clip_action(action))
        clock = state.info["clock"] + 1
        enemy = move_enemy(state.info["enemy"], physics.q[:2])
        physics = self._interfere(physics, enemy, clock, state.info["key"])
        metrics = _metrics(physics, finite)
        return state.replace(
            pipeline_state=physics,
            obs=ant.observe(physics),
            reward=jnp.where(finite, metrics["success"], 0.0),
            done=1.0 - finite.astype(jnp.float32),
            metrics=metrics,
            info={**state.info, "clock": clock, "enemy": enemy},
        )

    def _interfere(self, physics: Any, enemy: jax.Array, clock: jax.Array, key: jax.Array) -> Any:
        """Stands the ant up when it is time and knocks it back when the enemy touches it.

        Both are new values of q and qd, so that one initialisation of the physics serves both.
        """
        upright = clock % UPRIGHT_EVERY == 0
        pose, pose_velocity = self._draw_pose(jax.random.fold_in(key, clock))
        q = jnp.where(upright, pose.at[:2].set(physics.q[:2]), physics.q)
        qd = jnp.where(upright, pose_velocity, physics.qd)
        knock = knock_velocity(enemy, q[:2], qd[:2])
        qd = qd.at[:2].add(knock)
        changed = upright | (knock != 0).any()
        return ant.select(changed, self.pipeline_init(q, qd), physics)


def move_enemy(enemy: jax.Array, torso: jax.Array) -> jax.Array:
    """Moves the enemy toward an ant in its zone, up to touching it.

    Args:
      enemy: float32 [2], where it is.
      torso: float32 [2], x and y of the ant.

    Returns:
      float32 [2], where it is now: at least `ENEMY_CONTACT` from the ant unless it was closer.
    """
    gap = torso - enemy
    stride = jnp.clip(gap, -ENEMY_STRIDE, ENEMY_STRIDE)
    free = jnp.linalg.norm(gap) - ENEMY_CONTACT
    share = jnp.clip(free / (jnp.linalg.norm(stride) + 1e-6), 0.0, 1.0)
    in_zone = jnp.linalg.norm(torso - jnp.asarray(ENEMY_START)) < ENEMY_ZONE
    return enemy + jnp.where(in_zone, share * stride, 0.0)


def knock_velocity(enemy: jax.Array, torso: jax.Array, velocity: jax.Array) -> jax.Array:
    """Velocity [2] to add to an ant so that it leaves the enemy at `KNOCK_SPEED` or faster.

    Args:
      enemy: float32 [2], centre of the enemy.
      torso: float32 [2], x and y of the ant.
      velocity: float32 [2], velocity of its torso in x and y.

    Returns:
      float32 [2], zero where the enemy does not touch the ant.
    """
    gap = torso - enemy
    distance = jnp.linalg.norm(gap)
    away = gap / (distance + 1e-6)
    missing = jnp.maximum(KNOCK_SPEED - jnp.dot(velocity, away), 0.0)
    return jnp.where(distance < ENEMY_CONTACT + _CONTACT_SLACK, missing, 0.0) * away


def _metrics(physics: Any, finite: jax.Array) -> dict[str, jax.Array]:
    """Adds `success`, 1 in the goal area, to the metrics of every ant."""
    offset = physics.q[:2] - jnp.asarray(GOAL)
    success = (jnp.sum(offset**2) < GOAL_SQUARED_RADIUS).astype(jnp.float32)
    return {**ant.position_metrics(physics, finite), "success": success}
