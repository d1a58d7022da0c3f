"""The tables of `results/` say what their files say.

A comment `<!-- runs: PATTERN … -->` above a table names the files under `results/runs/` that its
rows come from: `summary.json` of runs, unchanged. What the numbers of a row are is said in
`tests/published.py` and `tests/rows_of_*.py`. Tables that a command writes have their numbers in a
file beside the page.
"""

import itertools
import json
import math
import re
import shutil

import numpy as np
import pytest
from kept import (
    RESULTS,
    ROOT,
    RUNS,
    area,
    bundled,
    interval,
    masters,
    place,
    read,
    row,
    signed,
    whole,
    words,
)
from published import TABLES
from rows_of_bodies import agent_of, gaits, humanoid_seeds, speed

from experiments import ablation, limits, rules, separation
from experiments.harness.results import read_results
from mlsh_jax.statistics import interquartile_interval

PAGES = [ROOT / "README.md", *sorted(RESULTS.glob("*.md"))]
MARKED = re.compile(r"<!-- runs: (.+) -->\n\|.+\n\|[-|]+\n((?:\|.+\n)+)")


def test_tables_have_the_numbers_of_their_runs():
    found = [match for page in PAGES for match in MARKED.findall(page.read_text(encoding="utf-8"))]
    assert sorted(marker for marker, _ in found) == sorted(TABLES)
    for marker, rows in found:
        assert rows.splitlines() == TABLES[marker](*map(read, marker.split())), marker


def test_the_row_of_the_gaits_that_come_with_the_code_has_their_numbers():
    lines = (RESULTS / "ants.md").read_text(encoding="utf-8").splitlines()
    run = bundled("ant_twowalk")
    tasks = run["per_task"].values()
    alone = [by_task[0] for by_task in run["subpolicy_final_positions"]]
    usage = [f"{100 * max(shares):.0f} %" for shares in run["subpolicy_usage"]]
    cells = [*(place(task["final_position"]) for task in tasks), " and ".join(map(place, alone))]
    assert row(*cells, *map(masters, tasks), ", ".join(usage)) in lines
    assert f"took before, {run['env_steps']:,} " in words(RESULTS / "ants.md")


def test_what_is_said_of_three_seeds_of_humanoids_is_so():
    runs = humanoid_seeds(read("humanoid_walk_crawl/default-s*"))
    page = words(RESULTS / "humanoids.md")
    walks, crawls = ([run["per_task"][task] for run in runs] for task in ("walk", "crawl"))
    walk, crawl = (signed(float(np.median([*map(speed, tasks)]))) for tasks in (walks, crawls))
    lasts = np.median([1 - task["terminated_rate"] for task in walks])
    assert f"walking has {walk} units/s and {lasts:.0%} whole episodes, crawling {crawl}." in page
    assert [task["terminated_rate"] for task in walks] == [0.0, 0.0, 1.0]
    assert not any(task["terminated_rate"] for task in crawls)
    assert f"falls after some {round(walks[2]['episode_length'], -1):.0f} steps" in page
    assert f"Seed 2: commit d5ac3d7, {runs[2]['wall_seconds']:.0f} s beside" in page
    for run in runs:
        usage = np.asarray(run["subpolicy_usage"])  # [M, K]
        assert usage.max(axis=1).min() > 0.99 and len(set(usage.argmax(axis=1))) == 2


def test_what_is_said_of_the_humanoids_that_come_with_the_code_is_so():
    run, shared = bundled("humanoid_walk_crawl"), bundled("humanoid_walk_crawl_shared")
    page = words(RESULTS / "humanoids.md")
    assert f"{run['env_steps']:,} env steps each. Seed {run['seed']} comes with the code" in page
    assert f"bundled/humanoid_walk_crawl`): {run['wall_seconds']:.0f} s" in page
    assert run["env_steps"] == shared["env_steps"]
    assert f"as many env steps in {shared['wall_seconds']:.0f} s" in page
    alone = " and ".join(whole(value) for value in shared["subpolicy_task_returns"][0])
    assert f"alone it returns {alone}" in page
    lasts = 1 - shared["subpolicy_terminated_rates"][0][0]
    x = round(shared["subpolicy_final_positions"][0][0][0], 1) + 0.0
    assert f"x = {x:.1f} at the end, {100 * lasts:.0f} %" in page


