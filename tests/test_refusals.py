"""What experiments refuse, in one line and before a run is made."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from launches import TINY, assert_refused, run_directories

import envs
from experiments import ant_obstacle, humanoid_course, moving_bandits, transfer
from mlsh_jax.errors import CheckpointError, ConfigError, RunError
from mlsh_jax.host.checkpoint import SPEC, SUBPOLICIES, CheckpointStore
from mlsh_jax.host.launch import parse
from mlsh_jax.transfer import restore_subpolicies

ROOT = Path(__file__).parent.parent


def test_a_batch_that_is_not_divisible_is_refused_with_the_nearest_sizes(tmp_path):
    arguments = ["--steps-per-iteration", "2100", "--run-root", str(tmp_path)]
    assert_refused(
        lambda: moving_bandits.main(arguments),
        ConfigError, "steps-per-iteration", "2000 or 2400", root=tmp_path,
    )  # fmt: skip


@pytest.mark.parametrize("updates", ["19", "21"])
def test_steps_that_fall_to_nothing_elsewhere_than_the_training_ends_are_refused(updates, tmp_path):
    arguments = ["--meta-iterations", "4", "--subpolicy.decay-until", updates]
    assert_refused(
        lambda: moving_bandits.main([*arguments, "--run-root", str(tmp_path)]),
        ConfigError, "--subpolicy.decay-until: ", "4 x 5 = 20; use 20", root=tmp_path,
    )  # fmt: skip


def test_the_option_of_a_part_is_named_as_it_is_typed(tmp_path):
    """That of a part of a part of the configuration, some of whose options carry no prefix."""
    arguments = ["--train-subpolicies", "--training.meta-iterations", "40"]
    assert_refused(
        lambda: ant_obstacle.main([*arguments, "--run-root", str(tmp_path)]),
        ConfigError, "--training.subpolicy.decay-until: ", "use 320", root=tmp_path,
    )  # fmt: skip


def test_a_macro_length_that_does_not_divide_the_episode_is_refused(tmp_path):
    arguments = ["--macro-length", "20", "--num-envs", "50", "--run-root", str(tmp_path)]
    assert_refused(
        lambda: moving_bandits.main(arguments), ConfigError, "macro_length", "50", root=tmp_path
    )


def test_a_missing_checkpoint_is_refused_before_a_run_is_made(tmp_path):
    missing = str(tmp_path / "nowhere")
    for call in (
        lambda: ant_obstacle.main(["--subpolicies", missing, "--run-root", str(tmp_path / "r")]),
        lambda: transfer.main(
            ["--checkpoint", missing, "--env", "moving_bandits", "--run-root", str(tmp_path / "r")]
        ),
    ):
        assert_refused(
            call, CheckpointError, "nowhere", "ant_maze, ant_twowalk", root=tmp_path / "r"
        )


@pytest.mark.parametrize(
    ("trained_on", "env"),
    [
        (None, "ant_twowalk"),
        ("ant_twowalk", "humanoid_walk_crawl"),
        ("ant_twowalk", "humanoid_course"),
        ("humanoid_walk_crawl", "ant_maze"),
    ],
)
def test_sub_policies_of_another_body_are_refused(trained_on, env, bandits_run, tmp_path):
    arguments = ["--checkpoint", trained_on or str(bandits_run), "--env", env]
    assert_refused(
        lambda: transfer.main([*arguments, "--run-root", str(tmp_path)]),
        CheckpointError, "observation_size", trained_on or "moving_bandits", env, root=tmp_path,
    )  # fmt: skip


@pytest.mark.parametrize(("backend", "says"), [("generalized", True), ("spring", False)])
@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (transfer, ["--checkpoint", "ant_twowalk", "--env", "ant_maze", "--macro-length", "7"]),
        (ant_obstacle, ["--course.macro-length", "7"]),
    ],
)
def test_sub_policies_of_another_physics_are_told(
    program, arguments, backend, says, tmp_path, capsys
):
    assert_refused(
        lambda: program.main([*arguments, "--backend", backend, "--run-root", str(tmp_path)]),
        ConfigError, "macro_length", root=tmp_path,
    )  # fmt: skip
    told = capsys.readouterr().out
    assert ("trained with the physics 'spring'; with 'generalized'" in told) == says


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--training.num-envs", "2"], "--training.*: .* add --train-subpolicies"),
        (["--reward", "paper"], "--reward: .* add --train-subpolicies"),
        (["--preset", "smoke", "--subpolicies", "ant_twowalk"], "--subpolicies: .* add --no-train"),
        (
            ["--preset", "smoke", "--no-train-subpolicies", "--reward", "velocity"],
            "--reward: .* add --train-subpolicies",
        ),
    ],
)
def test_options_of_a_training_go_with_one(arguments, message, tmp_path):
    with pytest.raises(ConfigError, match=f"^{message}"):
        ant_obstacle.main([*arguments, "--run-root", str(tmp_path)])
    assert not run_directories(tmp_path)


@pytest.mark.parametrize("option", ["--subpolicies", "--shared-policy"])
def test_ant_sub_policies_are_refused_on_the_course_of_the_humanoid(option, tmp_path):
    arguments = ["--preset", "smoke", option, "ant_twowalk", "--run-root", str(tmp_path)]
    assert_refused(
        lambda: humanoid_course.main(arguments),
        CheckpointError, "observation_size", "ant_twowalk", "humanoid_course", root=tmp_path,
    )  # fmt: skip


def test_sub_policies_that_something_else_has_trained_are_refused(tmp_path):
    with CheckpointStore(tmp_path / "train" / "checkpoints") as store:
        store.save(1, {SUBPOLICIES: {"w": np.zeros(3)}}, {SPEC: {"size": 3}}, 0.0)
    with pytest.raises(CheckpointError, match=r"train/checkpoints: .*do not say env and mlsh"):
        restore_subpolicies(tmp_path / "train" / "checkpoints", envs.make("moving_bandits"))


def test_an_unknown_environment_names_the_known_ones(bandits_run, tmp_path):
    arguments = ["--checkpoint", str(bandits_run), "--env", "ant_twowalks"]
    with pytest.raises(ValueError, match=r"ant_twowalks.*ant_twowalk") as caught:
        transfer.main([*arguments, "--run-root", str(tmp_path)])
    assert caught.value.exit_code == 2  # type: ignore[attr-defined]
    assert not run_directories(tmp_path)


@pytest.mark.whole
def test_training_that_diverges_says_so_and_keeps_the_last_good_checkpoint(tmp_path):
    arguments = [*TINY, "--run-root", str(tmp_path), "--checkpoint-every", "1"]
    with pytest.raises(RunError, match=r"iteration 1: .*not finite.*learning rate"):
        moving_bandits.main([*arguments, "--subpolicy.learning-rate", "1e38"])
    (directory,) = run_directories(tmp_path)
    assert not (directory / "summary.json").exists()
    assert not list((directory / "train" / "checkpoints").glob("[0-9]*"))


def test_errors_reach_the_shell_as_one_line_and_an_exit_code(tmp_path):
    def launch(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)

    (tmp_path / "file").write_text("")
    cases = [
        (("experiments", "ant_obstacles"), 2, "ant_obstacle"),
        (("experiments.ant_obstacle", "--preset", "huge"), 2, "huge"),
        (("experiments.moving_bandits", "--macro-lenght", "5"), 2, "--macro-length"),
        (("experiments.moving_bandits", "--run-root", str(tmp_path / "file")), 1, "--run-root"),
        (("experiments.transfer", "--env", "moving_bandits"), 2, "--checkpoint"),
    ]
    for arguments, exit_code, word in cases:
        result = launch(*arguments)
        assert result.returncode == exit_code, result.stderr
        assert word in result.stderr
        assert "Traceback" not in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_a_rule_on_the_command_line_leaves_out_what_the_preset_gives_to_its_own():
    def config_of(*arguments):
        return parse("moving_bandits", moving_bandits.PRESETS, list(arguments)).config.training.mlsh

    preset = moving_bandits.PRESETS["default"].config.training.mlsh
    dqn = config_of("--master.rule", "dqn", "--master.replay-size", "300").master
    assert dqn == dataclasses.replace(preset.master.with_rule("dqn"), replay_size=300)
    assert config_of("--subpolicy.rule=a2c").subpolicy == preset.subpolicy.with_rule("a2c")
    assert config_of("--master.rule", "ppo") == preset
    for arguments, message in (
        (["--master.rule", "sarsa"], r"^--master\.rule: must be one of ppo, a2c, trpo, dqn"),
        (["--subpolicy.rule", "dqn"], r"^--subpolicy\.rule: dqn is for masters alone"),
        (
            ["--master.rule", "dqn", "--master.clip-epsilon", "0.3"],
            r"^--master\.clip-epsilon: the rule dqn has no such option",
        ),
        (["--master.kl-limit", "0.3"], r"^--master\.kl-limit: the rule ppo has no such option"),
    ):
        with pytest.raises(ConfigError, match=message):
            config_of(*arguments)


def test_a_baseline_that_would_take_the_place_of_another_stage_is_refused(tmp_path):
    arguments = ["--preset", "smoke", "--no-train-subpolicies", "--run-root", str(tmp_path)]
    assert_refused(
        lambda: ant_obstacle.main([*arguments, "--baselines", "single_policy", "single_policy"]),
        ConfigError, "baselines: single_policy", "has a stage", root=tmp_path,
    )  # fmt: skip


def test_a_closing_measurement_that_would_not_fit_is_refused_before_training(tmp_path):
    # 3,000 minibatches are possible with the 4,000 steps of training, not with 2,500 to measure.
    arguments = [*TINY, "--num-envs", "50", "--steps-per-iteration", "4000"]
    arguments += ["--subpolicy.num-minibatches", "3000", "--run-root", str(tmp_path)]
    assert_refused(
        lambda: moving_bandits.main(arguments), ConfigError, "num_minibatches", root=tmp_path
    )
