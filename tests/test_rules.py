"""The table of update rules."""

import dataclasses
import re

import pytest

from experiments import ablation, rules, separation
from experiments.harness.results import Result, read_results, require_length
from mlsh_jax.errors import ConfigError, MlshError
from mlsh_jax.rl.config import RULES

GOOD = Result(0, 43.5, [43.0, 43.2], [20.0, 41.5, 43.0], 2.0)
BAD = Result(1, 22.9, [43.0, 2.0], [20.0, 22.0, 22.5], 2.0)


def test_every_rule_has_its_rows():
    assert {name.split("+")[0] for name in rules.combinations()} == RULES.keys()
    serving = {name for name, entry in RULES.items() if entry.for_subpolicies}
    assert {name.split("+")[1] for name in rules.combinations()} == serving
    with pytest.raises(ConfigError, match="--only: unknown name 'ppo'"):
        rules.compare(only=["ppo"])


def test_good_return_is_counted_from_the_first_time_it_is_reached():
    assert (rules.first_reached(GOOD), rules.first_reached(BAD)) == (2, None)


def test_the_table_is_written_between_text_that_stays(tmp_path):
    page = tmp_path / "rules.md"
    page.write_text("Before.\n<!-- table -->\nold\n<!-- end of table -->\nAfter.\n")
    rules.write(tmp_path, {"ppo+a2c": [GOOD, BAD], "dqn+ppo": [BAD]})
    text = page.read_text()
    assert text.startswith("Before.\n") and text.endswith("After.\n") and "old" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| ppo | a2c |")]
    assert "| 2 | 33.20 [22.90, 43.50] | 22.90 | 1 | 0.56 M | 4.0 |" in row
    assert text.index("| ppo | a2c |") < text.index("| dqn | ppo |")
    assert "| – | – |" in text
    assert read_results(tmp_path / "rules.json") == {"ppo+a2c": [GOOD, BAD], "dqn+ppo": [BAD]}


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ('{"dqn+ppo": {}}', "holds other numbers"),
        ('{"dqn+ppo": [{"seed": 1}]}', r"dqn\+ppo\[0\]\.adapted_return: missing"),
        ('{"dqn+ppo": [3]}', r"dqn\+ppo\[0\]: expected an object"),
    ],
)
def test_numbers_of_another_version_are_refused(tmp_path, numbers, words):
    (tmp_path / "rules.json").write_text(numbers)
    with pytest.raises(ConfigError, match=rf"^--results: .*rules\.json: {words}"):
        read_results(tmp_path / "rules.json")


def test_seeds_that_are_there_are_never_dropped(tmp_path):
    rules.write(tmp_path, {"dqn+ppo": [GOOD, BAD]})
    with pytest.raises(ConfigError, match=r"--meta-iterations: .* dqn\+ppo with 3 and not 1"):
        rules.compare(tmp_path, seeds=1, meta_iterations=1, only=["dqn+ppo"])
    with pytest.raises(ConfigError, match="--meta-iterations: must be at least 0, got -1"):
        rules.compare(tmp_path, seeds=1, meta_iterations=-1)
    for seeds, bound in ((0, "at least 1"), (10**23, "at most 10000")):
        with pytest.raises(ConfigError, match=f"--seeds: must be {bound}, got {seeds}"):
            rules.compare(tmp_path, seeds=seeds)
    assert read_results(tmp_path / "rules.json") == {"dqn+ppo": [GOOD, BAD]}


@pytest.mark.parametrize(
    ("program", "numbers", "names"),
    [
        (rules, "rules", ["dqn+ppo", "ppo+a2c"]),
        (ablation, "moving_bandits_ablation", ["U 1", "all of it"]),
    ],
)
def test_a_clash_of_lengths_is_told_before_anything_is_trained(
    program, numbers, names, tmp_path, monkeypatch
):
    monkeypatch.setattr(program, "start_jax", lambda: pytest.fail("began"))
    monkeypatch.setattr(rules, "write_table", lambda *arguments: pytest.fail("was written"))
    program.write_results(tmp_path / f"{numbers}.json", {names[1]: [GOOD]})  # 3 meta-iterations
    with pytest.raises(
        ConfigError, match=rf"^--meta-iterations: .* of {re.escape(names[1])} with 3"
    ):
        program.main([
            "--results", str(tmp_path), "--only", *names, "--seeds", "2", "--meta-iterations", "2",
        ])  # fmt: skip


def test_seeds_that_do_not_say_how_long_they_were_trained_are_of_the_presets_length(tmp_path):
    old = {"U 1": [Result(0, 43.0, [43.0, 43.0])]}
    require_length(tmp_path, old, "U 1", 25, 25)
    with pytest.raises(ConfigError, match="with 25 and not 3"):
        require_length(tmp_path, old, "U 1", 3, 25)


def test_a_page_keeps_the_days_of_its_numbers_and_comes_back(tmp_path, capsys):
    """However often it is written, and whatever is trained beside them."""
    early = dataclasses.replace(GOOD, measured="2025-01-02, 64 cores (tpu), jax 0.1")
    late = dataclasses.replace(BAD, measured="2025-03-04, 1 cores (cpu), jax 0.2")
    returns = [40.0] * 25  # of the preset's length
    seeds = [dataclasses.replace(r, training_returns=returns) for r in (late, early, GOOD)]
    table = {"all of it": seeds}
    ablation.write_results(tmp_path / "moving_bandits_ablation.json", table)
    ablation.main(["--results", str(tmp_path), "--only", "all of it", "--seeds", "2"])
    assert "all of it: all 2 seeds are in" in capsys.readouterr().out
    text = (tmp_path / "moving_bandits_ablation.md").read_text()
    assert (
        f"`python -m experiments.ablation`, {early.measured}; {late.measured}; more seeds" in text
    )


def test_variants_stand_in_their_order_whatever_was_trained_first(tmp_path):
    ablation.write(tmp_path, {"of older code": [BAD], "U 1": [GOOD], "all of it": [GOOD]})
    text = (tmp_path / "moving_bandits_ablation.md").read_text()
    assert text.index("| all of it |") < text.index("| U 1 |") < text.index("| of older code |")
    assert read_results(tmp_path / "moving_bandits_ablation.json")["of older code"] == [BAD]


@pytest.mark.parametrize("content", ["", "[]", '{"dqn+ppo": 1}', '{"dqn+ppo": [{"seed": 1}]}'])
@pytest.mark.parametrize("read", [read_results, separation.read])
def test_numbers_that_are_damaged_are_named(tmp_path, read, content):
    path = tmp_path / "numbers.json"
    path.write_text(content)
    with pytest.raises(MlshError, match=r"numbers\.json: (cannot be read|holds other|dqn\+ppo)"):
        read(path)
