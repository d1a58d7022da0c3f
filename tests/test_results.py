"""The tables of `results/` say what their files say.

A comment `<!-- runs: PATTERN … -->` above a table names the files under `results/runs/` that its
rows come from: `summary.json` of runs, unchanged. What the numbers of a row are is said here.
Tables that a command writes have their numbers in a file beside the page.
"""

import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import ablation, limits, rules, separation
from experiments.harness.results import read_results
from mlsh_jax.statistics import interquartile_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
RUNS = RESULTS / "runs"
BUNDLED = ROOT / "experiments" / "bundled"
PAGES = [ROOT / "README.md", *sorted(RESULTS.glob("*.md"))]
MARKED = re.compile(r"<!-- runs: (.+) -->\n\|.+\n\|[-|]+\n((?:\|.+\n)+)")

Summary = dict[str, Any]


def whole(value: float) -> str:
    return f"{value:.0f}".replace("-", "−")


def signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def masters(task: Summary) -> str:
    return f"{whole(task['initial_return'])} → {whole(task['adapted_return'])}"


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def gaits(run: Summary) -> list[tuple[int, float, float]]:
    """The best sub-policy of each task: which, its return there, that of the worst one there."""
    by_task = np.transpose(run["subpolicy_task_returns"])
    return [(int(np.argmax(returns)), max(returns), min(returns)) for returns in by_task]


def twowalk(runs: Sequence[Summary]) -> list[str]:
    rows = []
    for run in runs:
        best = gaits(run)
        ends = [run["subpolicy_final_positions"][k][task] for task, (k, *_) in enumerate(best)]
        chosen = [run["subpolicy_usage"][task][k] for task, (k, *_) in enumerate(best)]
        rows.append(
            row(
                run["seed"],
                ", ".join(whole(own) for _, own, _ in best),
                ", ".join(f"({whole(x)}, {whole(y)})" for x, y in ends),
                *map(masters, run["per_task"].values()),
                ", ".join(f"{100 * share:.0f} %" for share in chosen),
            )
        )
    return rows


def twowalk_masters(*kinds: Sequence[Summary]) -> list[str]:
    def returns(run: Summary) -> str:
        return ", ".join(whole(task["adapted_return"]) for task in run["per_task"].values())

    return [row(same[0]["seed"], *map(returns, same)) for same in zip(*kinds, strict=True)]


def maze(runs: Sequence[Summary]) -> list[str]:
    rows = []
    for index, name in enumerate(runs[0]["per_task"]):
        if index == 9:
            rows.append("| *never seen in training:* | | |")
        tasks = [run["per_task"][name] for run in runs]
        rows.append(row(name, *(f"{t['success_rate']:.0%}, {masters(t)}" for t in tasks)))
    return rows


def moving_bandits(runs: Sequence[Summary]) -> list[str]:
    rows = []
    for run in runs:
        worst = min(task["worst_master"] for task in run["per_task"].values())
        alone = [f"{returns:.2f}" for returns in np.max(run["subpolicy_task_returns"], axis=0)]
        returns = (run["initial_return"], run["adapted_return"], worst)
        rows.append(row(run["seed"], *(f"{x:.2f}" for x in returns), " / ".join(alone)))
    return rows


def twowalk_library(*kinds: Sequence[Summary]) -> list[str]:
    def lowest(run: Summary) -> str:
        return ", ".join(whole(task["worst_master"]) for task in run["per_task"].values())

    return [
        f"{line[:-2]} | {lowest(mine)} |"
        for line, mine in zip(twowalk_masters(*kinds), kinds[-1], strict=True)
    ]


def taxi(runs: Sequence[Summary], policies: Sequence[Summary]) -> list[str]:
    rows = []
    for run, alone in zip(runs, policies, strict=True):
        shares = np.mean(run["subpolicy_usage"], axis=0)
        rows.append(
            row(
                run["seed"],
                signed(run["adapted_return"]),
                signed(min(task["adapted_return"] for task in run["per_task"].values())),
                signed(area(run)),
                " ".join(f"{share:.2f}" for share in shares),
                f"{min(run['subpolicy_divergence']):.1f}",
                signed(alone["adapted_return"]),
                signed(area(alone)),
            )
        )
    return rows


