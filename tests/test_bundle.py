"""Sub-policies that come with the code: how they get there and how courses take them."""

import dataclasses
import filecmp
import json
import resource
import shutil
from pathlib import Path

import jax
import pytest
from checks import assert_bitwise_equal

import envs
from experiments import (
    ant_obstacle,
    ant_obstacle_big,
    bundle,
    humanoid_course,
    report,
    table,
    transfer,
)
from experiments.harness import checkpoints, course, stages
from experiments.harness.config import AS_TRAINED, AdaptationConfig, Crossing
from mlsh_jax import mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import CheckpointError, ConfigError, RunError
from mlsh_jax.host.checkpoint import SPEC, SUBPOLICIES, TRAINER, CheckpointStore, read_spec
from mlsh_jax.host.devices import make_layout
from mlsh_jax.host.runs import create_run
from mlsh_jax.transfer import restore_subpolicies, subpolicy_spec

COURSES = {
    "ant_twowalk": ant_obstacle,
    "ant_maze": ant_obstacle_big,
    "humanoid_walk_crawl": humanoid_course,
}
"""By the experiment whose sub-policies they take."""


def checked(name, config):
    """The configuration of a course with the exact checkpoint."""
    if COURSES[name] is ant_obstacle:
        return ant_obstacle.checked(config, make_layout(1))
    return course.checked(config, make_layout(1), COURSES[name].make_course_env, name)


