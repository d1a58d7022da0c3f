"""A suite for separation: small sets of tasks on which sub-policies have to become different.

Every case is trained with the library's defaults; only what a user has to choose is chosen: K, N,
the batches and how long. Its best return is known, so that it can be said whether each task is
served. `--variants` takes the ingredients of the defaults away or leaves one of them alone, or
changes how lives go. Writes `separation.md` and the numbers behind it; seeds that are in them
already are kept.
"""

import dataclasses
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import envs
from experiments.harness.config import require_counts, require_known
from experiments.harness.pages import holding, when_and_by_what, write_table
from experiments.harness.results import SeedResult, from_file, read_table
from experiments.harness.suite import AS_MANY_UPDATES, CASES, HELD_OUT, STAGGERED, VARIANTS, Case
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.launch import run_main, start_jax
from mlsh_jax.host.options import call
from mlsh_jax.host.serialization import leaves, write_json
from mlsh_jax.rl.config import require
from mlsh_jax.statistics import interquartile_interval

SERVED = 0.85
"""Of the best return of a task: what fresh masters have to reach on it, on average."""
MASTERS_PER_TASK = 8
NUM_ENVS = 50

_TABLE, _NUMBERS = "separation.md", "separation.json"


@dataclasses.dataclass(frozen=True)
class Trained:
    """Seeds of a case under a variant, and with what they were trained.

    Attributes:
        meta_iterations: of training.
        config: of the training.
        seeds: results.
        env: name of the environment.
        options: of the environment, as JSON has them.
    """

    meta_iterations: int
    config: MLSHConfig
    seeds: list[SeedResult]
    env: str
    options: dict[str, Any]


Table = dict[str, dict[str, Trained]]
"""Results by variant and case."""


def main(argv: Sequence[str] | None = None) -> None:
    """Trains what the command line names."""
    call(separate, argv, "python -m experiments.separation")


def separate(
    results: Path = Path("results"),
    seeds: int = 10,
    cases: tuple[str, ...] = (),
    variants: tuple[str, ...] = ("default",),
    meta_iterations: int = 0,
) -> None:
    """Trains seeds of cases under variants, each case as one program.

    Args:
        results: where the table is, or will be. Seeds that are there already are kept; name another
            directory to train them yourself.
        seeds: seeds 0 … of each case.
        cases: names of cases: corridor, pay3, pay10, k8, points2 to points4, star2, star4, star6,
            ring, relay, chain2, chain3, crowd and minority, the suite, which is the default; and
            rooms, codes, wheel, race, ridges, effort, effort_crowd, near and patterns, which are
            not a part of it.
        variants: names of variants, or "all"; an unknown name is answered with a list of them.
            Those with fewer env steps in a meta-iteration get more of them, for equal env steps; or
            for equal updates where the name says so.
        meta_iterations: of training, 0 for as many as each case has.
    """
    require_counts(seeds, meta_iterations)
    known = CASES | HELD_OUT
    require_known("--cases", cases, known)
    require_known("--variants", variants, [*VARIANTS, "all"])
    require(bool(variants), "--variants", "name at least one variant, or all")
    with holding(results, _TABLE):
        path = results / _NUMBERS
        table = read(path)
        so_far = {}
        for variant, name in itertools.product(
            VARIANTS if "all" in variants else variants, cases or CASES
        ):
            new = planned(known[name], variant, meta_iterations)
            there = so_far[variant, name] = table.get(variant, {}).get(name, new)
            if (difference := _difference(there, new)) is not None:
                raise ConfigError(
                    f"--results: in {path} {name} was trained with other numbers than now under "
                    f"{variant!r} ({difference}); choose another directory, or delete the file to "
                    "train all anew"
                )
        start_jax()
        origin = when_and_by_what()
        for (variant, name), there in so_far.items():
            done = {result.seed for result in there.seeds}
            left = [seed for seed in range(seeds) if seed not in done]
            if not left:
                print(
                    f"{variant}, {name}: {separated(there.seeds)} separate; all {seeds} seeds are "
                    f"in {path} already, and --results with another directory trains them anew"
                )
                continue
            started = time.monotonic()
            print(f"{variant}, {name}: training {len(left)} seeds …", flush=True)
            trained = train_case(known[name], variant, left, meta_iterations)
            new_seeds = [dataclasses.replace(result, **origin) for result in trained]
            now = dataclasses.replace(there, seeds=[*there.seeds, *new_seeds])
            table.setdefault(variant, {})[name] = now
            text = ", ".join(f"{lowest:.2f}" for lowest in sorted(map(lowest_share, now.seeds)))
            print(
                f"{variant}, {name}: {separated(now.seeds)} separate, worst tasks {text} "
                f"({time.monotonic() - started:.0f} s)",
                flush=True,
            )
            write(results, table)
        write(results, table)


