"""The end of a run: writes `summary.json` and shows a person the same as tables and warnings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mlsh_jax.host.runs import Run
from mlsh_jax.host.telemetry import print_table
from mlsh_jax.statistics import interquartile_interval
from mlsh_jax.usage import separation_warnings, service_warnings


def finish(run: Run, summary: dict[str, Any]) -> None:
    """Writes `summary.json` and prints the closing tables."""
    run.write_summary(summary)
    names = list(summary["per_task"])
    some_terminate = any(task.get("terminated_rate") for task in summary["per_task"].values())
    rows = []
    for m, name in enumerate(names):
        row: dict[str, object] = {"task": name}
        row |= {
            "initial return": summary["per_task"][name]["initial_return"],
            "adapted return": summary["per_task"][name]["adapted_return"],
        }
        row |= _best_of_task(summary, name)
        for k, returns in enumerate(summary["subpolicy_task_returns"]):
            row[f"sub-policy {k} alone"] = returns[m]
        if "success_rate" in summary["per_task"][name]:
            before, after, last = (
                summary["per_task"][name][key]
                for key in ("initial_success_rate", "success_rate", "final_success_rate")
            )
            row["success rate"] = f"{before:.0%} → {after:.0%}"
            row["at end"] = f"{last:.0%}"
        if some_terminate:
            row["terminated"] = f"{summary['per_task'][name]['terminated_rate']:.0%}"
        row["usage"] = " ".join(f"{share:.2f}" for share in summary["subpolicy_usage"][m])
        rows.append(row)
    print_table("fresh masters on frozen sub-policies", rows)
    warn_of(summary)
    if summary.get("baselines"):
        masters = summary | {"env_steps": summary["adapt_env_steps"]}
        agents = {"masters on sub-policies": masters}
        agents |= {name.replace("_", " "): summary[name] for name in summary["baselines"]}
        print_table(
            "beside baselines",
            [
                {"agent": agent, "return": values["adapted_return"]}
                | {"success rate": values.get("success_rate", float("nan"))}
                | {"env steps": values["env_steps"]}
                for agent, values in agents.items()
            ],
        )
    print(
        f"{summary['experiment']} ({summary['preset']}, seed {summary['seed']}): return "
        f"{summary['initial_return']:.2f} before and {summary['adapted_return']:.2f} after "
        f"adaptation; {summary['env_steps']:,} env steps in {summary['wall_seconds']:.0f} s "
        f"({summary['compile_seconds']:.0f} s of them compiling), "
        f"{summary['env_steps_per_second']:,.0f} env steps/s"
    )
    print(f"summary: {run.directory / 'summary.json'}", flush=True)


def warn_of(summary: Mapping[str, Any], whose: str = "") -> None:
    """Prints a line for everything in a summary that is not as it should be.

    Args:
        summary: of a run.
        whose: what the lines begin with.
    """
    for what in _without_return(summary):
        print(f"warning: {whose}{what} has no return, as the physics failed in all of its episodes")
    # Of sub-policies that were trained here; those of others are somebody else's to mend.
    if "subpolicy_divergence" in summary:
        divergence, usage = summary["subpolicy_divergence"], summary["subpolicy_usage"]
        of_tasks = summary.get("per_task", {})
        returns = {name: task["adapted_return"] for name, task in of_tasks.items()}
        for line in [
            *separation_warnings(divergence, usage),
            *service_warnings(returns, summary.get("best_returns", {})),
        ]:
            print(f"warning: {whose}{line}")


def _without_return(summary: Mapping[str, Any]) -> Iterator[str]:
    """What all of whose episodes were lost, of a run of any experiment."""
    for name, task in summary.get("per_task", {}).items():
        if np.isnan(task["adapted_return"]):
            yield name
        elif np.isnan(task["initial_return"]):
            yield f"{name} before adaptation"
    for k, returns in enumerate(summary.get("subpolicy_task_returns", [])):
        if np.isnan(returns).any():
            yield f"sub-policy {k} alone"
    for name in summary.get("baselines", []):
        if np.isnan(summary[name]["adapted_return"]):
            yield name
    for name, value in summary.get("task_returns", {}).items():
        if np.isnan(value):
            yield name


def print_seeds(summaries: Sequence[Mapping[str, Any]]) -> None:
    """Prints a line for each seed of an experiment, the middle of them, and what is to be said."""
    rows = [
        {
            "seed": str(summary["seed"]),
            "initial return": summary["initial_return"],
            "adapted return": summary["adapted_return"],
            "worst task": min(task["adapted_return"] for task in summary["per_task"].values()),
            "nats apart": min(summary.get("subpolicy_divergence", [float("nan")])),
        }
        | ({"best possible": summary["best_return"]} if "best_return" in summary else {})
        for summary in summaries
    ]
    print_table("fresh masters on frozen sub-policies", rows)
    returns = interquartile_interval([summary["adapted_return"] for summary in summaries])
    rate = sum(summary["env_steps_per_second"] for summary in summaries)
    print(
        f"{summaries[0]['experiment']} ({summaries[0]['preset']}, {len(summaries)} seeds): return "
        f"{returns} after adaptation (interquartile mean, 95 % interval); {rate:,.0f} env steps/s"
    )
    for summary in summaries:
        warn_of(summary, f"seed {summary['seed']}: ")


def finish_baseline(run: Run, summary: dict[str, Any]) -> None:
    """Writes `summary.json` of a baseline by itself and prints the closing table."""
    run.write_summary(summary)
    rows = [
        {"task": name, "return": value} | _best_of_task(summary, name)
        for name, value in summary["task_returns"].items()
    ]
    where = " ".join([summary["env"], *summary["env_options"]])
    print_table(f"{summary['baseline']} on {where}", rows)
    warn_of(summary)
    print(
        f"{summary['baseline']} on {where} (seed {summary['seed']}): return "
        f"{summary['adapted_return']:.2f}; {summary['env_steps']:,} env steps in "
        f"{summary['wall_seconds']:.0f} s, {summary['env_steps_per_second']:,.0f} env steps/s"
    )
    print(f"summary: {run.directory / 'summary.json'}", flush=True)


def _best_of_task(summary: Mapping[str, Any], name: str) -> dict[str, float]:
    """A cell with what an optimal player earns, where it is known."""
    return {"best possible": summary["best_returns"][name]} if "best_returns" in summary else {}
