"""A humanoid that walks and crawls, and a course on which it has to do both.

After the humanoid of Frans et al. 2018 (section 6) and the authors' released environments
(openai/mlsh), whose rewards these are. The body is Brax's `humanoid.xml`, of which only the feet
collide; here the head, torso, pelvis, hands, elbows and knees do as well, so that it can lie and
crawl.
"""

import xml.etree.ElementTree as ElementTree
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from envs.base import State
from envs.locomotion import walls
from envs.locomotion.bodies import (
    BodyEnv,
    check_choice,
    clip_action,
    first_state,
    next_state,
    simulate,
)
from envs.scene import NO_CEILINGS, NO_WALLS, Scene

REWARDS = ("pace", "paper")
"""Values of the option `reward` of `humanoid_walk_crawl`."""

WALK_PACE, CRAWL_PACE = 2.0, 1.0
"""Units a second beyond which reward "pace" pays no more, so that a body that throws itself in the
direction that pays is not paid for that alone (results/humanoids.md)."""

BACKENDS = ("spring", "generalized")
"""Physics backends in which the box stops the body and the floor carries it (tests/envs)."""

UPRIGHT = 1.0
"""Height of the torso below which a walking humanoid has fallen."""

MARK = 25.0
"""X beyond which the course asks for crawling back."""

WALK, CRAWL = 0, 1
"""The tasks."""

_FORCE = 0.4  # of the largest, that an action of 1 asks for
_ALIVE = 5.0
_WALK_WEIGHT, _CRAWL_WEIGHT = 1.25, 7.5
"""Reward of a unit a second. The released code has 0.25 and 1.5 and divides what a body moves in a
step of 0.015 s by 0.003 s, so by a fifth of its time."""
_CONTROL_COST = 0.1

_BOX_HALF_SIZE = (11.5, 0.5)  # in x and z; endless in y, where the released one has 11.5
_BOX_HEIGHT = 1.5

_BOX_COLLIDERS = ("head", "torso_contact", "pelvis_contact")
"""Spheres that the box stops."""

_FLOOR_COLLIDERS = (
    *_BOX_COLLIDERS, "right_hand", "left_hand", "right_elbow_contact", "left_elbow_contact",
    "right_knee_contact", "left_knee_contact",
)  # fmt: skip
"""Spheres that the floor stops beside the feet."""

_ADDED = {
    "torso_contact": ("torso", "0 0 0", "0.1"),
    "pelvis_contact": ("pelvis", "-0.02 0 0", "0.1"),
    "right_elbow_contact": ("right_lower_arm", "0 0 0", "0.04"),
    "left_elbow_contact": ("left_lower_arm", "0 0 0", "0.04"),
    "right_knee_contact": ("right_shin", "0 0 0.02", "0.06"),
    "left_knee_contact": ("left_shin", "0 0 0.02", "0.06"),
}
"""Spheres that the XML does not have, without mass: their body, position in it and radius."""

_FRAMES = {"spring": (0.0015, 10), "generalized": (0.003, 5)}
"""Seconds of a substep and substeps of an env step (0.015 s), as `brax.envs.humanoid` has them."""
_POSE_NOISE = 0.01  # likewise


