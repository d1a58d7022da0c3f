"""The suite for separation: one small case of it, and its command."""

import dataclasses
import json
import time
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import ablation, limits, rules, separation
from experiments.harness import many_seeds, suite
from experiments.harness.config import AS_PUBLISHED
from experiments.harness.pages import holding
from experiments.harness.results import SeedResult
from experiments.harness.suite import CASES, HELD_OUT, VARIANTS
from experiments.separation import Trained, lowest_share, main, planned, separated, tables
from mlsh_jax import adapt
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError, RunError


def test_a_task_that_pays_a_tenth_gets_a_sub_policy_of_its_own():
    (result,) = separation.train_case(CASES["pay10"], "default", seeds=[0], meta_iterations=12)
    assert lowest_share(result) >= 0.85
    forced = np.divide(result.forced_returns, result.best_returns)  # [K, M]
    assert sorted(forced.argmax(axis=0)) == [0, 1]
    np.testing.assert_allclose(forced.max(axis=0), 1.0, atol=0.15)
    assert min(result.divergence) > 1.0


@pytest.mark.parametrize("name", CASES | HELD_OUT)
def test_a_case_chooses_only_what_a_user_has_to_choose(name):
    chosen = {"num_subpolicies", "macro_length", "num_tasks", "num_envs", "steps_per_iteration"}
    case = (CASES | HELD_OUT)[name]
    assert set(case.numbers) <= chosen
    config = case.config()
    same = {variant for variant, change in VARIANTS.items() if change(config) == config}
    assert same - {"G 10", "N 1"} == {"default", suite.STAGGERED}
    assert ("G 10" in same) == (config.num_tasks == 10)
    assert ("N 1" in same) == (config.macro_length == 1)


def made_up(seed: int, adapted: list[float]) -> SeedResult:
    """Two masters for each of two tasks, a tenth of the best return above and below `adapted`."""
    masters = [[adapted[0] - 0.1, adapted[0] + 0.1], [adapted[1] - 0.2, adapted[1] + 0.2]]
    return SeedResult(seed, masters, [[1.0, 0.0], [0.0, 2.0]], [1.0, 2.0], [3.0, 3.0])


def trained(results: list[SeedResult]) -> Trained:
    return Trained(40, MLSHConfig(), results, "goal_corridor", {})


def test_a_seed_separates_where_each_task_is_served():
    results = [made_up(0, [0.9, 1.8]), made_up(1, [1.0, 1.6]), made_up(2, [0.0, 2.0])]
    assert [round(lowest_share(result), 2) for result in results] == [0.9, 0.8, 0.0]
    assert separated(results) == "1 of 3"
    three, one = trained(results), trained(results[2:])
    text = tables({"default": {"corridor": three}, "W 0": {"corridor": one}})
    assert "| corridor | both ends of a corridor | 2 | 10 | 40 | 1 of 3 |" in text
    assert "| 58.3% | 3.0 |" in text  # 0.8 1 0.8 1, 0.9 1.1 0.7 0.9, -0.1 0.1 0.9 1.1
    assert "| W 0 | 0 of 1 |" in text
    assert "| rooms |" not in text
    text = tables({"default": {"rooms": three}})
    assert "| rooms | the corners of four rooms | 4 | 10 | 40 | 1 of 3 |" in text
    assert "| default |" not in text
    # What is held out has a column where any variant but the default has it.
    both = {"corridor": three, "rooms": three}
    assert "| | corridor | measured |" in tables({"default": both})
    text = tables({"default": both, "W 0": {"rooms": one}})
    assert "| | corridor | rooms | measured |" in text
    assert "| W 0 | – | 0 of 1 | – |" in text


def test_what_a_seed_reaches_counts_from_what_idling_earns():
    masters = [[-10.0, -14.0], [-20.0, -12.0]]
    result = SeedResult(0, masters, [[-10.0, -30.0]], [-10.0, -10.0], [], idle_returns=[-30.0] * 2)
    np.testing.assert_allclose(separation.shares(result), [[1.0, 0.8], [0.5, 0.9]])
    assert lowest_share(result) == pytest.approx(0.7)


