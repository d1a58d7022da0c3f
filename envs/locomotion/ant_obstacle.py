"""ant_obstacle and ant_obstacle_big: cross a walled course past an enemy to a far corner.

Frans et al. 2018, section 6.5: sub-policies that were learned on `ant_twowalk` are transferred
here, since a policy from scratch never meets the reward. The walls and enemies of both courses are
those of the authors' released environments (openai/mlsh); the big one is not in the paper. The
released small one pays a dense reward; here both pay as the paper says and as the released big one
does. The body and the physics are Brax's.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.base import State
from envs.locomotion import ant, walls
from envs.locomotion.bodies import clip_action, first_state, next_state, simulate, where_tree
from envs.scene import Scene


@dataclasses.dataclass(frozen=True)
class Course:
    """What one course has in place of another; lengths in world units.

    Attributes:
        walls: outer and inner walls; they meet in pairs, so that `walls.SLOTS` hold.
        start: x and y of the ant at a reset.
        goal: center of the goal area.
        enemy: where the enemy starts, which is also the center of its zone.
        upright_every: env steps after which the ant is stood up again.
        bounds: x_min, x_max, y_min, y_max of a picture of the course.
    """

    walls: walls.Walls
    start: tuple[float, float]
    goal: tuple[float, float]
    enemy: tuple[float, float]
    upright_every: int
    bounds: tuple[float, float, float, float]


COURSE = Course(
    walls=walls.Walls.from_rows(
        [
            (28.0, -3.0, 35.0, 0.3),
            (28.0, 40.0, 35.0, 0.3),
            (-3.0, 28.0, 0.3, 35.0),
            (40.0, 28.0, 0.3, 35.0),
            (35.0, 25.0, 5.0, 0.3),
            (30.0, 10.0, 0.3, 15.0),
        ]
    ),
    start=(0.0, 0.0),
    goal=(38.0, 38.0),
    enemy=(0.0, 20.0),
    upright_every=200,
    bounds=(-4.0, 41.0, -4.0, 41.0),
)
"""The course of `ant_obstacle`."""

BIG_COURSE = Course(
    walls=walls.Walls.from_rows(
        [
            (0.0, -40.0, 40.0, 0.3),
            (0.0, 40.0, 40.0, 0.3),
            (-40.0, 0.0, 0.3, 40.0),
            (40.0, 0.0, 0.3, 40.0),
            (-15.0, 20.0, 0.3, 17.0),
            (-35.0, 20.0, 5.0, 0.3),
            (-10.0, -20.0, 20.0, 0.3),
            (-10.0, -30.0, 20.0, 0.3),
            (10.0, -20.0, 0.3, 20.0),
        ]
    ),
    start=(-35.0, 15.0),
    goal=(35.0, -35.0),
    enemy=(25.0, 30.0),
    upright_every=300,
    bounds=(-41.0, 41.0, -41.0, 41.0),
)
"""The course of `ant_obstacle_big`."""

GOAL_SQUARED_RADIUS = 30.0
"""The reward is paid strictly within this squared distance of the goal, as in the released big
course."""

ENEMY_RADIUS = 3.0
ENEMY_ZONE = 15.0
"""The enemy moves while the ant is within this distance of the center of the zone."""
ENEMY_STRIDE = 1.0
"""The most that the enemy moves in x and in y in an env step."""
ENEMY_CONTACT = ENEMY_RADIUS + ant.LEG_REACH
"""Distance between centers at which the enemy touches the ant's feet and stops."""
KNOCK_SPEED = 5.0
"""Speed away from the enemy, in units per second, that an ant has at least after a knock."""

_CONTACT_SLACK = 0.1  # a gap at which the enemy, which stops short of the ant, still hits it