def _difference(there: Trained, now: Trained) -> str | None:
    """The first number that is not the same, in words; None where all are."""
    before, after = (
        leaves(dataclasses.asdict(dataclasses.replace(each, seeds=[]))) for each in (there, now)
    )
    different = (name for name in before | after if before.get(name) != after.get(name))
    name = next(different, None)
    if name is None:
        return None
    return f"{name} {before.get(name)} there and {after.get(name)} now"


def planned(case: Case, variant: str, meta_iterations: int) -> Trained:
    """What a case will be trained with under a variant; no seeds yet.

    Args:
        case: what on.
        variant: of `VARIANTS`.
        meta_iterations: of the default; another number of them takes as many env steps, or joint
            iterations. 0 for as many as the case has.
    """
    default, config = case.config(), VARIANTS[variant](case.config())
    longer = default.env_steps_per_meta_iteration / config.env_steps_per_meta_iteration
    if variant == AS_MANY_UPDATES:
        longer = default.joint_iterations / config.joint_iterations
    return Trained(
        round((meta_iterations or case.meta_iterations) * longer),
        config,
        seeds=[],
        env=case.env,
        options=json.loads(json.dumps(dict(case.options))),
    )


def train_case(
    case: Case,
    variant: str,
    seeds: Sequence[int],
    meta_iterations: int = 0,
) -> list[SeedResult]:
    """Trains and measures seeds of a case.

    Args:
        case: what on.
        variant: of `VARIANTS`.
        seeds: which.
        meta_iterations: of training, 0 for as many as the case has.
    """
    from experiments.harness import many_seeds  # with JAX, for which --help does not wait

    env = envs.make(case.env, **case.options)
    default, config = case.config(), VARIANTS[variant](case.config())
    return many_seeds.train_many(
        env,
        config,
        planned(case, variant, meta_iterations).meta_iterations,
        dataclasses.replace(default, master=config.master, macro_length=config.macro_length),
        seeds,
        many_seeds.returns_of_best_actions(env),
        MASTERS_PER_TASK,
        NUM_ENVS,
        many_seeds.STAGGERED if variant == STAGGERED else many_seeds.TOGETHER,
        case.idle_return,
    )


def shares(result: SeedResult) -> np.ndarray:
    """What each fresh master reaches of the best return of its task, `[M, P]`.

    0 is what idling earns, 1 the best.
    """
    best = np.asarray(result.best_returns)[:, None]
    idle = np.asarray(result.idle_returns)[:, None] if result.idle_returns else np.zeros_like(best)
    return (np.asarray(result.adapted_returns) - idle) / (best - idle)


def lowest_share(result: SeedResult) -> float:
    """What fresh masters reach of the best return, on the task where it is least."""
    return float(shares(result).mean(axis=1).min())


def separated(results: Sequence[SeedResult]) -> str:
    """How many seeds serve every task, of how many."""
    return f"{sum(lowest_share(result) >= SERVED for result in results)} of {len(results)}"