def test_a_case_whose_steps_cost_something_is_measured_from_idling():
    (result,) = separation.train_case(HELD_OUT["race"], "default", seeds=[0], meta_iterations=1)
    assert result.idle_returns == [-30.0] * 3 and max(result.best_returns) < 0
    assert -0.01 < separation.shares(result).min() <= separation.shares(result).max() < 1.01


def test_a_row_says_when_it_was_measured():
    days = ["2026-11-28", "", "2026-11-26"]
    results = [dataclasses.replace(made_up(n, [1, 2]), date=day) for n, day in enumerate(days)]
    text = tables({"default": {"corridor": trained(results), "star2": trained(results[:1])}})
    assert "| 3.0 | 2026-11-26 to 2026-11-28 |" in text
    assert "| 3.0 | 2026-11-28 |" in text
    assert "| default | 3 of 3 | 1 of 1 | 2026-11-26 to 2026-11-28 |" in text


def test_a_variant_is_measured_as_the_default_is_but_for_its_masters(monkeypatch):
    asked = []
    monkeypatch.setattr(many_seeds, "train_many", lambda *given: asked.append(given) or [])
    case = CASES["corridor"]
    for variant in ("default", "W 0", "N 1", "no bonus on masters' entropy", suite.STAGGERED):
        separation.train_case(case, variant, seeds=[3])
    configs = [given[1] for given in asked]
    assert [config.warmup_iterations for config in configs] == [9, 0, 9, 9, 9]
    assert [given[2] for given in asked] == [40, 112, 40, 40, 40]
    measured = [given[3] for given in asked]
    assert [config.warmup_iterations for config in measured] == [9] * 5
    assert [config.macro_length for config in measured] == [10, 10, 1, 10, 10]
    assert [config.master.entropy_coefficient for config in measured] == [0.02] * 3 + [0, 0.02]
    assert [given[4] for given in asked] == [[3]] * 5
    schedules = [given[8] for given in asked]
    assert schedules == [many_seeds.TOGETHER] * 4 + [many_seeds.STAGGERED]


def test_the_command_keeps_seeds_and_the_text_around_its_tables(monkeypatch, tmp_path):
    trained = []

    def train(case, variant, seeds, meta_iterations):
        trained.append((case.description, tuple(seeds), meta_iterations))
        return [made_up(seed, [1.0, 2.0]) for seed in seeds]

    monkeypatch.setattr(separation, "train_case", train)
    arguments = ["--results", str(tmp_path), "--cases", "star2", "--seeds"]
    main([*arguments, "2"])
    page = tmp_path / "separation.md"
    page.write_text(page.read_text() + "\nWhy it is so.\n")
    main([*arguments, "3"])
    case = CASES["star2"].description
    assert trained == [(case, (0, 1), 0), (case, (2,), 0)]
    numbers = json.loads((tmp_path / "separation.json").read_text())
    seeds = numbers["default"]["star2"]["seeds"]
    assert [result["seed"] for result in seeds] == [0, 1, 2]
    today = time.strftime("%Y-%m-%d")
    assert {result["date"] for result in seeds} == {today} and today in page.read_text()
    assert "3 of 3" in page.read_text() and page.read_text().endswith("\nWhy it is so.\n")
    # What is to be trained later in the same command is not there before.
    seen = []
    monkeypatch.setattr(
        separation, "train_case", lambda *given: seen.append(page.read_text()) or train(*given)
    )
    main([*arguments[:3], "corridor", "ring", "--seeds", "1"])
    assert "| corridor | star2 | measured |" in seen[1] and "0 of 0" not in seen[1]