def test_what_is_said_of_the_course_of_the_humanoid_is_so():
    run, other = read("humanoid_course/default-s*")
    page, readme = words(RESULTS / "humanoids.md"), words(ROOT / "README.md")
    assert f"commit 202d75b, {run['wall_seconds']:.0f} s in all" in page
    task = run["per_task"]["there_and_back"]
    pair = f"{task['worst_master']:,.0f} and {task['best_master']:,.0f}"
    assert f"masters of seed 0 have {pair}" in page
    (shares,) = other["subpolicy_usage"]
    there = other["per_task"]["there_and_back"]
    lasting = f"{1 - there['terminated_rate']:.0%}".replace("%", " %")
    assert f"{lasting} of the episodes last for all of their steps" in page
    assert f"(usage {min(shares):.2f} and {max(shares):.2f})" in page
    assert f"end at x = {there['final_position'][0]:.0f} on average" in page
    last = "{:.0f} and {:,.0f}".format(*other["adaptation_return"][-2:])
    assert f"still getting better: {last} in their last two" in page
    assert other["shared_policy"]["success_rate"] == 0
    curve = run["shared_policy"]["adaptation_return"]
    assert f"between {round(min(curve), -2):.0f} and {round(max(curve), -2):.0f} (seed 0)" in page
    masters, shared, single = (
        [f"{agent_of(each, name)['adapted_return']:,.0f}" for each in (run, other)]
        for name in ("masters", "shared_policy", "single_policy")
    )
    success, less = (f"{each['success_rate']:.0%}".replace("%", " %") for each in (run, other))
    assert f"return {masters[0]} and come back in {success} of the episodes" in readme
    assert f"shared returns {shared[0]}, by standing still, and one from scratch {single[0]}" in (
        readme
    )
    assert f"have {masters[1]}, {shared[1]} and {single[1]}, and {less} come back" in readme
    assert f"in {success} of the episodes of one seed and in {less} of another" in readme


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
    adapted = interval([run["adapted_return"] for run in runs], whole)
    assert f"returned {adapted} (interquartile mean, 95 % interval)" in page
    forty = read("transfer/twowalk_library_masters-s*")
    adapted = interval([run["adapted_return"] for run in forty], whole)
    worst = whole(min(t["worst_master"] for run in forty for t in run["per_task"].values()))
    assert f"masters return {adapted} (interquartile mean" in page
    assert f"and the lowest of all forty {worst}:" in page
    assert f"return {adapted} on these gaits, the lowest of 40 masters {worst}" in readme
    three = read("ant_twowalk/library_masters-s*")
    own = [own for run in three for _, own, _ in gaits(run)]
    apart = [min(run["subpolicy_divergence"]) for run in three]
    worst = min(t["worst_master"] for run in three for t in run["per_task"].values())
    assert all(len({k for k, *_ in gaits(run)}) == 2 for run in three) and len(three) == 3
    assert (
        f"two gaits, {whole(min(apart))} to {whole(max(apart))} nats apart, that earn "
        f"{whole(min(own))} to {whole(max(own))} on their own task; the lowest of the twelve "
        f"masters returns {whole(worst)}"
    ) in page
    three = read("ant_twowalk/small_steps-s*")
    own = [own for run in three for _, own, _ in gaits(run)]
    worst = min(t["worst_master"] for run in three for t in run["per_task"].values())
    said = f"earn {whole(min(own))} to {whole(max(own))} on"
    assert f"{said} their own task; the lowest of twelve masters of these" in page
    assert f"masters of these returns {whole(worst)}" in page and said in readme
    assert all(whole(x) == "28" for run in three for x in run["subpolicy_divergence"])
    most = max(t["adapted_return"] for t in bundled("ant_twowalk")["per_task"].values())
    bar = 0.85 * most
    ten = read("ant_twowalk/every_default-s*")
    lower = [min(t["adapted_return"] for t in run["per_task"].values()) for run in ten]
    good = [value for value in lower if value >= bar]
    assert f"On {len(good)} of {len(ten)} seeds both tasks come to 0.85** of the most" in page
    assert f"({whole(most)}; so {whole(bar)}, and these to {whole(min(good))} or more)" in page
    assert f"comes to {whole(min(lower))}, {min(lower) / most:.3f} of it" in page
    assert f"Masters return {interval([run['adapted_return'] for run in ten], whole)}" in page
    worst = [min(t["worst_master"] for t in run["per_task"].values()) for run in ten]
    wavering = [str(run["seed"]) for run, value in zip(ten, worst, strict=True) if value < bar]
    said = f"below {whole(bar)} on seeds {', '.join(wavering[:-1])} and {wavering[-1]}, the lowest"
    assert f"{said} at {whole(min(worst))} over" in page
    apart = [run["subpolicy_divergence"][0] for run in ten]
    assert f"two gaits, {whole(min(apart))} to {whole(max(apart))} nats apart, of which" in page
    separation_page = words(RESULTS / "separation.md")
    assert f"separate on **{len(good)} of {len(ten)} seeds**" in separation_page
    assert f"{min(lower) / most:.3f} on" in separation_page
    library, preset = read("ant_maze/library_defaults-s*"), read("ant_maze/preset-s1")
    preset = [bundled("ant_maze"), *preset]
    ours, theirs = ([whole(run["adapted_return"]) for run in runs] for runs in (library, preset))
    said = "returns are {}, {} and {} on average over the thirteen mazes, {} and {} with the preset"
    assert said.format(*ours, *theirs) in page
    shares = [
        f"{np.mean([task['success_rate'] for task in run['per_task'].values()]):.2f}"
        for run in (*library, *preset)
    ]
    said = (
        "{}, {} and {} of the episodes over the thirteen mazes reach it, with the preset {} and {}"
    )
    assert said.format(*shares) in page


