"""Reports over seeds, from run directories."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.comparison import SHARES, improvements, profiles
from experiments.harness.recorded import find_runs, group_runs, newest_of_each
from experiments.report import OPTIONAL, curves_of, main, report
from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.statistics import (
    interquartile_interval,
    probability_of_improvement,
    profile_interval,
)


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
            "metrics": {"return": value, "usage": [0.5, value], "master/kl": [[0.1, 2 * value]]},
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


@pytest.fixture
def measured(runs) -> Path:
    """The same with what fresh masters did on two tasks, 1/4 and 5/8 of what is possible."""
    for directory in runs.iterdir():
        file = directory / "summary.json"
        summary = json.loads(file.read_text())
        one = summary["adapted_return"]
        summary |= {
            "per_task": {"a": {"adapted_return": one}, "b": {"adapted_return": 50.0 - one}},
            "best_returns": {"a": one / 0.25, "b": (50.0 - one) / 0.625, "unplayed": 1.0},
            "adaptation_return": [one / 4, one / 2],
            "adaptation_env_steps": [50, 100],
            "adaptation_episodes": [1.5, 4.0],
        }
        file.write_text(json.dumps(summary))
    return runs


def edit_summaries(root: Path, edit) -> None:
    """Applies `edit` to what the summary of every run below `root` holds."""
    for file in root.glob("**/summary.json"):
        summary = json.loads(file.read_text())
        edit(summary)
        file.write_text(json.dumps(summary))


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
    assert f"| num_subpolicies 4 | 3 | 3 | {expected} | 40.00 | 200 | 2 |" in text
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_groups_are_compared_task_by_task(measured, tmp_path):
    out = tmp_path / "out"
    report((measured,), out)
    (row,) = read_csv(out / "improvement.csv")
    ones, others = ([[x, 50.0 - x] for x in (y, y + 1, y + 2)] for y in (20.0, 40.0))
    expected = probability_of_improvement(np.asarray(ones), np.asarray(others))
    assert expected.estimate == 0.5  # every run of the one is better on "b", and none on "a"
    assert (row["group"], row["than"], row["tasks"]) == (
        "num_subpolicies 2",
        "num_subpolicies 4",
        "2",
    )
    assert float(row["probability"]) == expected.estimate
    assert float(row["probability_high"]) == expected.high
    text = (out / "report.md").read_text()
    assert f"| num_subpolicies 2 | num_subpolicies 4 | 2 | {expected} |" in text


def test_what_is_reached_of_the_possible_is_drawn_where_that_is_known(measured, tmp_path):
    out = tmp_path / "out"
    report((measured,), out)
    rows = [row for row in read_csv(out / "profiles.csv") if row["group"] == "num_subpolicies 4"]
    shares = np.asarray([[0.25, 0.625]] * 3)
    expected = [point.estimate for point in profile_interval(shares, SHARES)]
    np.testing.assert_allclose([float(row["estimate"]) for row in rows], expected)
    assert [float(row["share_of_best"]) for row in rows[:2]] == [0.0, 0.02]
    assert "profiles.png" in (out / "report.md").read_text()
    assert (out / "profiles.png").read_bytes().startswith(b"\x89PNG")
    table = read_csv(out / "report.csv")
    (row,) = [row for row in table if row["group"] == "num_subpolicies 4"]
    # Of 0.25 three times and 0.625 three times the middle half; each run has both.
    assert [float(row[f"share_of_best{end}"]) for end in ("", "_low", "_high")] == [0.4375] * 3
    edit_summaries(measured, lambda summary: summary["best_returns"].pop("b"))
    report((measured,), tmp_path / "unknown")
    assert read_csv(tmp_path / "unknown" / "report.csv")[1]["share_of_best"] == ""
    assert "share of best" not in (tmp_path / "unknown" / "report.md").read_text()
    assert not (tmp_path / "unknown" / "profiles.csv").exists()
    assert "profiles.png" not in (tmp_path / "unknown" / "report.md").read_text()


def test_the_adaptation_of_fresh_masters_has_a_curve(measured, tmp_path):
    report((measured,), tmp_path / "out")
    rows = [
        row for row in read_csv(tmp_path / "out" / "curves.csv") if row["stage"] == "adaptation"
    ]
    four = [row for row in rows if row["group"] == "num_subpolicies 4"]
    assert [int(row["env_steps"]) for row in four] == [50, 100]
    np.testing.assert_allclose([float(row["estimate"]) for row in four], [41 / 4, 41 / 2])
    groups = group_runs(find_runs([measured]))
    assert "adaptation" not in curves_of(groups["num_subpolicies 4"], "success_rate")
    rows = read_csv(tmp_path / "out" / "episodes.csv")
    four = [row for row in rows if row["group"] == "num_subpolicies 4"]
    assert [float(row["episodes"]) for row in four] == [1.5, 4.0]
    np.testing.assert_allclose([float(row["estimate"]) for row in four], [41 / 4, 41 / 2])
    assert "(episodes.png)" in (tmp_path / "out" / "report.md").read_text()
    assert (tmp_path / "out" / "episodes.png").read_bytes().startswith(b"\x89PNG")


def test_runs_that_did_not_count_episodes_have_no_curve_by_them(measured, tmp_path):
    edit_summaries(measured, lambda summary: summary.pop("adaptation_episodes"))
    report((measured,), tmp_path / "out")
    assert not list((tmp_path / "out").glob("episodes.*"))
    assert "episodes.png" not in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize("nothing", [None, np.nan])
def test_other_worlds_and_tasks_without_a_return_are_not_compared(measured, nothing):
    def groups():
        return group_runs(find_runs([measured]))

    def lose(summary):
        summary["per_task"]["a"]["adapted_return"] = nothing
        summary["adaptation_return"][0] = nothing

    edit_summaries(measured, lose)
    steps, returns = find_runs([measured])[0].adaptation("env_steps")
    assert (steps.tolist(), len(returns)) == ([100], 1)
    assert [pair["tasks"] for pair in improvements(groups())] == [1]
    for directory in measured.glob("k4-*"):
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(config | {"env": "elsewhere"}))
    assert improvements(groups()) == []
    assert len(profiles(groups())) == 2


@pytest.mark.parametrize(
    ("four", "others", "pairs"),
    [
        ({"reward": "pace"}, {"reward": "paper"}, 0),
        ({"env_options": ["effort=0.1"]}, {"env_options": []}, 0),
        ({"backend": "spring"}, {"backend": "generalized"}, 0),
        ({"backend": "spring"}, {"backend": None}, 1),  # the environment's own
        ({"reward": "pace"}, {}, 1),
        ({"reward": "pace", "episodes": 4}, {"reward": "pace", "episodes": 5}, 1),
    ],
)
def test_returns_in_other_units_are_not_compared(measured, four, others, pairs):
    for directory in measured.iterdir():
        config = json.loads((directory / "config.json").read_text())
        more = four if directory.name.startswith("k4-") else others
        (directory / "config.json").write_text(json.dumps(config | more))
    assert len(improvements(group_runs(find_runs([measured])))) == pairs


def test_a_baseline_by_itself_is_compared_with_masters_on_its_world(measured):
    """As `experiments.baseline --env corridor` is with `experiments.corridor`."""
    write_run(measured, "ppo-s0", 0, {"env": "corridor"}, [1.0], 30.0)
    edit_summaries(
        measured / "ppo-s0", lambda summary: summary.update(task_returns={"a": 30.0, "b": 31.0})
    )
    pairs = improvements(group_runs(find_runs([measured])))
    assert [pair["probability"].estimate for pair in pairs] == [0.5, 0.0, 0.5]


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


def test_a_seed_that_failed_is_seen_in_the_table(measured, tmp_path):
    def fail(summary):
        summary["adapted_return"] = 3.0
        summary["per_task"]["b"]["adapted_return"] = -1.5
        summary["subpolicy_divergence"] = [None, 0.02, 0.02]
        summary["subpolicy_usage"] = [[0.5, 0.5, 0.0]]

    edit_summaries(measured / "k4-s1", fail)
    report((measured,), tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| lowest return | lowest task return | least nats apart |" in text
    assert "| 20.00 | 20.00 | – |" in text and "| 3.00 | -1.50 | 0.02 |" in text
    assert f"- `{measured / 'k4-s1'}`: sub-policies 1 and 2 act alike" in text
    assert f"- `{measured / 'k4-s1'}`: sub-policy 2 is never used" in text
    assert text.count("act alike") == 1


def test_files_of_a_report_before_do_not_stay(measured, tmp_path):
    out = tmp_path / "out"
    report((measured,), out)
    written = {file.name for file in out.iterdir()}
    assert written >= set(OPTIONAL)
    report((measured / "k2-s0",), out)
    left = {file.name for file in out.iterdir()}
    assert "improvement.csv" not in left and left >= {"report.md", "curves.png"}
    edit_summaries(
        measured,
        lambda summary: [summary.pop(name) for name in ("best_returns", "adaptation_return")],
    )
    report((measured / "k2-s0",), out)
    assert not {file.name for file in out.iterdir()} & set(OPTIONAL)


def test_runs_that_have_no_env_steps_in_common_have_no_curve_together(tmp_path):
    write_run(tmp_path, "a", 0, {}, [1.0, 2.0], 0.0)
    write_run(tmp_path, "b", 1, {}, [1.0, 2.0], 0.0)
    file = tmp_path / "b" / "metrics.jsonl"
    file.write_text(file.read_text().replace("00,", "0000,"))
    assert curves_of(find_runs([tmp_path]), "return") == {}
    file.write_text(file.read_text().replace("10000,", "200,"))
    (steps, _) = curves_of(find_runs([tmp_path]), "return")["train"]
    assert steps.tolist() == [200]


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "1" + "0" * 400, "null", "true"])
def test_what_is_no_finite_number_is_in_no_curve_and_no_table(runs, tmp_path, odd):
    file = runs / "k2-s0" / "metrics.jsonl"
    file.write_text(file.read_text().replace('"return": 2.0', f'"return": {odd}'))
    (steps, _) = curves_of(find_runs([runs / "k2-s0"]), "return")["train"]
    assert steps.tolist() == [200]
    if odd in ("NaN", "Infinity", "null"):
        (runs / "k2-s0" / "summary.json").write_text(f'{{"adapted_return": {odd}}}')
        (run,) = find_runs([runs / "k2-s0"])
        assert run.closing("adapted_return") is None


def test_any_word_may_be_in_a_label(tmp_path):
    for name in ("$x^$", "a|b", "日本"):
        write_run(tmp_path, f"run{ord(name[0])}", 0, {"p": name}, [1.0], 1.0)
    report((tmp_path, tmp_path / ".." / tmp_path.name), tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert '| p "$x^$" |' in text and '| p "a\\|b" |' in text and '| p "日本" |' in text
    assert "3 runs:" in text and "Left out" not in text


def test_an_entry_of_a_vector_has_a_curve(tmp_path):
    write_run(tmp_path, "a", 0, {}, [1.0, 2.0], 0.0)
    (run,) = find_runs([tmp_path])
    for metric, expected in (
        ("usage/0", [0.5, 0.5]),
        ("usage/1", [1, 2]),
        ("master/kl/0/1", [2, 4]),
    ):
        steps, values = run.curve("train", metric)
        assert (steps.tolist(), values.tolist()) == ([100, 200], expected)


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"per_task": {"a": {}}},
        {"per_task": []},
        {"task_returns": {"a": "x"}},
        {"best_returns": {"a": None}},
        {"adaptation_return": ["x"]},
    ],
)
def test_closing_numbers_of_tasks_that_are_none_are_named(measured, tmp_path, wrong):
    edit_summaries(measured / "k2-s1", lambda summary: summary.update(wrong))
    with pytest.raises(RunError, match=r"k2-s1/summary\.json: cannot be read"):
        report((measured,), tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
        (
            ["{root}/runs", "--metric", "usage"],
            "no run has recorded 'usage'; they have master/kl/0/0, return, usage/0$",
        ),
        (["{root}/runs", "--metric", "usage/2"], "no run has recorded 'usage/2'"),
        (["{root}/runs", "--metric", "return/0"], "no run has recorded 'return/0'"),
        ([], "RUN: name at least one run"),
    ],
)
def test_what_cannot_be_reported_is_refused(runs, tmp_path, options, message):
    (tmp_path / "empty").mkdir()
    options = [option.format(root=tmp_path) for option in options]
    with pytest.raises(ConfigError, match=message):
        main([*options, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
