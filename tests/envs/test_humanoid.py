"""The humanoid: its rewards by hand, the floor and the box as physics, the turn on the course."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.locomotion.humanoid import BACKENDS, CRAWL, CRAWL_PACE, MARK, WALK, WALK_PACE

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

    def _play_one(self, task, q, qd, actions):
        state = self.env.reset_to_task(jax.random.key(0), task)
        state = state.replace(pipeline_state=self.env.pipeline_init(q, qd))

        def step(state, action):
            after = self.env.step(state, action)
            return after, after

        first, states = state, jax.lax.scan(step, state, actions)[1]
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, states)

    def __call__(self, tasks, *, x=0.0, height=1.4, lies=False, speed=0.0, rise=0.0, actions=None):
        """States [P, 1 + STEPS] of bodies at rest but for a speed along x and z, of all parts."""
        count = len(tasks)
        q = np.tile(np.asarray(self.env.sys.init_q, np.float32), (INSTANCES, 1))
        q[:count, 0], q[:count, 2] = x, height
        if lies:  # on its belly, the head ahead
            q[:, 3:7] = [np.sqrt(0.5), 0, np.sqrt(0.5), 0]
        qd = np.zeros((INSTANCES, self.env.sys.qd_size()), np.float32)
        qd[:count, 0], qd[:count, 2] = speed, rise
        if actions is None:
            actions = np.zeros((INSTANCES, STEPS, 17), np.float32)
        # Of one size, which compiles once.
        rows = jnp.asarray(np.resize(tasks, INSTANCES), jnp.int32)
        states = self._run(rows, q, qd, actions)
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


def test_the_box_stops_who_stands_and_lets_pass_who_lies(play):
    standing = play([CRAWL, WALK], x=0.3, speed=-3.0)
    with_box, without = standing.pipeline_state.q[..., 0]
    upright = standing.pipeline_state.q[0, :, 2] > 1.1  # before the legs have slid below it
    assert with_box[upright].min() > -0.5
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


def test_the_floor_carries_every_part(play):
    states = play([CRAWL, CRAWL], height=np.asarray([0.4, 1.4]), lies=True)
    # The least that a sphere leaves: its radius, less what contact gives way.
    assert states.pipeline_state.q[..., 2].min() > 0.0
    assert states.pipeline_state.q[0, -1, 2] < 0.3


def test_the_course_turns_into_crawling_back_for_good(course):
    states = course([0, 0], x=np.asarray([MARK - 0.3, MARK - 3.0]), speed=2.0)
    x = states.pipeline_state.q[..., 0]
    passed = x > MARK
    assert passed[0].any() and not passed[1].any()
    np.testing.assert_array_equal(states.info["is_crawling"], np.maximum.accumulate(passed, axis=1))
    np.testing.assert_array_equal(states.metrics["passed"], states.info["is_crawling"])
    velocity = np.diff(centers_of_mass(course.env, states), axis=1) / 0.015
    is_crawling = states.info["is_crawling"][:, :-1]  # from the step after the mark on
    height = states.pipeline_state.q[:, 1:, 2]
    walk = np.where(height >= 1, 5 + 1.25 * velocity, 0)
    expected = np.where(is_crawling, -7.5 * velocity, walk)
    np.testing.assert_allclose(states.reward[:, 1:], expected, atol=5e-3)
    np.testing.assert_array_equal(states.done[:, 1:], ~is_crawling & (height < 1))


def test_masters_of_the_course_see_where_the_torso_is_and_how_high(course):
    states = course([0, 0], x=np.asarray([MARK - 0.3, 1.0]), height=np.asarray([0.4, 1.3]))
    place = states.obs[:, 1:, np.asarray(course.env.place_indices)]
    np.testing.assert_array_equal(place, states.pipeline_state.q[:, 1:, :3])


def test_an_action_that_is_not_finite_ends_the_episode_as_failed(play):
    actions = np.zeros((INSTANCES, STEPS, 17), np.float32)
    actions[1, 3, 5] = np.nan
    states = play([CRAWL, CRAWL], actions=actions)
    np.testing.assert_array_equal(states.done[:, 1:6], [[0] * 5, [0, 0, 0, 1, 0]])
    np.testing.assert_array_equal(states.metrics["physics_nan"][:, 1:6], states.done[:, 1:6])
    np.testing.assert_array_equal(states.obs[1, 4], states.obs[1, 3])
    assert states.reward[1, 4] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_nobody_sinks_through_the_floor(backend):
    """1,000 episodes of random torques, held for a tenth of a second as gaits hold theirs."""
    env = envs.make("humanoid_walk_crawl", backend=backend).unwrapped
    held, num_episodes = 7, 1000

    def episode(key):
        def hold(carry, _):
            state, key = carry
            key, key_action = jax.random.split(key)
            action = jax.random.uniform(key_action, (17,), minval=-1.0)

            def step(state, _):
                state = env.step(state, action)
                physics = state.pipeline_state
                return state, (physics.x.pos[:, 2].min(), state.metrics["physics_nan"])

            state, seen = jax.lax.scan(step, state, None, length=held)
            return (state, key), seen

        key_reset, key = jax.random.split(key)
        start = env.reset_to_task(key_reset, jnp.int32(CRAWL))
        _, (lowest, failed) = jax.lax.scan(
            hold, (start, key), None, length=env.episode_length // held
        )
        return lowest.min(), failed.max()

    lowest, failed = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), num_episodes))
    assert not np.asarray(failed).any()
    assert np.asarray(lowest).min() > -0.1
