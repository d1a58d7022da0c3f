"""Takes the ingredients that keep moving_bandits from collapsing away, one at a time.

Writes a table of returns over seeds, `moving_bandits_ablation.md`, and the numbers behind it.
"""

import dataclasses
import functools
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

import envs
from experiments import moving_bandits
from mlsh_jax import adapt, mlsh
from mlsh_jax.agent import make_agent
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.compilation import compile_ahead, enable_compilation_cache
from mlsh_jax.host.launch import run_main

_DEFAULT = moving_bandits.PRESETS["default"].config

# A sub-policy of its own task earns 43.76 at best; below this it was not found.
_FOUND = 38.0

_TABLE, _NUMBERS = "moving_bandits_ablation.md", "moving_bandits_ablation.json"


def _replace(**changes: Any) -> Callable[[MLSHConfig], MLSHConfig]:
    """A change of the configuration; a dict changes the fields of a nested one."""

    def change(config: MLSHConfig) -> MLSHConfig:
        nested = {
            name: dataclasses.replace(getattr(config, name), **value)
            if isinstance(value, dict)
            else value
            for name, value in changes.items()
        }
        return dataclasses.replace(config, **nested)

    return change


VARIANTS: dict[str, Callable[[MLSHConfig], MLSHConfig]] = {
    "default": _replace(),
    "tasks drawn at random": _replace(stratify_tasks=False),
    "tasks drawn at random, 40 x 16 environments": _replace(
        stratify_tasks=False, num_tasks=40, num_envs=16, steps_per_iteration=800
    ),
    "one task in a meta-iteration": _replace(
        stratify_tasks=False, num_tasks=1, num_envs=400, steps_per_iteration=20_000
    ),
    "U 1": _replace(joint_iterations=1),
    "master clip 0.2": _replace(master={"clip_epsilon": 0.2}),
    "master sees standardized observations": _replace(master={"normalize_observations": True}),
    "sub-policies see raw observations": _replace(subpolicy={"normalize_observations": False}),
}


@dataclasses.dataclass(frozen=True)
class Result:
    """What one seed of a variant came to.

    Attributes:
        seed: of everything random.
        adapted_return: of fresh masters after adaptation.
        own_task_returns: of the best sub-policy for each task when forced, `[M]`.
    """

    seed: int
    adapted_return: float
    own_task_returns: list[float]

    @property
    def collapsed(self) -> bool:
        """Whether some task has no sub-policy of its own."""
        return min(self.own_task_returns) < _FOUND


def main(argv: Sequence[str] | None = None) -> None:
    """Trains the variants that the command line names."""
    tyro.cli(ablate, prog="python -m experiments.ablation", args=argv)


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
    enable_compilation_cache()
    names = only or list(VARIANTS)
    for name in names:
        if name not in VARIANTS:
            raise ConfigError(f"--only: unknown variant {name!r}; known: {', '.join(VARIANTS)}")
    base = _DEFAULT.training.mlsh
    iterations = meta_iterations or _DEFAULT.training.meta_iterations
    budget = iterations * base.env_steps_per_meta_iteration
    table = read(results)
    for name in names:
        config = VARIANTS[name](base)
        length = max(iterations, round(budget / config.env_steps_per_meta_iteration))
        done = table.get(name, [])
        left = [seed for seed in range(seeds) if seed not in {result.seed for result in done}]
        if left:
            table[name] = done + run_variant(name, config, length, left)
            write(results, table)
        else:
            print(f"{name}: all {seeds} seeds are in {results / _NUMBERS} already")


def run_variant(
    name: str, config: MLSHConfig, iterations: int, seeds: Sequence[int]
) -> list[Result]:
    """Trains and assesses one variant on some seeds, compiling once."""
    agent = make_agent(envs.make("moving_bandits"), config)
    key = jax.random.key(0)
    init = jax.jit(functools.partial(mlsh.init, agent))
    state = init(key)
    tasks = adapt.evaluation_tasks(agent.env, key, _DEFAULT.evaluation.num_tasks)
    # Every variant is measured with the adaptation of the default.
    judge = dataclasses.replace(_DEFAULT.training.mlsh, master=config.master)
    judge_agent = make_agent(agent.env, judge)

    def assess(state: mlsh.MetaState, key: jax.Array) -> adapt.Assessment:
        iterations = judge.warmup_iterations
        num_envs = _DEFAULT.evaluation.num_envs
        return adapt.assess(judge_agent, state.subpolicies, tasks, key, num_envs, iterations)[0]

    step = compile_ahead(functools.partial(mlsh.meta_iteration, agent), state)
    measure = compile_ahead(assess, state, key)
    results = []
    for seed in seeds:
        key_init, key_assess = jax.random.split(jax.random.key(seed))
        state = init(key_init)
        for _ in range(iterations):
            state, _ = step(state)
        assessment = jax.device_get(measure(state, key_assess))
        forced = assessment.forced.returns.mean(axis=-1)  # [K, G]
        own = [float(forced[:, np.asarray(tasks.index) == m].mean(axis=1).max()) for m in range(2)]
        adapted = float(assessment.adapted.returns.mean())
        results.append(Result(seed, adapted, own))
        print(f"{name}, seed {seed}: {adapted:.2f}, alone {np.round(own, 1)}", flush=True)
    return results


def read(directory: Path) -> dict[str, list[Result]]:
    """The numbers that are already there, by variant."""
    path = directory / _NUMBERS
    if not path.exists():
        return {}
    return {
        name: [Result(**result) for result in results]
        for name, results in json.loads(path.read_text()).items()
    }


def write(directory: Path, table: dict[str, list[Result]]) -> None:
    """Writes the table and the numbers behind it, so far."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = [
        "# moving_bandits: what each ingredient is for",
        "",
        f"`python -m experiments.ablation`, {time.strftime('%Y-%m-%d')}, "
        f"{os.cpu_count()} cores ({jax.devices()[0].device_kind}), jax {jax.__version__}; more "
        "seeds of a variant with `--only NAME --seeds 10`.",
        "",
        "Return of fresh masters after adaptation (best possible 43.76; a collapsed run has about "
        f"23). Collapsed: some task without a sub-policy that earns {_FOUND:g} alone.",
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
    numbers = {name: [dataclasses.asdict(r) for r in results] for name, results in table.items()}
    (directory / _NUMBERS).write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
