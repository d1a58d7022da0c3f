"""Experiments in small worlds: presets that can be trained, and runs of the smallest ones."""

import importlib
import json

import pytest
from launches import run_directories

from experiments import four_rooms, table, taxi
from experiments.harness.methods import closing_measurement
from experiments.harness.stages import check_evaluation, check_training, evaluation_tasks
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.devices import make_layout

NAMES = (
    "key_door",
    "all_walk",
    "four_rooms",
    "taxi",
    "minigrid_empty",
    "minigrid_door_key_5x5",
    "minigrid_four_rooms",
    "minigrid_mixed",
)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_can_be_trained_and_measured(name):
    module = importlib.import_module(table.module_name(name))
    assert list(module.PRESETS) == ["default", "smoke", "paper"]
    for preset in module.PRESETS.values():
        config, layout = preset.config, make_layout(1)
        check_training(module.make_env(config), config.training, layout, 1)
        check_evaluation(module.make_env(config), config.evaluation, config.training.mlsh)
        make_env = getattr(module, "make_evaluation_env", module.make_env)(config)
        env = make_env(None)
        tasks = evaluation_tasks(env, config.evaluation.num_tasks, 0)
        closing = closing_measurement(env, config.training.mlsh, config.evaluation, tasks, layout)
        of_each = -(-config.evaluation.num_tasks // max(len(env.task_names), 1))
        expected = of_each * max(len(env.task_names), 1)
        assert closing.tasks.index.shape == (expected,)
        assert closing.agent.env.episode_length == env.episode_length


def test_the_paper_preset_has_the_sizes_of_the_default_and_the_published_algorithm():
    for module in (four_rooms, taxi):
        default, paper = (
            module.PRESETS[name].config.training.mlsh for name in ("default", "paper")
        )
        assert paper.num_tasks == default.num_tasks and paper.num_envs == default.num_envs
        assert not paper.task_critic and not paper.balance_usage and paper.credit == "subpolicy"
    assert (paper.num_subpolicies, paper.macro_length, paper.joint_iterations) == (4, 2, 1)
    paper = four_rooms.PRESETS["paper"].config.training.mlsh
    assert (paper.num_subpolicies, paper.macro_length) == (4, 25)  # of the released environment
    assert (paper.warmup_iterations, paper.joint_iterations) == (20, 30)


def test_four_rooms_are_trained_on_some_goals_and_measured_on_others():
    config = four_rooms.Config()
    trained, unseen = (
        set(make(config)(None).task_names)
        for make in (four_rooms.make_env, four_rooms.make_evaluation_env)
    )
    assert (len(trained), len(unseen)) == (83, 20)
    assert not trained & unseen
    again = four_rooms.make_evaluation_env(four_rooms.Config(goals="training"))(None)
    assert set(again.task_names) == trained


@pytest.mark.parametrize(("preset", "size"), [("default", 4), ("smoke", 4), ("paper", 104)])
def test_what_subpolicies_see_of_four_rooms_is_the_same_in_training_and_after(preset, size):
    config = four_rooms.PRESETS[preset].config
    for make in (four_rooms.make_env, four_rooms.make_evaluation_env):
        assert len(make(config)(None).subpolicy_observation_indices) == size


@pytest.mark.parametrize("name", NAMES)
def test_odd_sizes_are_refused_with_what_would_do(name, tmp_path):
    module = importlib.import_module(table.module_name(name))
    mlsh = module.PRESETS["default"].config.training.mlsh
    length = module.make_env(module.PRESETS["default"].config)(None).episode_length
    odd = 7  # divides the episodes of none of them
    whole = odd * mlsh.num_envs
    for options, words in (
        (["--num-subpolicies", "0"], "--num-subpolicies: must be at least 1, got 0"),
        (["--macro-length", "0"], "--macro-length: must be at least 1, got 0"),
        (["--macro-length", str(odd)], f"= 7 x {mlsh.num_envs} = {whole}; use "),
        (
            ["--macro-length", str(odd), "--steps-per-iteration", str(whole)],
            f"macro_length: 7 does not divide the episode length of {name}, {length} steps; use "
            + {50: "5 or 10", 100: "5 or 10", 250: "5 or 10", 256: "4 or 8"}[length],
        ),
    ):
        with pytest.raises(ConfigError) as refused:
            module.main([*options, "--run-root", str(tmp_path)])
        assert words in str(refused.value) and "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("four_rooms", ["--goals", "attic"], "--goals"),
        ("four_rooms", ["--subpolicies-see", "doors"], "--subpolicies-see"),
        ("taxi", ["--tasks", "uber"], "--tasks"),
        ("taxi", ["--num-subpolicies", "-1"], "--num-subpolicies: must be at least 1, got -1"),
        ("taxi", ["--num-subpolicies", "2.5"], "--num-subpolicies"),
    ],
)
def test_unknown_tasks_and_odd_numbers_of_sub_policies_are_one_line(
    name, options, words, tmp_path, capsys
):
    module = importlib.import_module(table.module_name(name))
    with pytest.raises(ConfigError) as refused:
        module.main([*options, "--run-root", str(tmp_path)])
    assert words in str(refused.value) and options[-1] in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir()) and capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_smoke_preset_runs(name, tmp_path):
    module = importlib.import_module(table.module_name(name))
    module.main(["--preset", "smoke", "--run-root", str(tmp_path)])
    (directory,) = run_directories(tmp_path)
    summary = json.loads((directory / "summary.json").read_text())
    mlsh = module.PRESETS["smoke"].config.training.mlsh
    assert summary["env_steps"] == 2 * mlsh.env_steps_per_meta_iteration
    assert len(summary["adaptation_return"]) == 2
    assert (directory / "trajectories.png").is_file()
    for kind in ("gif", "html"):
        assert list((directory / "replays").glob(f"*.{kind}"))