def test_seeds_that_were_trained_otherwise_are_not_taken_for_these(monkeypatch, tmp_path):
    monkeypatch.setattr(
        separation, "train_case", lambda *given: [made_up(seed, [1.0, 2.0]) for seed in given[2]]
    )
    arguments = ["--results", str(tmp_path), "--cases", "star2", "--seeds", "1"]
    main([*arguments, "--meta-iterations", "7"])
    before = (tmp_path / "separation.json").read_text()
    assert "| 7 | 1 of 1 |" in (tmp_path / "separation.md").read_text()
    with pytest.raises(ConfigError, match=r"--results: in .* star2 was trained with other numbers"):
        main(arguments)
    wider = dataclasses.replace(CASES["star2"], options={"num_goals": 2, "radius": 1.2})
    other = dataclasses.replace(CASES["star2"], numbers=CASES["pay10"].numbers | {"num_envs": 10})
    monkeypatch.setitem(CASES, "star2", other)
    with pytest.raises(ConfigError, match="star2 was trained with other numbers than now"):
        main([*arguments, "--meta-iterations", "7"])
    monkeypatch.setitem(CASES, "star2", wider)
    with pytest.raises(ConfigError, match=r"options\.radius None there and 1\.2 now"):
        main([*arguments, "--meta-iterations", "7"])
    assert (tmp_path / "separation.json").read_text() == before


def test_a_clash_is_told_before_anything_is_trained(monkeypatch, tmp_path):
    monkeypatch.setattr(
        separation, "train_case", lambda *given: [made_up(seed, [1.0, 2.0]) for seed in given[2]]
    )
    main(["--results", str(tmp_path), "--cases", "star2", "--seeds", "1"])
    monkeypatch.setattr(separation, "train_case", lambda *given: pytest.fail("trained"))
    other = ["--results", str(tmp_path), "--seeds", "1", "--meta-iterations", "7"]
    with pytest.raises(ConfigError, match=r"\(meta_iterations 40 there and 7 now\)"):
        main([*other, "--cases", "corridor", "star2"])


def test_a_page_comes_back_where_all_seeds_are_there(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        separation, "train_case", lambda *given: [made_up(seed, [1.0, 2.0]) for seed in given[2]]
    )
    arguments = ["--results", str(tmp_path), "--cases", "star2", "--seeds", "1"]
    main(arguments)
    page = tmp_path / "separation.md"
    text = page.read_text()
    page.unlink()
    monkeypatch.setattr(separation, "train_case", lambda *given: pytest.fail("trained"))
    main(arguments)
    assert page.read_text() == text
    assert "star2: 1 of 1 separate; all 1 seeds are in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda page: page.write_text("# Notes\n"), "has no place for the table"),
        (
            lambda page: page.write_text(page.read_text().replace("<!-- end of table -->", "")),
            "has no place for the table",
        ),
        (lambda page: page.write_bytes(b"\xff\n"), "cannot be read"),
    ],
)
def test_a_page_that_a_table_does_not_fit_into_is_told_before_and_stays(
    spoil, message, monkeypatch, tmp_path
):
    page = tmp_path / "separation.md"
    separation.write(tmp_path, {})
    spoil(page)
    before = page.read_bytes()
    monkeypatch.setattr(separation, "train_case", lambda *given: pytest.fail("trained"))
    with pytest.raises(RunError, match=message):
        main(["--results", str(tmp_path), "--cases", "star2", "--seeds", "1"])
    assert page.read_bytes() == before


def test_two_that_write_into_one_directory_do_not_meet(tmp_path):
    with holding(tmp_path, "separation.md"), pytest.raises(RunError, match="another process"):
        main(["--results", str(tmp_path), "--cases", "star2", "--seeds", "1"])
    with holding(tmp_path):
        pass


def test_numbers_that_are_not_finite_are_not_kept(monkeypatch):
    monkeypatch.setattr(adapt, "assess", lambda *given: (of_nan(), None))

    def of_nan():
        episodes = types.SimpleNamespace(returns=jnp.full((16, 2), jnp.nan))
        forced = types.SimpleNamespace(returns=jnp.zeros((2, 16, 2)))
        return types.SimpleNamespace(adapted=episodes, forced=forced)

    with pytest.raises(RunError, match=r"^seed 3: numbers are not finite"):
        separation.train_case(CASES["corridor"], "default", seeds=[3], meta_iterations=1)