@pytest.fixture(scope="module")
def bundled(bandits_run, tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundled")
    bundle.bundle(bandits_run, directory=directory)
    return directory / "moving_bandits"


@pytest.mark.whole
def test_a_bundle_has_all_that_a_transfer_needs(bandits_run, bundled, tmp_path):
    arguments = ["--preset", "smoke", "--env", "moving_bandits", "--iterations", "1"]
    summaries = []
    for name, checkpoint in (("run", bandits_run), ("bundle", bundled)):
        root = tmp_path / name
        transfer.main([*arguments, "--checkpoint", str(checkpoint), "--run-root", str(root)])
        (path,) = root.glob("*/*/summary.json")
        summaries.append(json.loads(path.read_text()))
    assert summaries[0]["adapted_return"] == summaries[1]["adapted_return"]


def test_a_bundle_leaves_the_trainer_and_names_of_directories_behind(bandits_run, bundled):
    assert list((bandits_run / "train" / "checkpoints").glob(f"*/{TRAINER}"))
    assert not list(bundled.rglob(TRAINER))
    for name in ("config.json", "provenance.json", "summary.json"):
        assert json.loads((bundled / name).read_text())
    text = "".join(p.read_text(errors="replace") for p in bundled.rglob("*") if p.is_file())
    assert str(bandits_run.parent) not in text


def test_where_a_run_was_kept_is_not_bundled(bandits_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(bandits_run, run)
    provenance = json.loads((run / "provenance.json").read_text())
    provenance["sessions"][0]["argv"] = ["/a/b.py", "--run-root", "/c", "--seed", "7"]
    provenance["sessions"][0]["command"] = ["/d/python", "-m", "experiments.moving_bandits"]
    provenance["sessions"].append(
        {**provenance["sessions"][0], "argv": ["/a/b.py", "--resume=/c/d", "--resume", "/e"]}
    )
    (run / "provenance.json").write_text(json.dumps(provenance))
    bundle.bundle(run, directory=tmp_path / "bundled")
    path = tmp_path / "bundled" / "moving_bandits" / "provenance.json"
    sessions = json.loads(path.read_text())["sessions"]
    name = "experiments.moving_bandits"
    assert [session["argv"] for session in sessions] == [[name, "--seed", "7"], [name]]
    assert "/d/python" not in path.read_text()


def test_a_policy_that_all_tasks_shared_takes_no_place_of_sub_policies(
    bandits_run, tmp_path, monkeypatch
):
    spec = {"mlsh": {"num_subpolicies": 1}}
    monkeypatch.setattr("mlsh_jax.host.checkpoint.read_spec", lambda path: spec)
    bundle.bundle(bandits_run, directory=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["moving_bandits_shared"]


def test_a_run_that_has_not_finished_is_not_bundled(bandits_run, tmp_path):
    unfinished = tmp_path / "run"
    shutil.copytree(bandits_run, unfinished)
    (unfinished / "summary.json").unlink()
    with pytest.raises(RunError, match=r"summary\.json"):
        bundle.bundle(unfinished, directory=tmp_path / "bundled")
    assert not (tmp_path / "bundled").exists()


def test_a_damaged_run_takes_no_other_s_place(bandits_run, tmp_path):
    run, kept = tmp_path / "run", tmp_path / "bundled" / "moving_bandits" / "kept"
    shutil.copytree(bandits_run, run)
    kept.parent.mkdir(parents=True)
    kept.touch()
    (run / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json: cannot be read"):
        bundle.bundle(run, directory=tmp_path / "bundled")
    assert kept.exists()


def test_a_bundle_that_cannot_be_written_leaves_the_one_before(bandits_run, bundled, tmp_path):
    before = tmp_path / "moving_bandits"
    shutil.copytree(bundled, before)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(RunError, match=r"cannot be copied to .* \(.*File too large"):
            bundle.bundle(bandits_run, directory=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not filecmp.dircmp(bundled, before).diff_files
    assert [path.name for path in tmp_path.iterdir()] == ["moving_bandits"]
    restore_subpolicies(before, envs.make("moving_bandits"))
    bundle.bundle(bandits_run, directory=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["moving_bandits"]


def test_a_bundle_has_no_place_in_a_link_that_leads_to_itself(bandits_run, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(RunError, match=r"cannot be copied to .* \(.*symbolic links"):
        bundle.bundle(bandits_run, directory=link)


def test_a_run_is_not_bundled_over_itself(bandits_run, tmp_path):
    run = tmp_path / "moving_bandits"
    shutil.copytree(bandits_run, run)
    with pytest.raises(ConfigError, match=r"--directory: .* is the run itself"):
        bundle.bundle(run, directory=tmp_path)
    with pytest.raises(ConfigError, match=r"below a name with \["):
        bundle.bundle(run, directory=tmp_path / "b[1]")
    restore_subpolicies(run, envs.make("moving_bandits"))


@pytest.mark.parametrize("experiment", ["../mine", "{tmp_path}/mine", "", "ant_obstacle", None])
def test_what_a_run_says_that_it_is_names_no_directory(bandits_run, tmp_path, experiment):
    run, mine = tmp_path / "run", tmp_path / "mine"
    shutil.copytree(bandits_run, run)
    mine.mkdir()
    (mine / "file").touch()
    provenance = json.loads((run / "provenance.json").read_text())
    provenance["experiment"] = experiment and experiment.format(tmp_path=tmp_path)
    (run / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(RunError, match=r"provenance\.json: .* is no experiment that trains"):
        bundle.bundle(run, directory=tmp_path / "bundled")
    assert (mine / "file").exists()
    assert not (tmp_path / "bundled").exists()


@pytest.mark.parametrize("name", COURSES)
def test_a_course_takes_the_bundled_sub_policies_by_default(name):
    config = checked(name, COURSES[name].PRESETS["default"].config)
    assert config.subpolicies == str(course.exact_path(None, name))
    restore_subpolicies(course.exact_path(None, name), COURSES[name].make_course_env(config)(None))


@pytest.mark.parametrize("name", COURSES)
def test_a_bundled_name_is_understood_where_a_checkpoint_is(name):
    config = COURSES[name].PRESETS["default"].config
    by_name = checked(name, dataclasses.replace(config, subpolicies=name))
    assert by_name == checked(name, config)
    config = transfer.Config(checkpoint=name, env=name)
    assert transfer.checked(config, make_layout(1)).checkpoint == by_name.subpolicies


@pytest.mark.parametrize("name", COURSES)
def test_the_configuration_says_what_sub_policies_of_whatever_age_are_played_with(name):
    config = transfer.checked(transfer.Config(checkpoint=name, env=name), make_layout(1))
    _, trained = restore_subpolicies(config.checkpoint, transfer.make_env_of(config)(None))
    crossing = checked(name, COURSES[name].PRESETS["default"].config).crossing
    of_preset = COURSES[name].PRESETS["default"].config.crossing.course
    for field in AS_TRAINED:
        assert getattr(config.adaptation, field) == getattr(trained, field)
        said = getattr(of_preset, field)
        expected = getattr(trained, field) if said is None else said
        assert getattr(crossing.course, field) == expected
    kept = dataclasses.replace(config.adaptation, deterministic_when_frozen=None)
    opposite = dataclasses.replace(trained, deterministic_when_frozen=False)
    assert kept.as_trained(opposite).deterministic_when_frozen is False


def test_an_existing_path_wins_over_a_bundled_name(bandits_run, tmp_path, monkeypatch):
    shutil.copytree(bandits_run, tmp_path / "ant_twowalk")
    monkeypatch.chdir(tmp_path)
    assert checkpoints.exact_path("ant_twowalk").is_relative_to(tmp_path)
    # A course that is told nothing takes what comes with the code, whatever lies here.
    assert course.exact_path(None, "ant_twowalk").is_relative_to(checkpoints.BUNDLED)


def test_bundles_are_small_and_complete():
    total = 0
    names = checkpoints.bundled_names()
    assert set(COURSES) <= set(names)
    for name in names:
        files = [path for path in (checkpoints.BUNDLED / name).rglob("*") if path.is_file()]
        assert {"config.json", "provenance.json", "summary.json"} <= {path.name for path in files}
        provenance = json.loads((checkpoints.BUNDLED / name / "provenance.json").read_text())
        assert provenance["experiment"] == name.removesuffix(table.SHARED)
        total += sum(path.stat().st_size for path in files)
    assert total < 5e6


def test_training_sub_policies_excludes_taking_them(tmp_path):
    arguments = ["--train-subpolicies", "--subpolicies", "elsewhere", "--run-root", str(tmp_path)]
    with pytest.raises(ConfigError, match=r"^--subpolicies: .* leave it out"):
        ant_obstacle.main(arguments)
    assert not list(tmp_path.iterdir())


def test_what_sub_policies_of_a_body_see_is_what_their_checkpoint_says(tmp_path):
    """They do not see where the body is, and are of use on a course."""
    agent = make_agent(envs.make("ant_twowalk"), MLSHConfig())
    phi = mlsh.init(agent, jax.random.key(0)).subpolicies
    with CheckpointStore(tmp_path / "train" / "checkpoints") as store:
        store.save(1, {SUBPOLICIES: phi}, {SPEC: subpolicy_spec(agent)}, 0.0)
    restored, _ = restore_subpolicies(tmp_path, envs.make("ant_obstacle"))
    assert_bitwise_equal(restored, phi)


def test_baselines_of_a_course_have_as_many_sub_policies_and_choices_as_long(monkeypatch):
    settings = []
    monkeypatch.setattr(course, "make_baseline", lambda name, setting: settings.append(setting))

    def make_env(length):
        return envs.make("moving_bandits", episode_length=length)

    trained = MLSHConfig(num_subpolicies=3, macro_length=25, steps_per_iteration=1000)
    tasks = stages.evaluation_tasks(make_env(None), 2, seed=0)
    crossing = Crossing(baselines=("untrained_subpolicies",))
    course.beside_masters(make_env, crossing, trained, tasks, None)
    (setting,) = settings
    assert (setting.config.num_subpolicies, setting.config.macro_length) == (3, 25)


def test_a_missing_bundle_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "BUNDLED", tmp_path)
    with pytest.raises(CheckpointError, match="ant_twowalk"):
        ant_obstacle.main(["--run-root", str(tmp_path / "runs")])
    assert not (tmp_path / "runs").exists()


def test_a_run_can_be_reported(bandits_run, tmp_path):
    report.report((bandits_run,), tmp_path / "out")
    summary = json.loads((bandits_run / "summary.json").read_text())
    text = (tmp_path / "out" / "report.csv").read_text().splitlines()
    row = dict(zip(text[0].split(","), text[1].split(","), strict=True))
    assert float(row["adapted_return"]) == pytest.approx(summary["adapted_return"])


def test_a_flipped_bit_of_what_comes_with_the_code_is_noticed(tmp_path):
    for name in checkpoints.bundled_names():
        path = checkpoints.bundled(name)
        copy = Path(shutil.copytree(path, tmp_path / name / path.name))
        read_spec(copy)
        largest = max((copy / SUBPOLICIES).rglob("*"), key=lambda file: file.stat().st_size)
        data = bytearray(largest.read_bytes())
        data[len(data) // 2] ^= 1
        largest.write_bytes(data)
        with pytest.raises(CheckpointError, match="is not what was saved"):
            read_spec(copy)


def test_a_copy_of_an_older_checkpoint_has_checksums_and_one_that_cannot_be_is_told(tmp_path):
    file = tmp_path / "3" / SUBPOLICIES / "data"
    file.parent.mkdir(parents=True)
    file.write_text("φ")
    copy = checkpoints.copy_subpolicies(tmp_path / "3", tmp_path / "copy")
    assert f"{SUBPOLICIES}/data" in json.loads((copy / "checksums.json").read_text())
    with pytest.raises(RunError, match=r"cannot be copied to .*/data \(Not a directory\)"):
        checkpoints.copy_subpolicies(tmp_path / "3", file)


def test_a_course_keeps_how_masters_and_baselines_learned(bandits_run, tmp_path):
    def make_env(length):
        return envs.make("moving_bandits", episode_length=length)

    agent = make_agent(make_env(None), MLSHConfig(num_subpolicies=1))
    items = {SUBPOLICIES: mlsh.init(agent, jax.random.key(0)).subpolicies}
    with CheckpointStore(tmp_path / "shared" / "train" / "checkpoints") as store:
        store.save(1, items, {SPEC: subpolicy_spec(agent)}, 0.0)
    crossing = Crossing(
        AdaptationConfig(iterations=2, num_tasks=2, num_envs=20),
        shared_policy=str(tmp_path / "shared"),
        single_policy_iterations=3,
        episodes=2,
    )
    subpolicies, trained = restore_subpolicies(bandits_run, make_env(None))
    crossing = course.check(make_env, crossing, trained, make_layout(1))
    run = create_run(tmp_path, "course", "default", 0, crossing, make_layout(1))
    course.cross(run, make_env, subpolicies, trained, crossing, 0, [])
    run.close()
    summary = json.loads((run.directory / "summary.json").read_text())
    kept = {stage: [] for stage in ("adapt", "single_policy", "shared_policy")}
    for line in map(json.loads, (run.directory / "metrics.jsonl").open()):
        kept[line["stage"]].append(line["metrics"]["return"])
    assert summary["adaptation_return"] == kept["adapt"] and len(kept["adapt"]) == 2
    for baseline in summary["baselines"]:
        assert summary[baseline]["adaptation_return"] == kept[baseline]
        assert len(kept[baseline]) == 3
    assert summary["baselines"] == ["single_policy", "shared_policy"]
    assert (run.directory / "shared" / "checkpoints").is_dir()  # of which a resume needs no other


def test_a_shared_policy_is_one(bandits_run):
    def make_env(length):
        return envs.make("moving_bandits", episode_length=length)

    crossing = Crossing(AdaptationConfig(), shared_policy=str(bandits_run))
    with pytest.raises(ConfigError, match="shared_policy: has 2 sub-policies; take a run with"):
        course.check(make_env, crossing, MLSHConfig(), make_layout(1))
