import re
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import tiny_config

import envs
from envs import registry
from envs.base import State, TaskEnv
from envs.grids.points import MovingBandits
from mlsh_jax import mlsh
from mlsh_jax.agent import make_agent


class Corridor(TaskEnv):
    """An environment of a user's own: walk to the end of a corridor that the task names."""

    name = "corridor"
    episode_length = 8
    num_actions = 2
    action_size = 1
    observation_size = 1
    task_names = ("left", "right")
    backend = "none"

    def __init__(self, stride: float = 1.0):
        self.stride = stride

    def sample_task(self, key):
        return jax.random.randint(key, (), 0, 2, jnp.int32)

    def all_tasks(self):
        return jnp.arange(2, dtype=jnp.int32)

    def reset_to_task(self, key, task):
        zero = jnp.zeros(())
        return State(zero, zero[None], zero, zero, {}, {"task": jnp.asarray(task, jnp.int32)})

    def step(self, state, action):
        place = state.pipeline_state + self.stride * (2.0 * jnp.reshape(action, ()) - 1.0)
        reward = place * (2.0 * state.info["task"] - 1.0)
        return state.replace(pipeline_state=place, obs=place[None], reward=reward)


@pytest.fixture
def entries(monkeypatch):
    """Leaves the table as it was."""
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))


@pytest.fixture
def address(monkeypatch) -> str:
    """The "module:Class" of `Corridor` in a module that a user could have written."""
    module = types.ModuleType("user_corridor")
    module.Corridor, module.number = Corridor, 3
    monkeypatch.setitem(sys.modules, "user_corridor", module)
    return "user_corridor:Corridor"


def test_names_are_sorted_and_make_gives_what_was_asked_for():
    assert list(envs.names()) == sorted(envs.names())
    assert envs.make("moving_bandits").name == "moving_bandits"
    assert envs.make("moving_bandits", episode_length=7).episode_length == 7


def test_every_name_is_that_of_its_environment():
    for name in envs.names():
        assert registry._find(name).name == name