class HumanoidEnv(BodyEnv):
    """A humanoid with 17 torques in [-1, 1] (clipped), started upright at the origin.

    Observation, float32 [47]: q (torso x, y, z, its quaternion, 17 joint angles) and then qd, their
    velocities. `v`, the speed of the center of mass along x in units per second, is rewarded, and
    `c`, 0.1 of the sum of squared forces (0.4 of the actions), is charged for:

    - walk: 5 + 1.25 v - c while the torso is at a height of 1 or more; below that -c, and the
      episode terminates;
    - crawl: -7.5 v - c, for going backward. Nothing terminates, and a box is a ceiling at height 1.

    The released rewards also charge for forces of contact, which Brax's backends do not report.
    Metrics beside those of every body: `height` of the torso.
    """

    episode_length = 1000
    _box_x: float  # of its center
    _walk_pace = _crawl_pace = np.inf  # the largest speeds that are paid

    def __init__(self, backend: str = "spring", position_visible: bool = False):
        """Loads the body.

        Args:
            backend: one of `BACKENDS`. Motors are stronger in "spring", so that sub-policies of
                one are of no use in the other.
            position_visible: whether sub-policies see x and y.

        Raises:
            EnvError: if an option has another value.
        """
        check_choice("backend", backend, BACKENDS)
        super().__init__(_body_xml(backend), *_FRAMES[backend], backend, position_visible)
        self._slots = walls.find_slots(self.sys, _BOX_COLLIDERS, num_slots=1)

    def _stand(self, key: jax.Array) -> Any:
        """Pipeline state of an upright humanoid at the origin, with the noise of Brax's."""
        key_q, key_qd = jax.random.split(key)
        q = self.sys.init_q + jax.random.uniform(
            key_q, (self.sys.q_size(),), minval=-_POSE_NOISE, maxval=_POSE_NOISE
        )
        q = q.at[3:7].divide(jnp.linalg.norm(q[3:7]))
        qd = jax.random.uniform(
            key_qd, (self.sys.qd_size(),), minval=-_POSE_NOISE, maxval=_POSE_NOISE
        )
        return self.pipeline_init(q, qd)

    def _act(self, state: State, action: jax.Array, is_crawling: jax.Array) -> State:
        """Applies the torques for one env step (0.015 s), with the box or without it.

        Args:
            state: that before the step.
            action: float32 [17].
            is_crawling: whether to crawl, bool scalar; the box is there then.
        """
        before = state.pipeline_state
        forces = _FORCE * clip_action(action)
        box = self.box(is_crawling)
        sys = walls.place(self.sys, self._slots, box, before, walls.SIDE)
        physics, sound = simulate(self, sys, before, forces)
        velocity = (self._center_of_mass(physics) - self._center_of_mass(before)) / self.dt
        is_upright = physics.q[2] >= UPRIGHT
        forward = jnp.minimum(velocity, self._walk_pace)
        backward = jnp.minimum(-velocity, self._crawl_pace)
        walking = jnp.where(is_upright, _ALIVE + _WALK_WEIGHT * forward, 0.0)
        reward = jnp.where(is_crawling, _CRAWL_WEIGHT * backward, walking)
        reward -= _CONTROL_COST * jnp.sum(forces**2)
        has_fallen = ~is_crawling & ~is_upright
        return next_state(state, physics, sound, reward, has_fallen, height=physics.q[2])

    def box(self, is_there: jax.Array) -> walls.Walls:
        """The box seen from the side, or nothing: data, of one shape."""
        center = jnp.array([[self._box_x, _BOX_HEIGHT]])
        absent = jnp.array([walls.ABSENT])
        return walls.Walls(
            center=jnp.where(is_there, center, absent[:, :2]),
            half_size=jnp.where(is_there, jnp.array([_BOX_HALF_SIZE]), absent[:, 2:]),
        )

    def _center_of_mass(self, physics: Any) -> jax.Array:
        """X of the center of mass."""
        inertia = self.sys.link.inertia
        x = physics.x.vmap().do(inertia.transform).pos[:, 0]
        return jnp.sum(inertia.mass * x) / jnp.sum(inertia.mass)


