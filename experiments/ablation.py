"""Takes the ingredients that keep moving_bandits from collapsing away, one at a time.

Writes a table of returns over seeds, `moving_bandits_ablation.md`, and the numbers behind it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from experiments import moving_bandits
from experiments.harness.config import changing, require_counts, require_known
from experiments.harness.pages import holding, measured_by
from experiments.harness.results import (
    BASE,
    FOUND,
    Result,
    read_results,
    require_length,
    write_results,
)
from mlsh_jax.config import MLSHConfig
from mlsh_jax.host.launch import run_main, start_jax
from mlsh_jax.host.options import call

_DEFAULT = moving_bandits.PRESETS["default"].config

_TABLE, _NUMBERS = "moving_bandits_ablation.md", "moving_bandits_ablation.json"

VARIANTS: dict[str, Callable[[MLSHConfig], MLSHConfig]] = {
    "all of it": changing(),
    "tasks drawn at random": changing(stratify_tasks=False),
    "tasks drawn at random, 40 x 16 environments": changing(
        stratify_tasks=False, num_tasks=40, num_envs=16, steps_per_iteration=800
    ),
    "one task in a meta-iteration": changing(
        stratify_tasks=False, num_tasks=1, num_envs=400, steps_per_iteration=20_000
    ),
    "U 1": changing(joint_iterations=1),
    "master clip 0.2": changing(master={"clip_epsilon": 0.2}),
    "master sees standardized observations": changing(master={"normalize_observations": True}),
    "sub-policies see raw observations": changing(subpolicy={"normalize_observations": False}),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Trains the variants that the command line names."""
    call(ablate, argv, "python -m experiments.ablation")


def ablate(
    results: Path = Path("results"),
    seeds: int = 5,
    meta_iterations: int = 0,
    only: Sequence[str] = (),
) -> None:
    """Trains every variant on every seed, one after the other; seeds in the table are kept.

    Args:
        results: where the table is, or will be.
        seeds: seeds 0 … of each variant.
        meta_iterations: of training, 0 for as many as the default preset has. Variants with
            fewer env steps in a meta-iteration get more of them, for equal env steps.
        only: names of variants; all by default.
    """
    require_counts(seeds, meta_iterations)
    require_known("--only", only, VARIANTS)
    with holding(results):
        iterations = meta_iterations or _DEFAULT.training.meta_iterations
        table = read_results(results / _NUMBERS)
        names = only or list(VARIANTS)
        for name in names:
            lengths = (_length(name, n) for n in (iterations, _DEFAULT.training.meta_iterations))
            require_length(results / _NUMBERS, table, name, *lengths)
        start_jax()
        for name in names:
            done = table.get(name, [])
            left = [seed for seed in range(seeds) if seed not in {result.seed for result in done}]
            if left:
                length = _length(name, iterations)
                table[name] = done + run_variant(name, VARIANTS[name](BASE), length, left)
            else:
                print(f"{name}: all {seeds} seeds are in {results / _NUMBERS} already")
            write(results, table)


def _length(name: str, meta_iterations: int) -> int:
    """How long a variant is trained beside a default that is for so many meta-iterations."""
    budget = meta_iterations * BASE.env_steps_per_meta_iteration
    own = VARIANTS[name](BASE).env_steps_per_meta_iteration
    return max(meta_iterations, round(budget / own))


def run_variant(
    name: str, config: MLSHConfig, iterations: int, seeds: Sequence[int]
) -> list[Result]:
    """Trains and assesses one variant on some seeds, compiling once."""
    from experiments.harness.seeds import train_seeds  # with JAX, for which --help does not wait

    # Every variant is measured with the adaptation of the default.
    measured = dataclasses.replace(BASE, master=config.master)
    evaluation = _DEFAULT.evaluation
    results = []
    for result in train_seeds(
        config, measured, iterations, seeds, evaluation.num_tasks, evaluation.num_envs
    ):
        results.append(result)
        alone = np.round(result.own_task_returns, 1)
        print(f"{name}, seed {result.seed}: {result.adapted_return:.2f}, alone {alone}", flush=True)
    return results


def write(directory: Path, table: dict[str, list[Result]]) -> None:
    """Writes the table and the numbers behind it, so far."""
    directory.mkdir(parents=True, exist_ok=True)
    # In the order of the variants; what older code had beside them is kept.
    table = {name: table[name] for name in (*VARIANTS, *table) if name in table}
    occasions = [result.measured for results in table.values() for result in results]
    lines = [
        "# moving_bandits: what each ingredient is for",
        "",
        f"{measured_by('experiments.ablation', occasions)}; more "
        "seeds of a variant with `--only NAME --seeds 10`.",
        "",
        "Return of fresh masters after adaptation (best possible 43.81; a collapsed run has about "
        f"23). Collapsed: some task without a sub-policy that earns {FOUND:g} alone. The row 'all "
        "of it' is the default preset without what the library adds to the paper's update of φ "
        "(`AS_PUBLISHED` in `experiments/harness/config.py`); each of the others changes one thing "
        "in it.",
        "",
        "| variant | seeds | median | lowest | highest | collapsed |",
        "|---|---|---|---|---|---|",
    ]
    for name, results in table.items():
        returns = [result.adapted_return for result in results]
        collapsed = sum(result.collapsed for result in results)
        lines.append(
            f"| {name} | {len(results)} | {np.median(returns):.2f} | {min(returns):.2f} "
            f"| {max(returns):.2f} | {collapsed} |"
        )
    (directory / _TABLE).write_text("\n".join(lines) + "\n")
    write_results(directory / _NUMBERS, table)


if __name__ == "__main__":
    run_main(main)
