"""Reports over seeds, from run directories."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.recorded import find_runs, group_runs, newest_of_each
from experiments.report import curves_of, main, report
from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.statistics import interquartile_interval


def write_run(
    root: Path, name: str, seed: int, config: dict, curve: list[float], result: float | None
) -> None:
    """A run directory with what a report reads; without a result it has not finished."""
    directory = root / name
    directory.mkdir(parents=True)
    provenance = {"experiment": "corridor", "preset": "default", "seed": seed}
    (directory / "provenance.json").write_text(json.dumps(provenance))
    (directory / "config.json").write_text(json.dumps({"seed": seed} | config))
    lines = [
        {
            "stage": "train",
            "iteration": i,
            "env_steps": 100 * i,
            "wall_seconds": 1.0 * i,
            "metrics": {"return": value, "usage": [0.5, 0.5]},
        }
        for i, value in enumerate(curve, 1)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if result is not None:
        summary = {"adapted_return": result, "env_steps": 100 * len(curve), "wall_seconds": 2.0}
        (directory / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def runs(tmp_path) -> Path:
    """Two and four sub-policies, three seeds each."""
    root = tmp_path / "runs"
    for k in (2, 4):
        for seed in range(3):
            config = {"training": {"mlsh": {"num_subpolicies": k, "master": {"rule": "ppo"}}}}
            curve = [k * 1.0, k * 2.0 + seed]
            write_run(root, f"k{k}-s{seed}", seed, config, curve, 10.0 * k + seed)
    return root


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_groups_are_named_after_what_differs(runs):
    groups = group_runs(find_runs([runs]))
    assert list(groups) == ["num_subpolicies 2", "num_subpolicies 4"]
    assert [run.seed for run in groups["num_subpolicies 4"]] == [0, 1, 2]


def test_fields_of_the_same_name_keep_what_tells_them_apart(tmp_path):
    for rate, clip in [(1, 1), (1, 2), (2, 1)]:
        config = {"master": {"rate": rate}, "subpolicy": {"rate": clip}}
        write_run(tmp_path, f"{rate}{clip}", 0, config, [1.0], 1.0)
    labels = list(group_runs(find_runs([tmp_path])))
    assert labels[0] == "master.rate 1, subpolicy.rate 1"


def test_one_configuration_is_named_after_experiment_and_preset(tmp_path):
    for seed in range(2):
        write_run(tmp_path, str(seed), seed, {"a": 1}, [1.0], 1.0)
    assert list(group_runs(find_runs([tmp_path]))) == ["corridor default"]


def test_the_table_and_the_curves_are_over_seeds(runs, tmp_path):
    out = tmp_path / "out"
    report((runs,), out)
    rows = read_csv(out / "report.csv")
    assert [row["group"] for row in rows] == ["num_subpolicies 2", "num_subpolicies 4"]
    expected = interquartile_interval([40.0, 41.0, 42.0])
    written = [float(rows[1][f"adapted_return{end}"]) for end in ("", "_low", "_high")]
    np.testing.assert_allclose(written, expected)
    points = [row for row in read_csv(out / "curves.csv") if row["group"] == "num_subpolicies 4"]
    assert [int(row["env_steps"]) for row in points] == [100, 200]
    np.testing.assert_allclose([float(row["estimate"]) for row in points], [4.0, 9.0])
    text = (out / "report.md").read_text()
    assert f"| num_subpolicies 4 | 3 | 3 | {expected} | 200 | 2 |" in text
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_unfinished_run_counts_in_the_curve_as_far_as_it_came(runs):
    config = {"training": {"mlsh": {"num_subpolicies": 2, "master": {"rule": "ppo"}}}}
    write_run(runs, "k2-s3", 3, config, [6.0], None)
    group = group_runs(find_runs([runs]))["num_subpolicies 2"]
    steps, intervals = curves_of(group, "return")["train"]
    assert steps.tolist() == [100]
    assert intervals[0].estimate == interquartile_interval([2.0, 2.0, 2.0, 6.0]).estimate


def test_runs_recorded_at_other_steps_are_interpolated(tmp_path):
    write_run(tmp_path, "a", 0, {}, [0.0, 1.0, 2.0], 0.0)
    write_run(tmp_path, "b", 1, {}, [0.0, 1.0, 2.0], 0.0)
    lines = (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()
    (tmp_path / "b" / "metrics.jsonl").write_text(f"{lines[0]}\n{lines[2]}\n")
    steps, intervals = curves_of(find_runs([tmp_path]), "return")["train"]
    np.testing.assert_allclose([i.estimate for i in intervals], steps / 100 - 1)


def test_a_curve_has_no_more_than_what_all_runs_have_come_to(tmp_path):
    write_run(tmp_path, "a", 0, {}, [1.0, 2.0, 3.0], 0.0)
    write_run(tmp_path, "b", 1, {}, [1.0, 2.0], 0.0)
    file = tmp_path / "b" / "metrics.jsonl"
    file.write_text(file.read_text().replace('"env_steps": 100', '"env_steps": 150'))
    (steps, _) = curves_of(find_runs([tmp_path]), "return")["train"]
    assert (steps[0], steps[-1]) == (150, 200)


def test_of_the_same_configuration_and_seed_the_newest_finished_run_counts(tmp_path):
    write_run(tmp_path, "20260101-000000", 0, {}, [1.0], 1.0)
    write_run(tmp_path, "20260102-000000", 0, {}, [1.0], 2.0)
    write_run(tmp_path, "20260103-000000", 0, {}, [1.0], None)
    kept, left_out = newest_of_each(find_runs([tmp_path]))
    assert [run.directory.name for run in kept] == ["20260102-000000"]
    assert len(left_out) == 2


def test_a_run_can_be_named_twice(runs):
    assert len(find_runs([runs, runs / "k2-s0"])) == 6


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("provenance.json", "[]", "holds no JSON object"),
        ("provenance.json", '{"experiment": "corridor"}', "has no 'preset'"),
        ("config.json", "[" * 100_000, "recursion"),
        ("summary.json", "", "Expecting value"),
    ],
)
def test_a_damaged_file_is_named(runs, name, content, message):
    (runs / "k2-s0" / name).write_text(content)
    with pytest.raises(RunError, match=f"k2-s0/{name}: cannot be read .*{message}"):
        find_runs([runs])


def test_a_closing_number_that_is_none_is_named(runs, tmp_path):
    (runs / "k2-s1" / "summary.json").write_text('{"adapted_return": "x"}')
    with pytest.raises(RunError, match=r"summary\.json: adapted_return is no number"):
        main([str(runs), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["{root}/nothing"], "no such directory"),
        (["{root}/empty"], "holds no runs"),
        (["{root}/runs", "--metric", "height"], "--metric: no run has recorded 'height'.*return"),
        ([], "RUN: name at least one run"),
    ],
)
def test_what_cannot_be_reported_is_refused(runs, tmp_path, options, message):
    (tmp_path / "empty").mkdir()
    options = [option.format(root=tmp_path) for option in options]
    with pytest.raises(ConfigError, match=message):
        main([*options, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
