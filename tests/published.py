"""What makes the rows of the tables in `results/`, from the summaries of their runs.

`tests/test_results.py` compares the tables with them. To print the rows of all tables:
`python -m tests.published`.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlsh_jax.statistics import interquartile_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
RUNS = RESULTS / "runs"
BUNDLED = ROOT / "experiments" / "bundled"

Summary = dict[str, Any]


def whole(value: float) -> str:
    return f"{round(value)}".replace("-", "−")


def place(xy: Sequence[float]) -> str:
    return f"({', '.join(f'{round(x, 1) + 0.0:.1f}' for x in xy)})".replace("-", "−")


def earned(reward: float, reached: float) -> tuple[str, str]:
    return f"{reward:.1f}", f"{reached:.0%}"


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


def twowalk(*kinds: Sequence[Summary]) -> list[str]:
    rows = []
    for run in itertools.chain(*kinds):
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


def maze(preset: Sequence[Summary], library: Sequence[Summary]) -> list[str]:
    rows = []
    runs = [bundled("ant_maze"), *preset, *library]
    for index, name in enumerate(runs[0]["per_task"]):
        if index == 9:
            rows.append(f"| *never seen in training:* |{' |' * len(runs)}")
        tasks = [run["per_task"][name] for run in runs]
        rows.append(row(name, *(f"{t['success_rate']:.0%}, {masters(t)}" for t in tasks)))
    return rows


def maze_without(*runs: Sequence[Summary]) -> list[str]:
    rows = []
    left_out = (
        "usage is not balanced",
        "nor do tasks count alike",
        "nor is credit that of the hierarchy",
    )
    for name, (run,) in zip(left_out, runs, strict=True):
        where = list(run["per_task"]).index("right_right")
        alone = max(returns[where] for returns in run["subpolicy_task_returns"])
        rows.append(row(name, whole(run["adapted_return"]), whole(alone)))
    return rows


def maze_library_masters(*runs: Sequence[Summary]) -> list[str]:
    names = ("preset", "credit of a slice", "credit of the hierarchy")
    rows = []
    for name, (run,) in zip(names, runs, strict=True):
        of_task = run["per_task"]
        steps = [
            whole(of_task[maze]["steps_to_success"])
            for maze in ("up", "right_right", "up_right", "down_right")
        ]
        rows.append(row(name, whole(run["adapted_return"]), f"{run['success_rate']:.0%}", *steps))
    return rows


def obstacle(*kinds: Sequence[Summary]) -> list[str]:
    """Rows of the gaits that come with the code, then of those of other trainings."""
    rows = []
    names = ["with the code", "with the code", *(f"seed {run['seed']}" for run in kinds[-1])]
    for name, run in zip(names, itertools.chain(*kinds), strict=True):
        reached = (run["initial_success_rate"], run["success_rate"])
        alone = zip(run["subpolicy_task_returns"], run["subpolicy_success_rates"], strict=True)
        policy = run["single_policy"]
        rows.append(
            row(
                name,
                " → ".join(whole(run[which]) for which in ("initial_return", "adapted_return")),
                " → ".join(f"{share:.0%}" for share in reached),
                "; ".join(f"{whole(reward)}, {share:.0%}" for (reward,), (share,) in alone),
                f"{policy['env_steps']:,}: {whole(policy['adapted_return'])}, "
                f"{policy['success_rate']:.0%}",
            )
        )
    return rows


def obstacle_big(runs: Sequence[Summary]) -> list[str]:
    (run,) = runs
    (task,) = run["per_task"].values()
    steps = run["adapt_env_steps"] // 2  # of each of two masters
    rows = [
        row("masters", f"{steps:,}", *earned(task["adapted_return"], task["success_rate"])),
        row("untrained masters", 0, *earned(task["initial_return"], task["initial_success_rate"])),
    ]
    for k, (reward,) in enumerate(run["subpolicy_task_returns"]):
        share = run["subpolicy_success_rates"][k][0]
        rows.append(row(f"gait {k} alone", 0, *earned(reward, share)))
    return rows


def humanoid_seeds(runs: Sequence[Summary]) -> list[Summary]:
    """Runs of humanoid_walk_crawl and the one that comes with the code, by seed."""
    return sorted([bundled("humanoid_walk_crawl"), *runs], key=lambda run: run["seed"])


def speed(task: Summary) -> float:
    """Units a second along x, in the 15 seconds of 1,000 steps."""
    x: float = task["final_position"][0]
    return x / 15


def humanoid(runs: Sequence[Summary]) -> list[str]:
    rows = []
    for run in humanoid_seeds(runs):
        for index, (name, task) in enumerate(run["per_task"].items()):
            alone = [whole(returns[index]) for returns in run["subpolicy_task_returns"]]
            lasts = [f"{1 - rates[index]:.0%}" for rates in run["subpolicy_terminated_rates"]]
            rows.append(
                row(
                    run["seed"],
                    name,
                    masters(task),
                    f"{1 - task['terminated_rate']:.0%}",
                    signed(speed(task)),
                    *map(", ".join, zip(alone, lasts, strict=True)),
                    " and ".join(f"{share:.2f}" for share in run["subpolicy_usage"][index]),
                )
            )
    return rows


def humanoid_course(runs: Sequence[Summary]) -> list[str]:
    """Rows of each kind of agent over seeds, and of all of its seeds."""
    rows = []
    for name in ("masters", "shared_policy", "single_policy"):
        agents = [agent_of(run, name) for run in runs]
        for run, agent in zip(runs, agents, strict=True):
            seen = whole(agent["adapted_return"]), f"{agent['success_rate']:.0%}"
            length = f"{agent['episode_length']:,.0f}"
            rows.append(row(name.replace("_", " "), run["seed"], *seen, length))
        returns, shares = (
            [agent[which] for agent in agents] for which in ("adapted_return", "success_rate")
        )
        both = interval(returns, whole), interval(shares, lambda share: f"{share:.0%}")
        rows.append(row(f"*{name.replace('_', ' ')}*", "*all*", *both, ""))
    return rows


def agent_of(run: Summary, name: str) -> Summary:
    """What masters, or a baseline, came to on the one task of a course."""
    if name == "masters":
        (task,) = run["per_task"].values()
        return run | {"episode_length": task["episode_length"]}
    agent: Summary = run[name]
    return agent


def ant_bandits(runs: Sequence[Summary]) -> list[str]:
    (run,) = runs
    rows = []
    for index, (name, task) in enumerate(run["per_task"].items()):
        alone = [by_task[index] for by_task in run["subpolicy_final_positions"]]
        rows.append(
            row(
                name,
                masters(task),
                f"{task['initial_success_rate']:.0%} → {task['success_rate']:.0%}",
                f"{task['final_success_rate']:.0%}",
                place(task["final_position"]),
                " and ".join(map(place, alone)),
            )
        )
    return rows


def swimmer(*kinds: Sequence[Summary]) -> list[str]:
    rows = []
    for name, runs in zip(("the library's defaults", "as published"), kinds, strict=True):
        for run in runs:
            strokes = [
                f"{np.mean(returns):.1f}, {place(np.mean(ends, axis=0))}"
                for returns, ends in zip(
                    run["subpolicy_task_returns"], run["subpolicy_final_positions"], strict=True
                )
            ]
            returns = f"{run['initial_return']:.1f} → {run['adapted_return']:.1f}"
            worst = f"{run['per_task']['sampled']['worst_master']:.1f}".replace("-", "−")
            apart = f"{min(run['subpolicy_divergence']):.1f}"
            rows.append(row(name, run["seed"], returns, worst, "; ".join(strokes), apart))
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
                " ".join(map(signed, np.max(run["subpolicy_task_returns"], axis=1))),
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
        forced = np.max(same[0]["subpolicy_task_returns"], axis=1)
        cells = [
            f"{run['adapted_return'] / run['best_return']:.2f}, {area(run):.1f}" for run in same
        ]
        rows.append(
            row(
                same[0]["seed"],
                *cells,
                f"{min(usage):.2f} to {max(usage):.2f}",
                f"{min(forced):.1f} to {max(forced):.1f}",
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
        cells = ["–", "–", "–"]
        if name in names:
            fresh = interquartile_interval([run["initial_return"] for run in runs])
            alone = [np.mean(run["subpolicy_task_returns"], axis=1) for run in runs]
            usage = [np.mean(run["subpolicy_usage"], axis=0) for run in runs]
            cells = [signed(fresh[0]), *map(extent, (alone, usage))]
        rows.append(row(name, interval(adapted), signed(min(adapted)), *cells))
    return rows


def minigrid_four_rooms(*kinds: Sequence[Summary]) -> list[str]:
    names = ("four", "four, of which one begins anew at a time", "one")
    rows = []
    for name, runs in zip(names, kinds, strict=True):
        for run in runs:
            alone = np.mean(run["subpolicy_task_returns"], axis=1)
            usage = np.mean(run["subpolicy_usage"], axis=0)
            returns = (signed(run[which]) for which in ("adapted_return", "initial_return"))
            of_each = (" ".join(map(signed, each)) for each in (alone, usage))
            rows.append(row(name, run["seed"], *returns, *of_each))
    return rows


def extent(values: object) -> str:
    """The smallest and the largest."""
    return f"{signed(np.min(values))} to {signed(np.max(values))}"


def interval(values: Sequence[float], show: Callable[[float], str] = signed) -> str:
    """Interquartile mean and 95 % interval."""
    estimate, low, high = map(show, interquartile_interval(values))
    return f"{estimate} [{low}, {high}]"


def area(run: Summary) -> float:
    """Mean return over the iterations of the adaptation."""
    return float(np.mean(run["adaptation_return"]))


TABLES = {
    "moving_bandits/paper-s*": moving_bandits,
    "ant_obstacle/default-s0 ant_obstacle/long_single_policy-s0 ant_obstacle/gaits-s*": obstacle,
    "ant_obstacle_big/masters-s0": obstacle_big,
    "ant_bandits/default-s0": ant_bandits,
    "swimmer_bandits/default-s* swimmer_bandits/as_published-s*": swimmer,
    "taxi/default-s* baseline/taxi_policy_per_task-s*": taxi,
    "four_rooms/walls-s* four_rooms/cells-s* baseline/four_rooms_policy_per_task-s* "
    "baseline/four_rooms_untrained_walls-s* baseline/four_rooms_untrained-s*": four_rooms,
    "minigrid_door_key_5x5/ppo-k4-s* minigrid_door_key_5x5/ppo-k1-s* "
    "minigrid_door_key_5x5/a2c-k4-s* minigrid_door_key_5x5/a2c-k1-s* "
    "baseline/minigrid_door_key_5x5_untrained-s*": minigrid,
    "minigrid_four_rooms/k4-s* minigrid_four_rooms/k4_renewing-s* "
    "minigrid_four_rooms/k1-s*": minigrid_four_rooms,
    "moving_bandits/default-s*": moving_bandits,
    "ant_twowalk/default-s*": twowalk,
    "ant_twowalk/library_masters-s* ant_twowalk/two_cores-s0": twowalk,
    "ant_twowalk/small_steps-s*": twowalk,
    "ant_twowalk/every_default-s*": twowalk,
    "ant_twowalk/slice_credit-s*": twowalk,
    "ant_twowalk/default-s[179] transfer/twowalk_maze_masters-s* "
    "transfer/twowalk_library_masters-s[179]": twowalk_masters,
    "ant_twowalk/default-s* transfer/twowalk_library_masters-s*": twowalk_library,
    "ant_maze/preset-s1 ant_maze/library_defaults-s*": maze,
    "ant_maze/no_balance-s0 ant_maze/no_balance_no_equal_tasks-s0 "
    "ant_maze/no_balance_no_equal_tasks_no_credit-s0": maze_without,
    "transfer/maze_library_masters_preset-s0 transfer/maze_library_masters_slice-s0 "
    "transfer/maze_library_masters_hierarchy-s0": maze_library_masters,
    "humanoid_walk_crawl/default-s*": humanoid,
    "humanoid_course/default-s*": humanoid_course,
}
"""What makes the rows of a table, by its comment: each pattern gives a list of runs."""


def read(pattern: str) -> list[Summary]:
    """The summaries of a pattern, by seed."""
    files = RUNS.glob(f"{pattern}.json")
    return sorted((json.loads(file.read_text()) for file in files), key=lambda run: run["seed"])


def bundled(name: str) -> Summary:
    """The summary of the run whose sub-policies come with the code."""
    summary: Summary = json.loads((BUNDLED / name / "summary.json").read_text())
    return summary


def words(page: Path) -> str:
    return " ".join(page.read_text(encoding="utf-8").split())


if __name__ == "__main__":
    for marker, rows in TABLES.items():
        print(f"<!-- runs: {marker} -->", *rows(*map(read, marker.split())), sep="\n")
