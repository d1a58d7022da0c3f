"""Rows of the tables of worlds without bodies, from the summaries of their runs."""

from collections.abc import Sequence

import numpy as np
from kept import Summary, area, interval, row, signed

from mlsh_jax.statistics import interquartile_interval
from mlsh_jax.usage import separation_warnings


def moving_bandits(runs: Sequence[Summary]) -> list[str]:
    rows = []
    for run in runs:
        worst = min(task["worst_master"] for task in run["per_task"].values())
        alone = [f"{returns:.2f}" for returns in np.max(run["subpolicy_task_returns"], axis=0)]
        returns = (run["initial_return"], run["adapted_return"], worst)
        rows.append(row(run["seed"], *(f"{x:.2f}" for x in returns), " / ".join(alone)))
    return rows


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
        cells = [
            f"{run['adapted_return'] / run['best_return']:.2f}, {area(run):.1f}" for run in same
        ]
        rows.append(
            row(
                same[0]["seed"],
                *cells,
                first_iteration(same[0], 0.8),
                " ".join(f"{x:.2f}" for x in np.mean(same[0]["subpolicy_usage"], axis=0)),
                " ".join(f"{x:.0f}" for x in np.max(same[0]["subpolicy_task_returns"], axis=1)),
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
        cells = ["–"] * 4
        if name in names:
            fresh = interquartile_interval([run["initial_return"] for run in runs])
            alone = [np.mean(run["subpolicy_task_returns"], axis=1) for run in runs]
            usage = [np.mean(run["subpolicy_usage"], axis=0) for run in runs]
            alike = [bool(separation_warnings(run.get("subpolicy_divergence", ()))) for run in runs]
            share = f"{sum(alike)} of {len(runs)}" if name.endswith("4") else "–"
            cells = [signed(fresh[0]), *map(extent, (alone, usage)), share]
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
            apart = "–" if name == "one" else f"{min(run['subpolicy_divergence']):.1f}"
            rows.append(row(name, run["seed"], *returns, *of_each, apart))
    return rows


def first_iteration(run: Summary, share: float) -> str:
    """In which iteration masters first came to a share of the best return."""
    reached = np.asarray(run["adaptation_return"]) >= share * run["best_return"]
    return str(np.argmax(reached) + 1) if reached.any() else "–"


def extent(values: object) -> str:
    """The smallest and the largest."""
    return f"{signed(np.min(values))} to {signed(np.max(values))}"