_SEED = dataclasses.asdict(made_up(0, [1.0, 2.0]))
_TOLD = {"meta_iterations": 1, "config": {}, "env": "goal_star", "options": {}}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ([{"divergence": []}], r"star2\.seeds\[0\]\.divergence: not 2 numbers"),
        ([{"adapted_returns": []}], r"adapted_returns: not as many masters on each of 2 tasks"),
        ([{"adapted_returns": [[1.0], [1.0, 2.0]]}], "adapted_returns: not as many"),
        ([{"best_returns": [0.0, 2.0]}], "best_returns: not all are above those of idling"),
        ([{"forced_returns": [[1.0], [1.0]]}], "forced_returns: not of 2 tasks each"),
        ([{}, {}], r"default, star2\.seeds: not each once"),
        ([{}, {"seed": 1, "adapted_returns": [[1.0], [1.0]]}], "or not of the same tasks"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(tmp_path, changed, words):
    seeds = [_SEED | each for each in changed]
    file = tmp_path / "separation.json"
    file.write_text(json.dumps({"default": {"star2": _TOLD | {"seeds": seeds}}}))
    with pytest.raises(ConfigError, match=rf"^--results: .*separation\.json: .*{words}"):
        separation.read(file)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"default": []}, "holds other numbers"),
        ({"default": {"star2": {"seeds": []}}}, r"default, star2\.meta_iterations: missing"),
        (
            {"default": {"star2": _TOLD | {"seeds": [{"seed": 1}]}}},
            r"default, star2\.seeds\[0\]\.adapted_returns: missing",
        ),
    ],
)
def test_numbers_of_another_version_are_refused(tmp_path, numbers, words):
    file = tmp_path / "separation.json"
    file.write_text(json.dumps(numbers))
    with pytest.raises(ConfigError, match=rf"^--results: .*separation\.json: {words}"):
        separation.read(file)


def test_the_default_without_its_ingredients_has_none_of_them():
    default = CASES["ring"].config()
    none = VARIANTS["none of these seven"](default)
    assert len(suite.INGREDIENTS) == 7
    for without, alone, *_ in suite.INGREDIENTS:
        assert VARIANTS[without](none) == none
        with_one = VARIANTS[alone](none)
        assert with_one == VARIANTS[alone](default)
        assert with_one != none == VARIANTS[without](with_one)
    all_of_them = suite.in_turn(*(each.put_in for each in suite.INGREDIENTS))
    assert all_of_them(none) == default
    published = {name: getattr(none, name) for name in AS_PUBLISHED}
    assert published == AS_PUBLISHED and none.master.normalize_observations


def test_what_is_in_the_repository_can_be_added_to():
    table = separation.read(Path(__file__).parents[1] / "results" / "separation.json")
    for variant, cases in table.items():
        for name, there in cases.items():
            now = planned((CASES | HELD_OUT)[name], variant, 0)
            assert dataclasses.replace(there, seeds=[]) == now, (variant, name)


def test_variants_are_trained_for_as_many_env_steps():
    case = CASES["corridor"]
    for name, per_default in (("default", 1), ("W 0", 14 / 5), ("W 0, U 1", 14), ("N 1", 1)):
        got = planned(case, name, 0)
        assert got.meta_iterations == 40 * per_default
        assert got.config.warmup_iterations == (0 if name.startswith("W 0") else 9)


def test_a_variant_can_be_trained_for_as_many_updates_as_the_default():
    got = planned(CASES["ring"], suite.AS_MANY_UPDATES, 0)
    assert got.meta_iterations * got.config.joint_iterations == 120 * 5


@pytest.mark.parametrize("program", [ablation, limits, rules, separation])
def test_results_that_cannot_be_written_are_told_before_anything_begins(program, monkeypatch):
    monkeypatch.setattr(program, "start_jax", lambda: pytest.fail("began"))
    with pytest.raises(RunError, match=r"^--results: /proc/x: cannot be written"):
        program.main(["--results", "/proc/x"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cases", "maze"], "--cases: unknown name 'maze'; known: corridor"),
        (["--variants", "W 3"], "--variants: unknown name 'W 3'; known: default"),
        (["--variants", "W 3"], "W 0, 'W 0, U 1', U 1, 'U 1, as many updates of φ', N 1"),
        (["--variants"], "--variants: name at least one variant, or all"),
        (["--seeds", "0"], "--seeds: must be at least 1"),
    ],
)
def test_what_is_not_there_is_refused(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        main([*options, "--results", str(tmp_path)])
