"""Update rules side by side on moving_bandits: each for masters, beside each for sub-policies.

Writes the table in `results/rules.md` and the numbers behind it; seeds that are there are kept.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments import moving_bandits
from experiments.harness.config import require_counts, require_known
from experiments.harness.pages import holding, measured_by, write_table
from experiments.harness.results import (
    BASE,
    Result,
    read_results,
    require_length,
    write_results,
)
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import run_main, start_jax
from mlsh_jax.host.options import call
from mlsh_jax.rl.config import LearnerConfig
from mlsh_jax.statistics import interquartile_interval

_DEFAULT = moving_bandits.PRESETS["default"].config
_MASTER, _SUBPOLICY = BASE.master, BASE.subpolicy

MASTERS: dict[str, LearnerConfig] = {
    "ppo": _MASTER,
    "a2c": dataclasses.replace(_MASTER.with_rule("a2c"), num_minibatches=10),
    "trpo": dataclasses.replace(_MASTER.with_rule("trpo"), kl_limit=0.1),
    "dqn": dataclasses.replace(
        _MASTER.with_rule("dqn"), learning_rate=1e-3, exploration_iterations=3
    ),
}
"""Masters of every rule: the preset's, with what was found for a rule in nine short trials at most
of its own options (learning rates, minibatches, KL limits, iterations of exploration)."""

SUBPOLICIES: dict[str, LearnerConfig] = {
    "ppo": _SUBPOLICY,
    "a2c": dataclasses.replace(_SUBPOLICY.with_rule("a2c"), num_minibatches=40),
}
"""Sub-policies of every rule that serves them; that of a2c is the best of five trials."""

GOOD_RETURN = 41.0
"""The best possible is 43.81; two equal sub-policies average 22.95."""

_TABLE, _NUMBERS = "rules.md", "rules.json"


def main(argv: Sequence[str] | None = None) -> None:
    """Trains the combinations that the command line names."""
    call(compare, argv, "python -m experiments.rules")


def compare(
    results: Path = Path("results"),
    seeds: int = 10,
    meta_iterations: int = 0,
    only: Sequence[str] = (),
) -> None:
    """Trains every combination of rules on every seed, one after the other.

    Args:
        results: where the table is, or will be.
        seeds: seeds 0 … of each combination.
        meta_iterations: of training, 0 for as many as the default preset has.
        only: combinations such as "dqn+ppo", masters' rule first; all by default.
    """
    from experiments.harness.seeds import train_seeds  # with JAX, for which --help does not wait

    configs = combinations()
    require_counts(seeds, meta_iterations)
    require_known("--only", only, configs)
    with holding(results, _TABLE):
        iterations = meta_iterations or _DEFAULT.training.meta_iterations
        table = read_results(results / _NUMBERS)
        names = only or list(configs)
        for name in names:
            default = _DEFAULT.training.meta_iterations
            require_length(results / _NUMBERS, table, name, iterations, default)
        start_jax()
        for name in names:
            done = table.get(name, [])
            left = [seed for seed in range(seeds) if seed not in {result.seed for result in done}]
            evaluation = _DEFAULT.evaluation
            trained = train_seeds(
                configs[name],
                configs[name],
                iterations,
                left,
                evaluation.num_tasks,
                evaluation.num_envs,
            )
            for result in trained if left else ():
                done = [*done, result]
                table[name] = done
                print(f"{name}, seed {result.seed}: {result.adapted_return:.2f}", flush=True)
                write(results, table)
            if not left:
                print(f"{name}: all {seeds} seeds are in {results / _NUMBERS} already")
                write(results, table)


def combinations() -> dict[str, MLSHConfig]:
    """The configurations that are compared, by "masters' rule+sub-policies' rule"."""
    return {
        f"{master}+{subpolicy}": dataclasses.replace(
            BASE, master=MASTERS[master], subpolicy=SUBPOLICIES[subpolicy]
        )
        for master, subpolicy in itertools.product(MASTERS, SUBPOLICIES)
    }


def write(directory: Path, table: dict[str, list[Result]]) -> None:
    """Writes the table into `rules.md`, whose other text stays, and the numbers behind it."""
    write_results(directory / _NUMBERS, table)
    steps = BASE.env_steps_per_meta_iteration
    occasions = [result.measured for results in table.values() for result in results]
    lines = [
        f"{measured_by('experiments.rules', occasions)}.",
        "",
        f"| masters | sub-policies | seeds | adapted return | lowest | seeds that reach "
        f"{GOOD_RETURN:g} | env steps to it | seconds to it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in (name for name in combinations() if table.get(name)):
        results = table[name]
        adapted = [result.adapted_return for result in results]
        reached = [n for result in results if (n := first_reached(result)) is not None]
        seconds = [
            n * result.seconds for result in results if (n := first_reached(result)) is not None
        ]
        cost = f"{np.median(reached) * steps / 1e6:.2f} M" if reached else "–"
        duration = f"{np.median(seconds):.1f}" if seconds else "–"
        master, subpolicy = name.split("+")
        lines.append(
            f"| {master} | {subpolicy} | {len(results)} | {interquartile_interval(adapted)} | "
            f"{min(adapted):.2f} | {len(reached)} | {cost} | {duration} |"
        )
    write_table(directory / _TABLE, "Update rules", "\n".join(lines) + "\n")


def first_reached(result: Result) -> int | None:
    """Meta-iterations after which the training return was good for the first time."""
    return next(
        (n for n, value in enumerate(result.training_returns, 1) if value >= GOOD_RETURN), None
    )


if __name__ == "__main__":
    run_main(main)