def test_unknown_environment_lists_the_known_ones():
    with pytest.raises(envs.EnvError, match=r"'antbandits'.*ant_obstacle.*moving_bandits"):
        envs.make("antbandits")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("moving_bandits", {"backend": "spring"}, "'backend'.*moving_bandits.*num_points"),
        ("goal_relay", {"backend": "spring"}, "'backend'.*goal_relay.*none"),
        ("ant_twowalk", {"speed": 3}, "'speed'.*ant_twowalk.*reward, backend, position_visible"),
        ("ant_twowalk", {"reward": "progress"}, "reward.*velocity, paper.*'progress'"),
        ("ant_twowalk", {"backend": "bullet"}, "backend.*spring.*'bullet'"),
        ("ant_obstacle", {"backend": "positional"}, "backend.*spring.*'positional'"),
        ("ant_obstacle", {"episode_length": 0}, "episode_length"),
        ("ant_maze", {"layouts": "test"}, "layouts.*training, unseen.*'test'"),
        ("ant_bandits", {"reward": "velocity"}, "reward.*progress, distance.*'velocity'"),
        ("ant_bandits", {"position_visible": "no"}, "position_visible.*'no'"),
        ("humanoid_walk_crawl", {"reward": "velocity"}, "reward.*pace, paper.*'velocity'"),
        ("humanoid_walk_crawl", {"backend": "mjx"}, "backend.*spring, generalized.*'mjx'"),
        ("humanoid_course", {"reward": "paper"}, "'reward'.*humanoid_course.*backend, position"),
        ("humanoid_course", {"position_visible": 1}, "position_visible.*true or false, got 1"),
        ("swimmer_bandits", {"backend": "spring"}, "backend.*mjx, generalized.*'spring'"),
    ],
)
def test_bad_option_is_named_with_what_exists(name, options, message):
    with pytest.raises(envs.EnvError, match=message) as caught:
        envs.make(name, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_importing_the_package_imports_no_heavy_library():
    code = (
        "import sys, envs; envs.names(); envs.register('own', 'a.module:Own');"
        "print(sorted({'jax', 'brax', 'numpy'} & {*sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_registered_environment_is_made_by_its_name(entries, address):
    envs.register("corridor", address)
    envs.register("corridor_too", Corridor)
    assert {"corridor", "corridor_too"} < set(envs.names())
    for name in ("corridor", "corridor_too"):
        env = envs.make(name, episode_length=3, stride=0.5)
        assert type(env.unwrapped) is Corridor
        assert (env.episode_length, env.unwrapped.stride) == (3, 0.5)


def test_an_environment_without_a_name_is_made_by_its_address_or_its_class(address):
    for name in (address, Corridor):
        env = envs.make(name, stride=0.5)
        assert type(env.unwrapped) is Corridor
        assert (env.episode_length, env.unwrapped.stride) == (8, 0.5)
    with pytest.raises(envs.EnvError, match=r"'speed'.*Corridor.*stride"):
        envs.make(address, speed=1)


def test_a_name_that_is_taken_stays_what_it_was(entries, address):
    with pytest.raises(envs.EnvError, match=r"moving_bandits.*envs\.grids\.points:MovingBandits"):
        envs.register("moving_bandits", address)
    assert type(envs.make("moving_bandits").unwrapped) is MovingBandits


def test_registering_the_same_environment_again_is_allowed(entries):
    envs.register("moving_bandits", "envs.grids.points:MovingBandits")
    envs.register("moving_bandits", MovingBandits)
    assert type(envs.make("moving_bandits").unwrapped) is MovingBandits


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Corridor", "no module 'no_such_module'"),
        ("envs.no_such_part:Corridor", r"no module 'envs\.no_such_part'"),
        ("user_corridor:Corridors", "user_corridor has no class 'Corridors'"),
        ("user_corridor:number", "3 is no subclass of envs.base.TaskEnv"),
        ("envs.base:TaskEnv", "does not define.*reset_to_task.*step"),
        ("user_corridor:", "'user_corridor:'"),
        (":Corridor", "':Corridor'"),
        ("envs/grids/points.py:MovingBandits", '"module:Class"'),
    ],
)
def test_an_address_that_leads_nowhere_is_told_in_one_line(entries, address, name, message):
    with pytest.raises(envs.EnvError, match=message) as caught:
        envs.make(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "entry"), [("a:b", Corridor), ("", Corridor), ("own", "Corridor"), ("own", 3)]
)
def test_what_cannot_be_registered_is_refused(entries, name, entry):
    with pytest.raises(envs.EnvError, match=re.escape(repr(name if entry is Corridor else entry))):
        envs.register(name, entry)
    assert name not in envs.names()


def test_a_module_that_fails_to_import_another_one_says_so_itself(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        envs.make("needs_more:Corridor")


@pytest.mark.slow  # docs/your_own_environment.md is tried quickly
def test_sub_policies_learn_in_an_environment_of_a_users_own(address):
    config = tiny_config(num_tasks=2, steps_per_iteration=32, macro_length=4)
    agent = make_agent(envs.make(address), config)
    start = mlsh.init(agent, jax.random.key(0))
    end, metrics = jax.jit(lambda state: mlsh.meta_iteration(agent, state))(start)
    before, after = (jax.tree.leaves(state.subpolicies.params) for state in (start, end))
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(metrics))


class Anything(Corridor):
    def __init__(self, *, length, **others):
        super().__init__(**others)
        self.length = length


def test_a_constructor_says_which_options_there_are():
    assert envs.make(Anything, length=3, stride=2.0).unwrapped.stride == 2.0
    with pytest.raises(envs.EnvError, match=r"Anything needs the option 'length'"):
        envs.make(Anything)
    with pytest.raises(envs.EnvError, match=r"option 'length' .* hashable.*\[1, 2\]"):
        envs.make(Anything, length=[1, 2])


def test_values_that_are_equal_and_of_other_types_are_other_environments():
    kinds = [type(envs.make(Corridor, stride=x).unwrapped.stride) for x in (1, True, 1.0)]
    assert kinds == [int, bool, float]