def test_what_is_said_of_swimmers_is_so():
    page = words(RESULTS / "ants.md")
    defaults, published = (
        read(f"swimmer_bandits/{kind}-s*") for kind in ("default", "as_published")
    )
    pairs = list(zip(defaults, published, strict=False))
    more = [ours["adapted_return"] - theirs["adapted_return"] for ours, theirs in pairs]
    assert "defaults earn {:.0f} and {:.0f} more".format(*more) in page
    assert all(
        min(ours["subpolicy_divergence"]) > min(theirs["subpolicy_divergence"])
        for ours, theirs in pairs
    )
    runs = [*defaults, *published]
    lost = [run["per_task"]["sampled"]["worst_master"] < 0 for run in runs]
    assert (sum(lost), len(lost)) == (4, 5) and "below 0 on four of the five runs" in page


def test_what_is_said_of_courses_and_mazes_is_so():
    page, readme = words(RESULTS / "ants.md"), words(ROOT / "README.md")
    five = read("ant_obstacle/gaits-s*")
    (long,) = read("ant_obstacle/long_single_policy-s0")
    runs = [*five, long, *read("ant_obstacle/default-s0")]
    for run in runs:
        reached = (run["success_rate"], run["initial_success_rate"])
        assert (*reached, run["single_policy"]["success_rate"]) == (1, 1, 0)
    adapted, initial = (
        interval([run[which] for run in five], whole)
        for which in ("adapted_return", "initial_return")
    )
    assert f"of five trainings reach it in every episode, reward {adapted}, after" in readme
    assert f"untrained masters do so as well, {initial};" in readme
    steps = long["single_policy"]["env_steps"] / 1e6
    assert f"nor (one seed) after {steps:.1f} million env steps" in readme
    gains = [run["adapted_return"] / run["initial_return"] - 1 for run in runs]
    assert f"learning adds {100 * min(gains):.0f} to {100 * max(gains):.0f} %, by" in page
    alone = np.max([run["subpolicy_success_rates"] for run in runs])
    assert abs(alone - 2 / 3) < 0.02 and "alone gets there in up to two of three" in page
    (big,) = read("ant_obstacle_big/masters-s0")
    assert f"reach the corner in {big['success_rate']:.0%} of".replace("%", " %") in readme
    assert np.max([big["initial_success_rate"], *np.ravel(big["subpolicy_success_rates"])]) == 0
    returns = [big["per_task"]["corner"][f"{which}_master"] for which in ("worst", "best")]
    ends = f"{big['final_success_rate']:.0%}".replace("%", " %")
    assert "with {} and {}, and ".format(*map(whole, returns)) + ends in page
    preset, library = read("ant_maze/preset-s1"), read("ant_maze/library_defaults-s*")
    unseen = [
        task["success_rate"]
        for run in (bundled("ant_maze"), *preset, *library)
        for task in list(run["per_task"].values())[9:]
    ]
    assert f"| {min(unseen):.0%}".replace("%", " to 100 % of episodes reach the goal") in readme


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
    readme = words(ROOT / "README.md")
    bad = " and ".join(signed(value) for value in adapted if value < 0.2)
    assert f"return {interval(adapted)} of 0.49" in readme
    alone = interval([run["adapted_return"] for run in policies])
    each = f"a policy from scratch for each task comes to {alone}"
    assert f"they fail on some tasks ({bad}); {each}" in readme
    mean = np.mean([run["adapted_return"] for run in runs])
    assert f"the plain mean over all ten is {mean:.2f}" in page
    alone = [np.max(run["subpolicy_task_returns"]) for run in runs]
    assert [seed for seed, value in enumerate(alone) if value >= 0] == [1, 3]
    curves = [
        np.mean([run["adaptation_return"] for run in same], axis=0) for same in (runs, policies)
    ]
    for iteration, seen in (
        (5, "−0.69 on average"),
        (10, "0.08 and −2.79"),
        (20, "0.15 and −0.24"),
    ):
        mine, other = (signed(curve[iteration - 1]) for curve in curves)
        assert seen.startswith(mine) and (other in seen or f"scratch {other}" in page)
        assert seen in page