def read(path: Path) -> Table:
    """The numbers that are already there.

    Raises:
        ConfigError: the file holds something else.
    """
    table = {
        variant: {
            case: from_file(path, Trained, there, f"{variant}, {case}")
            for case, there in cases.items()
        }
        for variant, cases in read_table(path, dict).items()
    }
    for variant, cases in table.items():
        for case, there in cases.items():
            shapes = {np.shape(result.adapted_returns) for result in there.seeds}
            is_once = len({result.seed for result in there.seeds}) == len(there.seeds)
            if len(shapes) > 1 or not is_once:
                raise ConfigError(
                    f"--results: {path}: {variant}, {case}.seeds: not each once, or not of the "
                    "same tasks; choose another directory"
                )
    return table


def write(directory: Path, table: Table) -> None:
    """Writes the tables into `separation.md`, whose other text stays, and the numbers behind it."""
    directory.mkdir(parents=True, exist_ok=True)
    numbers = {
        variant: {case: dataclasses.asdict(there) for case, there in cases.items()}
        for variant, cases in table.items()
    }
    write_json(directory / _NUMBERS, numbers)
    write_table(directory / _TABLE, "Separation", tables(table))


def tables(table: Table) -> str:
    """The suite with the defaults, what is held out, and how many seeds separate by ingredient."""
    trained = {name for cases in table.values() for name in cases}
    compared = {name for variant, cases in table.items() if variant != "default" for name in cases}
    names = [n for n in CASES if n in trained] + [n for n in HELD_OUT if n in compared]
    variants = [v for v in VARIANTS if any(name in table.get(v, {}) for name in names)]
    lines = [
        "`python -m experiments.separation`; the day of every seed, and its commit where that is "
        f"known, are in `{_NUMBERS}`."
    ]
    if rows := _with_defaults(table, CASES):
        lines += ["", *rows]
    if rows := _with_defaults(table, HELD_OUT):
        lines += ["", f"Beside the suite (`--cases {' '.join(HELD_OUT)}`):", "", *rows]
    if variants:
        lines += ["", f"| | {' | '.join(names)} | measured |", f"|---|{'---|' * len(names)}---|"]
    for variant in variants:
        there = [table[variant].get(name) for name in names]
        cells = [separated(each.seeds) if each else "–" for each in there]
        dates = _dates([seed for each in there if each for seed in each.seeds])
        lines.append(f"| {variant} | {' | '.join(cells)} | {dates} |")
    return "\n".join(lines) + "\n"


def _with_defaults(table: Table, cases: Mapping[str, Case]) -> list[str]:
    """Lines of the table of those cases that were trained with the defaults; none without any."""
    head = [
        "| case | tasks | K | N | meta-iterations | seeds that separate "
        f"| return, 1 is the best | single masters at {SERVED} | nats apart, at least "
        "| measured |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines = []
    for name, case in cases.items():
        there = table.get("default", {}).get(name)
        if there and there.seeds:
            reached = np.stack([shares(result) for result in there.seeds])  # [seeds, M, P]
            lines.append(
                f"| {name} | {case.description} | {case.config().num_subpolicies} "
                f"| {case.config().macro_length} | {there.meta_iterations} "
                f"| {separated(there.seeds)} "
                f"| {interquartile_interval(reached.mean(axis=(1, 2)).tolist())} "
                f"| {np.mean(reached >= SERVED):.1%} "
                f"| {min(min(seed.divergence) for seed in there.seeds):.1f} "
                f"| {_dates(there.seeds)} |"
            )
    return [*head, *lines] if lines else []


def _dates(seeds: Sequence[SeedResult]) -> str:
    """The days on which they were measured, from the first to the last."""
    days = sorted({seed.date for seed in seeds if seed.date})
    return " to ".join(days if len(days) < 2 else [days[0], days[-1]]) or "–"


if __name__ == "__main__":
    run_main(main)
