import pytest

from envs import EnvError
from experiments.harness.environments import named_env
from mlsh_jax.errors import ConfigError


def test_options_reach_the_environment_as_what_they_read_as():
    assert len(named_env("four_rooms", ["goals=unseen"], None)(None).task_names) == 20
    assert named_env("moving_bandits", ["num_points=3"], None)(None).observation_size == 8
    corridor = named_env("goal_corridor", ["pays=(1.0, 10.0)"], None)(7)
    assert corridor.unwrapped.pays.tolist() == [1, 10] and corridor.episode_length == 7
    assert named_env("taxi", ["tasks=kuric", "split=test"], None)(None).episode_length == 1500


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (["goals"], ConfigError, "env_options: must be NAME=VALUE each, .* got 'goals'"),
        (["=unseen"], ConfigError, "env_options: must be NAME=VALUE each"),
        (["goals=all", "goals=unseen"], ConfigError, "env_options: goals was given before"),
        (["goals=some"], EnvError, "goals must be one of training, unseen, all, got 'some'"),
        (["rooms=4"], EnvError, "unknown option 'rooms' for four_rooms; it takes: goals"),
        (["goals={[]: 1}"], EnvError, "goals must be one of"),
        (["episode_length=5"], ConfigError, "of the environment's class, got 'episode_length=5'"),
        (["name=x"], ConfigError, "of the environment's class, got 'name=x'"),
        (["goals=[1]"], EnvError, "must be hashable"),
    ],
)
def test_options_that_cannot_be_are_refused(options, error, words):
    with pytest.raises(error, match=words.replace("(", r"\(")):
        named_env("four_rooms", options, None)(None)
    with pytest.raises(EnvError, match=r"num_points must be an integer from 2 to 10000, got 2\.5"):
        named_env("moving_bandits", ["num_points=2.5"], None)(None)
    with pytest.raises(ConfigError, match=r"env_options: goal_corridor refuses pays=1\.0"):
        named_env("goal_corridor", ["pays=1.0"], None)(None)
    with pytest.raises(ConfigError, match="backend was given before"):
        named_env("ant_maze", ["backend=spring"], "spring")