def test_what_is_said_of_five_seeds_of_four_rooms_is_so():
    walls, cells, policies, untrained = (
        read(f"{kind}-s*")
        for kind in (
            "four_rooms/walls",
            "four_rooms/cells",
            "baseline/four_rooms_policy_per_task",
            "baseline/four_rooms_untrained_walls",
        )
    )
    page, readme = words(RESULTS / "grids.md"), words(ROOT / "README.md")
    shares = [
        interval([run["adapted_return"] / run["best_return"] for run in kind])
        for kind in (walls, cells, policies)
    ]
    nothing = signed(
        interquartile_interval([run["adapted_return"] / run["best_return"] for run in untrained])[0]
    )
    assert (
        f"masters come to {shares[0]} of the optimum over sub-policies that see walls, to "
        f"{shares[1]} over ones that see the cell, policies from scratch to {shares[2]}, masters "
        f"on untrained sub-policies to {nothing} (interquartile mean over"
    ) in page
    assert (
        f"come to {shares[0]} of the optimum after 20 iterations, over ones that see the cell to "
        f"{shares[1]}, policies from scratch to {shares[2]}"
    ) in readme
    more, less = (
        interval([sign * (area(run) - area(other)) for run, other in zip(walls, kind, strict=True)])
        for kind, sign in ((untrained, 1), (policies, -1))
    )
    assert f"masters return {less} less on average than policies from scratch" in page
    assert f"{more} more than over untrained sub-policies" in page
    for iteration in (3, 5, 10):
        mine, other = (
            np.mean([run["adaptation_return"][iteration - 1] for run in kind])
            for kind in (walls, policies)
        )
        assert f"{mine:.1f} and {other:.1f}" in page
    alone = max(np.max(run["subpolicy_task_returns"]) for run in walls)
    assert f"({alone:.1f} on its best goal at most)" in page
    by_goal = [
        [of["adapted_return"] / run["best_returns"][name] for name, of in run["per_task"].items()]
        for run in walls
    ]
    lost = [sum(share < 0.5 for share in shares) for shares in by_goal]
    assert f"less than half of the optimum on {min(lost)} to {max(lost)} of the 20 goals" in page
    worst = [min(shares) for shares in by_goal]
    assert f"and to {min(worst):.2f} to {max(worst):.2f} of it on the worst" in page
    assert len({int(np.argmin(shares)) for shares in by_goal}) > 2
    assert {run["best_return"] for run in [*walls, *cells, *policies]} == {walls[0]["best_return"]}
    assert f"return is {walls[0]['best_return']:.1f} on average" in page


def test_what_is_said_of_five_seeds_of_a_door_and_its_key_is_so():
    page = words(RESULTS / "grids.md")
    runs = read("minigrid_door_key_5x5/a2c-k4-s*")
    assert len(runs) == 5
    falls = [run["initial_return"] - run["adapted_return"] for run in runs]
    assert sum(fall > 0.02 for fall in falls) == 4 and "on four seeds of five (at" in page
    pair = (runs[1]["adapted_return"], runs[1]["initial_return"])
    assert "(at {:.2f} rather than {:.2f} on seed 1)".format(*pair) in page
    readme = words(ROOT / "README.md")
    assert f"four to {interval([run['adapted_return'] for run in runs])} while" in readme
    ppo = [read(f"minigrid_door_key_5x5/ppo-k{k}-s*") for k in (4, 1)]
    returns = {signed(run["adapted_return"]) for run in itertools.chain(*ppo)}
    assert returns == {"0.96", "0.97"} and "0.96 or 0.97 on every seed of 5 with PPO" in readme


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
    assert (tmp_path / page.name).read_text() == page.read_text()


def test_what_is_said_of_ten_seeds_of_moving_bandits_is_so():
    returns = [run["adapted_return"] for run in read("moving_bandits/default-s*")]
    median, low, high = (f"{f(returns):.2f}" for f in (np.median, np.min, np.max))
    page = words(RESULTS / "moving_bandits.md")
    assert f"After adaptation: median {median}, lowest {low}, highest {high}." in page
    readme = words(ROOT / "README.md")
    assert f"adapted return {median} of 43.81 (median of seeds 0 to 9, lowest {low}" in readme
    collapse = words(ROOT / "docs" / "collapse.md")
    assert f"between {low} and {high} (median {median};" in collapse
    published = interval([run["adapted_return"] for run in read("moving_bandits/paper-s*")])
    assert f"After adaptation: {published} (" in page
    assert f"the algorithm as published {published} after" in readme
    assert f"ends at {published} on seeds 0 to 9" in collapse
