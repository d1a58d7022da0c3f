"""Rows of the tables of ants, swimmers and humanoids, from the summaries of their runs."""

import itertools
from collections.abc import Sequence

import numpy as np
from kept import Summary, bundled, interval, masters, place, row, signed, whole


def earned(reward: float, reached: float) -> tuple[str, str]:
    return f"{reward:.1f}", f"{reached:.0%}"


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


def twowalk_library(*kinds: Sequence[Summary]) -> list[str]:
    def lowest(run: Summary) -> str:
        return ", ".join(whole(task["worst_master"]) for task in run["per_task"].values())

    return [
        f"{line[:-2]} | {lowest(mine)} |"
        for line, mine in zip(twowalk_masters(*kinds), kinds[-1], strict=True)
    ]