def four_rooms(*kinds: Sequence[Summary]) -> list[str]:
    rows = []
    for same in zip(*kinds, strict=True):
        usage = np.mean(same[0]["subpolicy_usage"], axis=0)
        cells = [
            f"{run['adapted_return'] / run['best_return']:.2f}, {area(run):.1f}" for run in same
        ]
        rows.append(
            row(
                same[0]["seed"],
                *cells,
                f"{min(usage):.2f} to {max(usage):.2f}",
                f"{min(same[0]['subpolicy_divergence']):.1f}",
            )
        )
    return rows


def minigrid(*kinds: Sequence[Summary]) -> list[str]:
    """A row for each kind of runs, over their seeds; the rule and K stand in the page."""
    names = [f"{rule}, K {k}" for rule in ("PPO", "A2C") for k in (4, 1)]
    rows = []
    for name, runs in zip([*names, "untrained sub-policies, K 4"], kinds, strict=True):
        adapted = [run["adapted_return"] for run in runs]
        cells = ["–", "–"]
        if name in names:
            fresh = interquartile_interval([run["initial_return"] for run in runs])
            alone = [np.mean(run["subpolicy_task_returns"], axis=1) for run in runs]
            cells = [signed(fresh[0]), f"{signed(np.min(alone))} to {signed(np.max(alone))}"]
        rows.append(row(name, interval(adapted), signed(min(adapted)), *cells))
    return rows


def minigrid_four_rooms(*kinds: Sequence[Summary]) -> list[str]:
    names = ("four", "four, of which one begins anew at a time", "one")
    rows = []
    for name, runs in zip(names, kinds, strict=True):
        for run in runs:
            alone = np.mean(run["subpolicy_task_returns"], axis=1)
            returns = (signed(run[which]) for which in ("adapted_return", "initial_return"))
            rows.append(row(name, run["seed"], *returns, " ".join(map(signed, alone))))
    return rows


def interval(values: Sequence[float]) -> str:
    """Interquartile mean and 95 % interval."""
    estimate, low, high = map(signed, interquartile_interval(values))
    return f"{estimate} [{low}, {high}]"


def area(run: Summary) -> float:
    """Mean return over the iterations of the adaptation."""
    return float(np.mean(run["adaptation_return"]))


TABLES = {
    "taxi/default-s* baseline/taxi_policy_per_task-s*": taxi,
    "four_rooms/default-s* baseline/four_rooms_policy_per_task-s* "
    "baseline/four_rooms_untrained-s*": four_rooms,
    "minigrid_door_key_5x5/ppo-k4-s* minigrid_door_key_5x5/ppo-k1-s* "
    "minigrid_door_key_5x5/a2c-k4-s* minigrid_door_key_5x5/a2c-k1-s* "
    "baseline/minigrid_door_key_5x5_untrained-s*": minigrid,
    "minigrid_four_rooms/k4-s* minigrid_four_rooms/k4_renewing-s* "
    "minigrid_four_rooms/k1-s*": minigrid_four_rooms,
    "moving_bandits/default-s*": moving_bandits,
    "ant_twowalk/default-s*": twowalk,
    "ant_twowalk/default-s[179] transfer/twowalk_maze_masters-s* "
    "transfer/twowalk_library_masters-s[179]": twowalk_masters,
    "ant_twowalk/default-s* transfer/twowalk_library_masters-s*": twowalk_library,
    "ant_maze/library_defaults-s*": maze,
}
"""What makes the rows of a table, by its comment: each pattern gives a list of runs."""


def read(pattern: str) -> list[Summary]:
    """The summaries of a pattern, by seed."""
    files = RUNS.glob(f"{pattern}.json")
    return sorted((json.loads(file.read_text()) for file in files), key=lambda run: run["seed"])


def words(page: Path) -> str:
    return " ".join(page.read_text(encoding="utf-8").split())


def test_tables_have_the_numbers_of_their_runs():
    found = [match for page in PAGES for match in MARKED.findall(page.read_text(encoding="utf-8"))]
    assert sorted(marker for marker, _ in found) == sorted(TABLES)
    for marker, rows in found:
        assert rows.splitlines() == TABLES[marker](*map(read, marker.split())), marker