class HumanoidWalkCrawl(HumanoidEnv):
    """Walk forward, or crawl backward below the box; the task is `WALK` or `CRAWL`, int32.

    The box is there in crawling alone, over x from -23.5 to -0.5, right behind the start. Reward
    "paper" is that of every humanoid here; with "pace" no more is paid for walking faster than
    `WALK_PACE` and for crawling faster than `CRAWL_PACE`.
    """

    name = "humanoid_walk_crawl"
    _box_x = -12.0
    task_names = ("walk", "crawl")

    def __init__(
        self, reward: str = "pace", backend: str = "spring", position_visible: bool = False
    ):
        """Makes the environment.

        Args:
            reward: one of `REWARDS`.
            backend: one of `BACKENDS`.
            position_visible: whether sub-policies see x and y.

        Raises:
            EnvError: if an option has another value.
        """
        check_choice("reward", reward, REWARDS)
        super().__init__(backend, position_visible)
        if reward == "pace":
            self._walk_pace, self._crawl_pace = WALK_PACE, CRAWL_PACE

    def sample_task(self, key: jax.Array) -> jax.Array:
        """Draws `WALK` or `CRAWL`: int32 scalar."""
        return jax.random.randint(key, (), 0, len(self.task_names), jnp.int32)

    def all_tasks(self) -> jax.Array:
        """Returns both: int32 [2]."""
        return jnp.asarray([WALK, CRAWL], jnp.int32)

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Stands the humanoid at the origin."""
        physics = self._stand(key)
        return first_state(physics, {"task": jnp.asarray(task, jnp.int32)}, height=physics.q[2])

    def step(self, state: State, action: jax.Array) -> State:
        """Applies the torques for one env step (0.015 s)."""
        return self._act(state, action, state.info["task"] == CRAWL)

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """The box where there is one."""
        del observation
        is_crawling = int(task) == CRAWL
        ahead, behind = (5.0, -25.0) if is_crawling else (30.0, -5.0)
        return Scene(
            walls=NO_WALLS,
            start=(0.0, 0.0),
            bounds=(behind, ahead, -15.0, 15.0),
            ceilings=_ceilings(self._box_x) if is_crawling else NO_CEILINGS,
            seen_from_side=True,
        )


class HumanoidCourse(HumanoidEnv):
    """Walk beyond x = 25, and from then on crawl back below a box that was not there before.

    The one task, "there_and_back", is 0. Rewards are the paper's, without a pace: those of walking,
    and for good those of crawling once the mark was passed (`state.info["is_crawling"]`, bool). The
    box is over x from 0.5 to 23.5 then. Metrics: `height`; `passed`, 1 once the mark was passed;
    `success`, 1 where the humanoid has then come back from below the box.
    """

    name = "humanoid_course"
    _box_x = 12.0
    episode_length = 3000
    task_names = ("there_and_back",)

    @property
    def place_indices(self) -> tuple[int, ...]:
        """X, y and the height of the torso, by which the way back differs from the way there.

        The released observation has no height.
        """
        return 0, 1, 2

    def sample_task(self, key: jax.Array) -> jax.Array:
        """Returns the one task: int32 scalar 0."""
        del key
        return jnp.zeros((), jnp.int32)

    def all_tasks(self) -> jax.Array:
        """Returns int32 [1]."""
        return jnp.zeros(1, jnp.int32)

    def reset_to_task(self, key: jax.Array, task: jax.Array) -> State:
        """Stands the humanoid at the origin."""
        physics = self._stand(key)
        info = {"task": jnp.asarray(task, jnp.int32), "is_crawling": jnp.zeros((), bool)}
        zero = jnp.zeros(())
        return first_state(physics, info, height=physics.q[2], passed=zero, success=zero)

    def step(self, state: State, action: jax.Array) -> State:
        """Applies the torques for one env step (0.015 s)."""
        stepped = self._act(state, action, state.info["is_crawling"])
        x = stepped.pipeline_state.q[0]
        is_crawling = state.info["is_crawling"] | (x > MARK)
        is_back = is_crawling & (x < self._box_x - _BOX_HALF_SIZE[0])
        metrics = {
            **stepped.metrics,
            "passed": is_crawling.astype(jnp.float32),
            "success": is_back.astype(jnp.float32),
        }
        return stepped.replace(info={**state.info, "is_crawling": is_crawling}, metrics=metrics)

    def scene(self, task: jax.Array, observation: np.ndarray | None = None) -> Scene:
        """The box, which is there on the way back alone, and the mark."""
        del task, observation
        return Scene(
            walls=NO_WALLS,
            start=(0.0, 0.0),
            bounds=(-5.0, 35.0, -20.0, 20.0),
            marks=((MARK, 0.0, "mark"),),
            ceilings=_ceilings(self._box_x),
            ceilings_while="passed",
            seen_from_side=True,
        )


def _ceilings(box_x: float) -> np.ndarray:
    """The box as a row of `Scene.ceilings`, [1, 6]."""
    half_x, half_z = _BOX_HALF_SIZE
    x_and_y = (box_x, 0.0, half_x, half_x)
    return np.array([[*x_and_y, _BOX_HEIGHT - half_z, _BOX_HEIGHT + half_z]], np.float32)


def _body_xml(backend: str) -> str:
    """Brax's humanoid as MJCF, with spheres that collide and the planes of the box."""
    path = epath.resource_path("brax") / "envs/assets/humanoid.xml"
    root = ElementTree.fromstring(path.read_text())
    world = root.find("worldbody")
    assert world is not None
    bodies = {body.get("name"): body for body in world.iter("body")}
    for name, (body, position, radius) in _ADDED.items():
        sphere = {"name": name, "pos": position, "size": radius, "type": "sphere", "mass": "0"}
        bodies[body].append(ElementTree.Element("geom", sphere))
    bits = [2 << index for index in range(len(_BOX_COLLIDERS))]
    for geom in world.iter("geom"):
        geom_name = geom.get("name", "")
        if geom_name in _FLOOR_COLLIDERS:
            own = bits[_BOX_COLLIDERS.index(geom_name)] if geom_name in _BOX_COLLIDERS else 0
            geom.set("contype", str(1 | own))
    world.extend(walls.slot_geoms(bits, num_slots=1))
    if backend == "spring":
        # As `brax.envs.humanoid` has it: joints of springs need more than those of MuJoCo.
        for motor in root.iter("motor"):
            is_arm = any(part in motor.get("name", "") for part in ("shoulder", "elbow"))
            motor.set("gear", "100" if is_arm else "350")
    return ElementTree.tostring(root, encoding="unicode")
