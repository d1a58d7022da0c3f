"""The humanoid: its rewards by hand, the floor and the box as physics, the turn on the course."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from brax import math

import envs
from envs.locomotion.humanoid import BACKENDS, CRAWL, CRAWL_PACE, MARK, WALK, WALK_PACE

LOWEST = {"spring": (-0.1, -0.03, -0.2), "generalized": (-0.2, -0.25, -0.25)}
"""How far anything may be below the floor: the links' origins, the balls that it stops, and all
parts, some of which hang through between these. In "generalized" contact is soft, as MuJoCo's: a
body that falls on the floor is up to 0.23 in it, for a fifth of a second at most."""

GIVES_WAY = {"spring": 0.02, "generalized": 0.1}
"""How deep the balls that the box stops may be in it."""

STEPS = 60
INSTANCES = 8
ANY_BACKEND = [
    pytest.param(backend, marks=pytest.mark.whole if backend == BACKENDS[0] else pytest.mark.slow)
    for backend in BACKENDS
]


class Play:
    """Plays `STEPS` steps without a time limit from chosen physics, many instances at once."""

    def __init__(self, name: str, backend: str, **options: str):
        self.env = envs.make(name, backend=backend, **options).unwrapped
        self._run = jax.jit(jax.vmap(self._play_one))

    def _play_one(self, task, q, qd, actions, passed):
        state = self.env.reset_to_task(jax.random.key(0), task)
        info = state.info | ({"is_crawling": passed} if "is_crawling" in state.info else {})
        state = state.replace(pipeline_state=self.env.pipeline_init(q, qd), info=info)

        def step(state, action):
            after = self.env.step(state, action)
            return after, after

        first, states = state, jax.lax.scan(step, state, actions)[1]
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, states)

    def __call__(
        self, tasks, *, x=0.0, height=1.4, lies=False, speed=0.0, rise=0.0, actions=None, passed=0
    ):
        """States [P, 1 + STEPS] of bodies at rest but for a speed along x and z, of all parts.

        Those of `passed` have been beyond the mark before.
        """
        count = len(tasks)
        q = np.tile(np.asarray(self.env.sys.init_q, np.float32), (INSTANCES, 1))
        q[:count, 0], q[:count, 2] = x, height
        # On its belly, the head ahead.
        q[np.resize(lies, INSTANCES), 3:7] = [np.sqrt(0.5), 0, np.sqrt(0.5), 0]
        qd = np.zeros((INSTANCES, self.env.sys.qd_size()), np.float32)
        qd[:count, 0], qd[:count, 2] = speed, rise
        if actions is None:
            actions = np.zeros((INSTANCES, STEPS, 17), np.float32)
        # Of one size, which compiles once.
        rows = jnp.asarray(np.resize(tasks, INSTANCES), jnp.int32)
        passed = np.resize(np.asarray(passed, bool), INSTANCES)
        states = self._run(rows, q, qd, actions, passed)
        assert self._run._cache_size() == 1  # for all tasks
        return jax.tree.map(lambda x: np.asarray(x)[:count], states)


@pytest.fixture(scope="module", params=ANY_BACKEND)
def play(request):
    return Play("humanoid_walk_crawl", request.param)


@pytest.fixture(scope="module", params=ANY_BACKEND)
def course(request):
    return Play("humanoid_course", request.param)


def centers_of_mass(env, states) -> np.ndarray:
    """X of the center of mass, as a weighted mean over the links, [..., ] in float64."""
    inertia = env.sys.link.inertia
    mass = np.asarray(inertia.mass, np.float64)
    w, x, y, z = np.moveaxis(np.asarray(states.pipeline_state.x.rot, np.float64), -1, 0)
    offset = np.asarray(inertia.transform.pos, np.float64)
    # The first row of the matrix of a rotation.
    row = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], axis=-1)
    of_links = states.pipeline_state.x.pos[..., 0] + (row * offset).sum(axis=-1)
    return (mass * of_links).sum(axis=-1) / mass.sum()


@pytest.mark.parametrize("reward", ["pace", "paper"])
def test_rewards_are_those_of_the_released_environments_up_to_a_pace(play, rng, reward):
    paces = WALK_PACE, CRAWL_PACE
    if reward == "paper":
        play, paces = Play("humanoid_walk_crawl", play.env.backend, reward=reward), (np.inf, np.inf)
    tasks = np.arange(INSTANCES) % 2
    actions = rng.uniform(-2, 2, (INSTANCES, STEPS, 17)).astype(np.float32)
    states = play(tasks, speed=np.linspace(-2, 4, INSTANCES), actions=actions)
    velocity = np.diff(centers_of_mass(play.env, states), axis=1) / 0.015
    cost = 0.1 * ((0.4 * np.clip(actions, -1, 1)) ** 2).sum(axis=-1)
    height = states.pipeline_state.q[:, 1:, 2]
    walk = np.where(height >= 1, 5 + 1.25 * np.minimum(velocity, paces[0]), 0) - cost
    crawl = 7.5 * np.minimum(-velocity, paces[1]) - cost
    assert (height[0] >= 1).any() and (height[0] < 1).any()
    assert (velocity[::2] > WALK_PACE).any() and (velocity[1::2] < -CRAWL_PACE).any()
    expected = np.where(tasks[:, None] == WALK, walk, crawl)
    np.testing.assert_allclose(states.reward[:, 1:], expected, atol=5e-3)
    np.testing.assert_array_equal(states.done[:, 1:], (tasks[:, None] == WALK) & (height < 1))
    np.testing.assert_array_equal(states.metrics["height"][:, 1:], height)


def in_box(env, states) -> np.ndarray:
    """How deep head, torso and pelvis have been in the box, whether it is there or not, [P, 3]."""
    poses, deepest = states.pipeline_state.x, []
    for name in ("head", "torso_contact", "pelvis_contact"):
        geom = env.sys.mj_model.geom(name)
        link = geom.bodyid[0] - 1
        turn = jax.vmap(jax.vmap(math.rotate, (None, 0)), (None, 0))
        center = poses.pos[:, :, link] + np.asarray(turn(geom.pos, poses.rot[:, :, link]))
        # The nearest point of a rectangle in x and z, from outside and from inside.
        beyond = np.abs(center[..., [0, 2]] - [env._box_x, 1.5]) - [11.5, 0.5]
        outside = np.linalg.norm(np.maximum(beyond, 0), axis=-1)
        distance = outside + np.minimum(beyond.max(axis=-1), 0)
        deepest.append((geom.size[0] - distance).max(axis=1))
    return np.stack(deepest, axis=1)


def test_the_box_stops_who_stands_and_lets_pass_who_lies(play):
    standing = play([CRAWL, WALK], x=0.3, speed=-3.0)
    with_box, without = in_box(play.env, standing)
    assert with_box.max() < GIVES_WAY[play.env.backend]
    assert (without[:2] > 0.12).all()  # its front face meets the head and the torso
    with_box, without = standing.pipeline_state.q[..., 0]
    upright = standing.pipeline_state.q[0, :, 2] > 1.1  # before the legs have slid below it
    assert with_box[upright].min() > -0.5 > without[upright].min()
    assert without.min() < -1.0
    lying = play([CRAWL, WALK], x=-0.2, height=0.2, lies=True, speed=-4.0)
    below, free = lying.pipeline_state.q[..., 0]
    assert below.min() < -0.9
    np.testing.assert_allclose(below, free, atol=1e-5)


def test_below_the_box_nobody_rises(play):
    states = play([CRAWL, WALK], x=-5.0, height=0.3, lies=True, rise=5.0)
    below, free = states.pipeline_state.q[..., 2]
    assert below.max() < 1.0
    assert free.max() > 1.2
    with_box, without = in_box(play.env, states)
    assert with_box.max() < GIVES_WAY[play.env.backend]
    assert (without > 0.5).all()


def test_behind_the_box_one_rises_but_for_a_head_that_is_below_it(play):
    x = np.asarray([-25.0, -23.62, -23.62])
    states = play([CRAWL, CRAWL, WALK], x=x, height=0.3, lies=True, rise=5.0)
    behind, below, free = in_box(play.env, states)
    assert states.pipeline_state.q[0, :, 2].max() > 1.2 and behind.max() < 0
    assert below.max() < GIVES_WAY[play.env.backend]
    assert free[0] > 0.08


def test_the_floor_carries_every_part(play):
    states = play([CRAWL, CRAWL], height=np.asarray([0.4, 1.4]), lies=True)
    # The least that a sphere leaves: its radius, less what contact gives way.
    assert states.pipeline_state.q[..., 2].min() > 0.0
    assert states.pipeline_state.q[0, -1, 2] < 0.3


def test_the_course_turns_into_crawling_back_at_the_mark(course, rng):
    actions = rng.uniform(-1.5, 1.5, (INSTANCES, STEPS, 17)).astype(np.float32)
    states = course([0, 0], x=np.asarray([MARK - 0.3, MARK - 3.0]), speed=2.0, actions=actions)
    x = states.pipeline_state.q[..., 0]
    passed = x > MARK
    assert passed[0].any() and not passed[1].any()
    np.testing.assert_array_equal(states.info["is_crawling"], np.maximum.accumulate(passed, axis=1))
    np.testing.assert_array_equal(states.metrics["passed"], states.info["is_crawling"])
    velocity = np.diff(centers_of_mass(course.env, states), axis=1) / 0.015
    is_crawling = states.info["is_crawling"][:, :-1]  # from the step after the mark on
    height = states.pipeline_state.q[:, 1:, 2]
    walk = np.where(height >= 1, 5 + 1.25 * velocity, 0)
    cost = 0.1 * ((0.4 * np.clip(actions[:2], -1, 1)) ** 2).sum(axis=-1)
    expected = np.where(is_crawling, -7.5 * velocity, walk) - cost
    np.testing.assert_allclose(states.reward[:, 1:], expected, atol=5e-3)
    np.testing.assert_array_equal(states.done[:, 1:], ~is_crawling & (height < 1))


def test_the_course_pays_for_all_of_the_speed(course):
    states = course(
        [0, 0], x=5.0, height=np.asarray([0.2, 1.4]), lies=[True, False],
        speed=np.asarray([-4.0, 4.0]), passed=[1, 0],
    )  # fmt: skip
    crawls, walks = np.diff(centers_of_mass(course.env, states), axis=1) / 0.015
    assert (crawls < -CRAWL_PACE).any()
    np.testing.assert_allclose(states.reward[0, 1:], -7.5 * crawls, atol=5e-3)
    is_fast = (walks > WALK_PACE) & (states.pipeline_state.q[1, 1:, 2] >= 1)
    assert is_fast.any()
    expected = 5 + 1.25 * walks[is_fast]
    np.testing.assert_allclose(states.reward[1, 1:][is_fast], expected, atol=5e-3)


def test_who_comes_back_over_the_mark_still_has_to_crawl(course):
    states = course([0, 0], x=np.asarray([MARK + 0.2, MARK - 0.2]), lies=True, speed=-3.0)
    beyond = states.pipeline_state.q[0, 1:, 0] > MARK
    assert beyond[0] and not beyond[-1]
    assert states.info["is_crawling"][0, 1:].all() and not states.info["is_crawling"][1].any()


def test_the_box_of_the_course_is_there_on_the_way_back(course):
    standing = course([0, 0], x=24.3, speed=-3.0, passed=[1, 0])
    back, there = standing.pipeline_state.q[..., 0]
    upright = standing.pipeline_state.q[0, :, 2] > 1.1
    assert back[upright].min() > 23.5 > there[upright].min()
    with_box, without = in_box(course.env, standing)
    assert with_box.max() < GIVES_WAY[course.env.backend]
    assert (without[:2] > 0.12).all()
    lying = course([0, 0], x=23.8, height=0.2, lies=True, speed=-4.0, passed=[1, 0])
    below, free = lying.pipeline_state.q[..., 0]
    assert below.min() < 23.1
    np.testing.assert_allclose(below, free, atol=1e-5)


def test_who_has_passed_and_is_back_from_below_the_box_has_succeeded(course):
    states = course([0, 0], x=0.8, height=0.2, lies=True, speed=-3.0, passed=[1, 0])
    is_back = states.pipeline_state.q[0, 1:, 0] < 0.5
    assert is_back.any() and not is_back.all()
    np.testing.assert_array_equal(states.metrics["success"][0, 1:], is_back)
    assert not states.metrics["success"][1].any()
    assert states.pipeline_state.q[1, -1, 0] < 0.5


def test_masters_of_the_course_see_where_the_torso_is_and_how_high(course):
    states = course([0, 0], x=np.asarray([MARK - 0.3, 1.0]), height=np.asarray([0.4, 1.3]))
    place = states.obs[:, 1:, np.asarray(course.env.place_indices)]
    np.testing.assert_array_equal(place, states.pipeline_state.q[:, 1:, :3])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("task", [WALK, CRAWL])
def test_an_action_that_is_not_finite_ends_the_episode_as_failed(play, task, value):
    actions = np.zeros((INSTANCES, STEPS, 17), np.float32)
    actions[1, 3, 5] = value
    states = play([task, task], actions=actions)
    np.testing.assert_array_equal(states.done[:, 1:6], [[0] * 5, [0, 0, 0, 1, 0]])
    np.testing.assert_array_equal(states.metrics["physics_nan"][:, 1:6], states.done[:, 1:6])
    np.testing.assert_array_equal(states.obs[1, 4], states.obs[1, 3])
    assert states.reward[1, 4] == 0.0


def test_an_action_that_is_not_finite_fails_on_the_course(course):
    actions = np.zeros((INSTANCES, STEPS, 17), np.float32)
    actions[1, 3, 5] = np.inf
    states = course([0, 0], actions=actions)
    np.testing.assert_array_equal(states.metrics["physics_nan"][:, 1:6], [[0] * 5, [0, 0, 0, 1, 0]])
    np.testing.assert_array_equal(states.done[:, 1:6], states.metrics["physics_nan"][:, 1:6])


def parts(sys) -> tuple[np.ndarray, ...]:
    """Balls that a body is made of, two for a capsule, [P] each.

    Their link, the place in it [P, 3], the radius, and whether the floor stops them.
    """
    model = sys.mj_model
    found = []
    for geom in map(model.geom, range(model.ngeom)):
        if geom.type == mujoco.mjtGeom.mjGEOM_PLANE:
            continue
        is_capsule = geom.type == mujoco.mjtGeom.mjGEOM_CAPSULE
        axis = np.zeros(9)
        mujoco.mju_quat2Mat(axis, geom.quat)
        for side in (-1, 1) if is_capsule else (0,):
            place = geom.pos + side * geom.size[1] * axis.reshape(3, 3)[:, 2]
            found.append((geom.bodyid[0] - 1, place, geom.size[0], geom.contype[0] & 1))
    return tuple(map(np.asarray, zip(*found, strict=True)))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_nobody_sinks_through_the_floor(backend):
    """1,000 episodes of random torques, held for a tenth of a second as gaits hold theirs."""
    env = envs.make("humanoid_walk_crawl", backend=backend).unwrapped
    link, place, radius, stopped = parts(env.sys)
    held, num_episodes = 7, 1000

    def lowest_points(physics):
        """Of the links' origins, of the balls which the floor stops, and of all parts."""
        x = physics.x.take(link)
        bottoms = (x.pos + jax.vmap(math.rotate)(jnp.asarray(place), x.rot))[:, 2] - radius
        stopped_bottoms = jnp.where(stopped, bottoms, jnp.inf)
        return jnp.stack([physics.x.pos[:, 2].min(), stopped_bottoms.min(), bottoms.min()])

    def episode(key):
        def hold(carry, _):
            state, key = carry
            key, key_action = jax.random.split(key)
            action = jax.random.uniform(key_action, (17,), minval=-1.0)

            def step(state, _):
                state = env.step(state, action)
                physics = state.pipeline_state
                return state, (lowest_points(physics), state.metrics["physics_nan"])

            state, seen = jax.lax.scan(step, state, None, length=held)
            return (state, key), seen

        key_reset, key = jax.random.split(key)
        start = env.reset_to_task(key_reset, jnp.int32(CRAWL))
        _, (lowest, failed) = jax.lax.scan(
            hold, (start, key), None, length=env.episode_length // held
        )
        return lowest.min(axis=(0, 1)), failed.max()

    keys = jax.random.split(jax.random.key(0), num_episodes)
    lowest, failed = map(np.asarray, jax.jit(jax.vmap(episode))(keys))
    assert not failed.any()
    assert (lowest.min(axis=0) > LOWEST[backend]).all()