def test_rows_of_runs_whose_sub_policies_come_with_the_code_have_their_numbers():
    lines = (RESULTS / "ants.md").read_text(encoding="utf-8").splitlines()

    def place(xy: Sequence[float]) -> str:
        return f"({', '.join(f'{x:.1f}' for x in xy)})"

    run = json.loads((BUNDLED / "ant_twowalk" / "summary.json").read_text())
    tasks = run["per_task"].values()
    alone = [by_task[0] for by_task in run["subpolicy_final_positions"]]
    usage = [f"{100 * max(shares):.0f} %" for shares in run["subpolicy_usage"]]
    cells = [*(place(task["final_position"]) for task in tasks), " and ".join(map(place, alone))]
    speed = f"{run['env_steps_per_second']:,.0f}"
    assert row(0, *cells, *map(masters, tasks), ", ".join(usage), speed) in lines
    assert f"took before, {run['env_steps']:,} for each row" in "\n".join(lines)

    run = json.loads((BUNDLED / "ant_maze" / "summary.json").read_text())
    for name, task in run["per_task"].items():
        first = row(name, f"{task['success_rate']:.0%}, {masters(task)}")
        assert any(line.startswith(first) for line in lines), first


def test_every_file_belongs_to_a_table_and_is_what_its_name_says():
    used = {f for marker in TABLES for p in marker.split() for f in RUNS.glob(f"{p}.json")}
    files = {path for path in RUNS.rglob("*") if path.is_file()}
    assert files == used != set()
    for file in files:
        run = json.loads(file.read_text())
        assert file.parent.name == run["experiment"], file
        assert file.stem.endswith(f"-s{run['seed']}"), file


def test_what_is_said_of_ten_seeds_of_ants_is_so():
    runs = read("ant_twowalk/default-s*")
    own = [own for run in runs for _, own, _ in gaits(run)]
    least = whole(math.floor(min(own)))
    other = whole(math.ceil(max(other for run in runs for *_, other in gaits(run))))
    apart = [min(run["subpolicy_divergence"]) for run in runs]
    assert all(len({k for k, *_ in gaits(run)}) == 2 for run in runs) and len(runs) == 10
    page, readme = words(RESULTS / "ants.md"), words(ROOT / "README.md")
    assert (
        f"each earns {least} to {whole(max(own))} on its own task and {other} or less on the "
        f"other's, {whole(min(apart))} to {whole(max(apart))} nats apart"
    ) in page
    assert f"each {least} or more on its own task and {other} or less on the other's" in readme
    adapted = interquartile_interval([run["adapted_return"] for run in runs])
    estimate, low, high = map(whole, adapted)
    assert f"returned {estimate} [{low}, {high}] (interquartile mean, 95 % interval)" in page
    mazes = [whole(run["adapted_return"]) for run in read("ant_maze/library_defaults-s*")]
    assert f"at lower returns: {' and '.join(mazes)} on average" in page


def test_what_is_said_of_ten_seeds_of_the_taxi_is_so():
    runs, policies = read("taxi/default-s*"), read("baseline/taxi_policy_per_task-s*")
    assert [run["seed"] for run in runs] == [run["seed"] for run in policies] == list(range(10))
    page = words(RESULTS / "grids.md")
    adapted = [run["adapted_return"] for run in runs]
    good = sum(value >= 0.2 for value in adapted)
    assert f"return {interval(adapted)} after 20 iterations, {good} of 10 seeds 0.2 or" in page
    assert f"come to {interval([run['adapted_return'] for run in policies])}." in page
    more = [area(run) - area(alone) for run, alone in zip(runs, policies, strict=True)]
    assert f"masters earn {interval(more)} more" in page
    assert f"return {interval(adapted)} of 0.49" in words(ROOT / "README.md")
    alone = [np.max(run["subpolicy_task_returns"]) for run in runs]
    assert [seed for seed, value in enumerate(alone) if value >= 0] == [1, 3]
    curves = [
        np.mean([run["adaptation_return"] for run in same], axis=0) for same in (runs, policies)
    ]
    for iteration, seen in (
        (5, "−0.69 on average"),
        (10, "0.08 and −2.64"),
        (20, "0.15 and −0.02"),
    ):
        mine, other = (signed(curve[iteration - 1]) for curve in curves)
        assert seen.startswith(mine) and (other in seen or f"scratch {other}" in page)
        assert seen in page


