import subprocess
import sys

import pytest

import envs


def test_names_are_sorted_and_make_gives_what_was_asked_for():
    assert list(envs.names()) == sorted(envs.names())
    assert envs.make("moving_bandits").name == "moving_bandits"
    assert envs.make("moving_bandits", episode_length=7).episode_length == 7


def test_unknown_environment_lists_the_known_ones():
    with pytest.raises(envs.EnvError, match=r"'antbandits'.*ant_obstacle.*moving_bandits"):
        envs.make("antbandits")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("moving_bandits", {"backend": "spring"}, "'backend'.*moving_bandits.*none"),
        ("ant_twowalk", {"speed": 3}, "'speed'.*ant_twowalk.*reward, backend, position_visible"),
        ("ant_twowalk", {"reward": "progress"}, "reward.*velocity, distance.*'progress'"),
        ("ant_twowalk", {"backend": "bullet"}, "backend.*spring.*'bullet'"),
        ("ant_obstacle", {"backend": "positional"}, "backend.*spring.*'positional'"),
        ("ant_obstacle", {"episode_length": 0}, "episode_length"),
        ("ant_maze", {"layouts": "test"}, "layouts.*training, unseen.*'test'"),
        ("ant_bandits", {"reward": "velocity"}, "reward.*progress, distance.*'velocity'"),
        ("ant_bandits", {"position_visible": "no"}, "position_visible.*'no'"),
        ("swimmer_bandits", {"backend": "spring"}, "backend.*mjx, generalized.*'spring'"),
    ],
)
def test_bad_option_is_named_with_what_exists(name, options, message):
    with pytest.raises(envs.EnvError, match=message) as caught:
        envs.make(name, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_importing_the_package_imports_no_heavy_library():
    code = "import sys, envs; envs.names(); print(sorted({'jax', 'brax'} & {*sys.modules}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