class AntObstacle(ant.AntEnv):
    """From the bottom left to the top right corner; the one task, "corner", is 0.

    Reward: 1 in every step that ends in the goal area (squared distance to the goal below 30),
    else 0. `state.info` holds the enemy's position (`enemy`, float32 [2]), the steps since the
    reset (`clock`, int32) and a key. The enemy is a ball without mass in no one's way but the
    ant's: where it touches, the ant gets a velocity away from it. Being a velocity it is the same
    in every backend and cannot squeeze the ant against a wall. Metrics: those of every ant,
    `success` (1 in the goal area), `enemy_x` and `enemy_y`.
    """

    name = "ant_obstacle"
    course = COURSE
    episode_length = 2000
    task_names = ("corner",)

    def __init__(self, backend: str = "spring", position_visible: bool = False):
        """Makes the environment.

        Args:
            backend: one of `envs.locomotion.ant.BACKENDS`.
            position_visible: whether sub-policies see x and y.

        Raises:
            EnvError: if an option has another value.
        """
        super().__init__(backend, position_visible, walls.slot_geoms(ant.COLLIDER_BITS))
        self._slots = walls.find_slots(self.sys, ant.COLLIDERS)

    def sample_task(self, key: jax.Array) -> jax.Array:
        """Returns the one task: int32 scalar 0."""
        del key
        return jnp.zeros((), jnp.int32)

    def all_tasks(self) -> jax.Array:
        """Returns int32 [1]."""
        return jnp.zeros(1, jnp.int32)

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """The walls, the goal area and the size of the enemy."""
        del task, observation
        return Scene(
            walls=self.course.walls.rows(),
            start=self.course.start,
            bounds=self.course.bounds,
            goal=self.course.goal,
            goal_radius=math.sqrt(GOAL_SQUARED_RADIUS),
            enemy_radius=ENEMY_RADIUS,
        )

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Stands the ant and the enemy at their starts."""
        key_pose, key_episode = jax.random.split(key)
        q, qd = self._draw_pose(key_pose)
        physics = self.pipeline_init(q.at[:2].add(jnp.asarray(self.course.start)), qd)
        enemy = jnp.asarray(self.course.enemy, jnp.float32)
        info = {
            "task": jnp.asarray(task, jnp.int32),
            "key": key_episode,
            "clock": jnp.zeros((), jnp.int32),
            "enemy": enemy,
        }
        return first_state(physics, info, **self._metrics(physics, enemy))

    def step(self, state: State, action: jax.Array) -> State:
        """Applies the torques for one env step (0.05 s), then lets the enemy move."""
        before = state.pipeline_state
        sys = walls.place(self.sys, self._slots, self.course.walls, before)
        physics, sound = simulate(self, sys, before, clip_action(action))
        clock = state.info["clock"] + 1
        enemy = move_enemy(state.info["enemy"], physics.q[:2], jnp.asarray(self.course.enemy))
        physics = self._interfere(physics, enemy, clock, state.info["key"])
        metrics = self._metrics(physics, enemy)
        state = state.replace(info={**state.info, "clock": clock, "enemy": enemy})
        return next_state(state, physics, sound, metrics["success"], **metrics)

    def _interfere(self, physics: Any, enemy: jax.Array, clock: jax.Array, key: jax.Array) -> Any:
        """Stands the ant up when it is time and knocks it back when the enemy touches it.

        Both are new values of q and qd, so that one initialization of the physics serves both.
        """
        q, qd, upright = self._stand_up(physics, key, clock, self.course.upright_every)
        knock = knock_velocity(enemy, q[:2], qd[:2])
        qd = qd.at[:2].add(knock)
        changed = upright | (knock != 0).any()
        return where_tree(changed, self.pipeline_init(q, qd), physics)

    def _metrics(self, physics: Any, enemy: jax.Array) -> dict[str, jax.Array]:
        """`success`, `enemy_x` and `enemy_y`, which are beside the metrics of every ant."""
        offset = physics.q[:2] - jnp.asarray(self.course.goal)
        return {
            "success": (jnp.sum(offset**2) < GOAL_SQUARED_RADIUS).astype(jnp.float32),
            "enemy_x": enemy[0],
            "enemy_y": enemy[1],
        }


class AntObstacleBig(AntObstacle):
    """As `AntObstacle`, from the left to the bottom right corner of a course of 80 by 80."""

    name = "ant_obstacle_big"
    course = BIG_COURSE
    episode_length = 3000


def move_enemy(enemy: jax.Array, torso: jax.Array, zone: jax.Array) -> jax.Array:
    """Moves the enemy toward an ant in its zone, up to touching it.

    Args:
        enemy: float32 [2], where it is.
        torso: float32 [2], x and y of the ant.
        zone: float32 [2], center of the zone.

    Returns:
        float32 [2], where it is now: at least `ENEMY_CONTACT` from the ant unless it was closer.
    """
    gap = torso - enemy
    stride = jnp.clip(gap, -ENEMY_STRIDE, ENEMY_STRIDE)
    free = jnp.linalg.norm(gap) - ENEMY_CONTACT
    share = jnp.clip(free / (jnp.linalg.norm(stride) + 1e-6), 0.0, 1.0)
    in_zone = jnp.linalg.norm(torso - zone) < ENEMY_ZONE
    return enemy + jnp.where(in_zone, share * stride, 0.0)


def knock_velocity(enemy: jax.Array, torso: jax.Array, velocity: jax.Array) -> jax.Array:
    """Velocity [2] to add to an ant so that it leaves the enemy at `KNOCK_SPEED` or faster.

    Args:
        enemy: float32 [2], center of the enemy.
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