def test_what_is_said_of_five_seeds_of_four_rooms_is_so():
    runs, policies, untrained = (
        read(f"{kind}-s*")
        for kind in (
            "four_rooms/default",
            "baseline/four_rooms_policy_per_task",
            "baseline/four_rooms_untrained",
        )
    )
    page = words(RESULTS / "grids.md")
    shares = [
        interval([run["adapted_return"] / run["best_return"] for run in kind])
        for kind in (runs, policies)
    ]
    assert f"come to {shares[0]} of the optimum, policies from scratch to {shares[1]}." in page
    more, less = (
        interval([sign * (area(run) - area(other)) for run, other in zip(runs, kind, strict=True)])
        for kind, sign in ((untrained, 1), (policies, -1))
    )
    assert f"masters return {less} less on average, and {more} more than over untrained" in page
    fifth = [np.mean([run["adaptation_return"][4] for run in kind]) for kind in (runs, policies)]
    assert "({:.1f} and {:.1f}); then masters stop".format(*fifth) in page
    alone = max(np.max(run["subpolicy_task_returns"]) for run in runs)
    assert f"({alone:.1f} on its best goal at most)" in page
    assert {run["best_return"] for run in [*runs, *policies]} == {runs[0]["best_return"]}
    assert f"return is {runs[0]['best_return']:.1f} on average" in page


def test_what_is_said_of_five_seeds_of_a_door_and_its_key_is_so():
    page = words(RESULTS / "grids.md")
    runs = read("minigrid_door_key_5x5/a2c-k4-s*")
    assert len(runs) == 5
    falls = [run["initial_return"] - run["adapted_return"] for run in runs]
    assert sum(fall > 0.02 for fall in falls) == 4 and "on four seeds of five (at" in page
    pair = (runs[1]["adapted_return"], runs[1]["initial_return"])
    assert "(at {:.2f} rather than {:.2f} on seed 1)".format(*pair) in page


@pytest.mark.parametrize(
    ("command", "numbers"),
    [
        (ablation, "moving_bandits_ablation"),
        (limits, "limits"),
        (rules, "rules"),
        (separation, "separation"),
    ],
)
def test_pages_that_commands_write_have_the_numbers_beside_them(command, numbers, tmp_path):
    page = RESULTS / f"{numbers}.md"
    shutil.copy(page, tmp_path)
    table = getattr(command, "read", read_results)(RESULTS / f"{numbers}.json")
    command.write(tmp_path, table)

    def undated(text: str) -> list[str]:
        return [line for line in text.splitlines() if not line.startswith("`python -m experiments")]

    assert undated((tmp_path / page.name).read_text()) == undated(page.read_text())


def test_what_is_said_of_ten_seeds_of_moving_bandits_is_so():
    returns = [run["adapted_return"] for run in read("moving_bandits/default-s*")]
    median, low, high = (f"{f(returns):.2f}" for f in (np.median, np.min, np.max))
    page = words(RESULTS / "moving_bandits.md")
    assert f"After adaptation: median {median}, lowest {low}, highest {high}." in page
    readme = words(ROOT / "README.md")
    assert f"adapted return {median} of 43.76 (median of seeds 0 to 9, lowest {low}" in readme
    assert f"between {low} and {high} (median {median};" in words(ROOT / "docs" / "collapse.md")


def test_what_is_said_of_the_suite_is_so():
    table = separation.read(RESULTS / "separation.json")["default"]
    good = {
        name: int(separation.separated(trained.seeds).partition(" of ")[0])
        for name, trained in table.items()
    }
    suite = [good[name] for name in separation.CASES]
    readme = words(ROOT / "README.md")
    assert f"on {sum(suite)} of {10 * len(suite)} seeds" in readme
    assert f"at least {min(suite)} of 10 on each" in readme
    assert {name: good[name] for name in separation.HELD_OUT} == {
        "rooms": 0,
        "codes": 10,
        "wheel": 10,
    }
