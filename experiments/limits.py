"""What K sub-policies that are held for N steps can earn in four rooms, at least.

The world's probabilities are known. So the return of masters that choose best over given
sub-policies, by the cell and the time that is left, is computed exactly, by value iteration over
slices, and so is its gradient in the sub-policies, which are tables here, of actions by cell or by
the walls around it.
Gradient ascent from random starts ends in sub-policies that nobody has to find by trial and error,
the best of which are reported; better ones may exist. Writes the table in `results/limits.md`.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

import envs
from experiments.harness.pages import here_and_now, holding, measured_by, write_table
from experiments.harness.results import from_file, read_table
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.launch import run_main, start_jax
from mlsh_jax.host.options import call
from mlsh_jax.host.serialization import write_json
from mlsh_jax.rl.config import require

Seen = Literal["cells", "walls"]

_TABLE, _NUMBERS = "limits.md", "limits.json"
_SETS = ("training", "all")
_WORDS = {"training": "the goals of training", "all": "all 103 goals"}
_LENGTH = 100  # of an episode
_STEP_SIZE = 0.1
_COLDEST = 0.02
"""Masters' choices are softened, so that sub-policies that are not chosen yet have a gradient: by a
temperature in units of the return that goes from 1 to this one, and is 0 in what is reported."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """What was found for what sub-policies see, a K, an N and the goals that they are good for.

    Attributes:
        starts: that ascent began with.
        steps: of each ascent.
        training: share of the best possible return, mean over the 83 goals of training.
        unseen: over the 20 others.
        measured: when and on what; empty where that is not known.
    """

    starts: int
    steps: int
    training: float
    unseen: float
    measured: str = ""


def main(argv: Sequence[str] | None = None) -> None:
    """Computes what the command line names."""
    call(compute, argv, "python -m experiments.limits")


def compute(
    results: Path = Path("results"),
    subpolicies_see: tuple[Seen, ...] = ("cells", "walls"),
    num_subpolicies: tuple[int, ...] = (4, 8),
    macro_lengths: tuple[int, ...] = (25, 10, 5, 2),
    steps: int = 400,
    starts: int = 2,
) -> None:
    """Finds the best sub-policies for every K and N, one after the other.

    Args:
        results: where the table is, or will be.
        subpolicies_see: cells, or the walls around them.
        num_subpolicies: values of K.
        macro_lengths: values of N, divisors of the 100 steps of an episode.
        steps: of gradient ascent.
        starts: random sub-policies that it begins with.
    """
    _require_counts("--num-subpolicies", num_subpolicies, 1000)
    _require_counts("--macro-lengths", macro_lengths, _LENGTH)
    _require_counts("--steps", [steps], 10**6)
    _require_counts("--starts", [starts], 1000)
    for length in macro_lengths:
        require(_LENGTH % length == 0, "--macro-lengths", f"{length} does not divide {_LENGTH}")
    with holding(results, _TABLE):
        table = read(results / _NUMBERS)
        for name, there in table.items():
            if (there.starts, there.steps) != (starts, steps):
                raise ConfigError(
                    f"--steps: {results / _NUMBERS} has {name!r} with {there.starts} starts of "
                    f"{there.steps} steps and not {starts} of {steps}; choose another --results"
                )
        start_jax()
        for seen, length, number, goals in itertools.product(
            subpolicies_see, macro_lengths, num_subpolicies, _SETS
        ):
            name = f"{seen} {number} {length} {goals}"
            if name not in table:
                table[name] = best(seen, number, length, goals, steps, starts)
            there = table[name]
            print(
                f"sub-policies see {seen}, K {number}, N {length}, best for {_WORDS[goals]}: "
                f"{there.training:.2f} of the optimum on those of training, {there.unseen:.2f} on "
                f"unseen ones",
                flush=True,
            )
            write(results, table)


def best(
    subpolicies_see: str,
    num_subpolicies: int,
    macro_length: int,
    goals: str,
    steps: int,
    starts: int,
) -> Limit:
    """The best sub-policies for the goals of a set that gradient ascent finds."""
    import jax
    import jax.numpy as jnp
    import optax

    everywhere, unseen = (envs.make("four_rooms", goals=name) for name in ("all", "unseen"))
    optimum = everywhere.best_returns()
    assert optimum is not None
    all_names = list(everywhere.task_names)
    rows = [all_names.index(name) for name in envs.make("four_rooms", goals=goals).task_names]
    held_out = [all_names.index(name) for name in unseen.task_names]
    seen = sorted(set(range(len(all_names))) - set(held_out))
    shares = functools.partial(shares_of_optimum, everywhere, optimum, macro_length)
    blocked = everywhere.unwrapped.blocked
    what = np.packbits(blocked, axis=1)[:, 0] if subpolicies_see == "walls" else range(len(blocked))
    kinds, kind = np.unique(np.asarray(what), return_inverse=True)  # kind: [cells]

    def loss(logits: jax.Array, temperature: jax.Array) -> jax.Array:
        return -shares(logits[:, kind], temperature)[jnp.asarray(rows)].mean()

    optimizer = optax.adam(optax.cosine_decay_schedule(_STEP_SIZE, steps))

    def ascend(carry: Any, step: jax.Array) -> tuple[Any, None]:
        logits, state = carry
        temperature = jnp.maximum(_COLDEST, 1 - step / (0.8 * steps))
        updates, state = optimizer.update(jax.grad(loss)(logits, temperature), state)
        return (optax.apply_updates(logits, updates), state), None

    @jax.jit
    def found(key: jax.Array) -> jax.Array:
        logits = jax.random.normal(key, (num_subpolicies, len(kinds), blocked.shape[1]))
        carry = (logits, optimizer.init(logits))
        (logits, _), _ = jax.lax.scan(ascend, carry, jnp.arange(steps))
        return shares(logits[:, kind], None)

    found_shares = [np.asarray(found(jax.random.key(start))) for start in range(starts)]
    of_goals = max(found_shares, key=lambda of_goals: of_goals[rows].mean())
    means = [float(of_goals[which].mean()) for which in (seen, held_out)]
    return Limit(starts, steps, means[0], means[1], here_and_now())


def shares_of_optimum(
    env: Any, optimum: np.ndarray, macro_length: int, logits: Any, temperature: Any
) -> Any:
    """What masters earn that choose best, as a share of what the best player of a goal earns.

    Args:
        env: `four_rooms`.
        optimum: of each goal, [M].
        macro_length: N.
        logits: of the sub-policies' actions, [K, cells, A].
        temperature: of masters' choices; None for the best ones.

    Returns:
        Of each goal, [M].
    """
    import jax
    import jax.numpy as jnp

    from envs.grids.four_rooms import START

    world = env.unwrapped
    moves = jnp.asarray(world.moves, jnp.float32)  # [cells, A, cells]
    step = jnp.einsum("ksa,sat->kst", jax.nn.softmax(logits), moves)
    after, visits = step, step  # [K, cells, cells]: after n steps, and in all of the first n
    for _ in range(macro_length - 1):
        after = after @ step
        visits = visits + after
    pays = visits[:, :, jnp.asarray(world.goals)]  # [K, cells, M]

    def slice_earlier(values: jax.Array, _: None) -> tuple[jax.Array, None]:
        choices = pays + jnp.einsum("kst,tm->ksm", after, values)
        if temperature is None:
            return choices.max(axis=0), None
        weights = jax.nn.softmax(choices / temperature, axis=0)
        return (weights * choices).sum(axis=0), None

    nothing = jnp.zeros(pays.shape[1:])
    num_slices = env.episode_length // macro_length
    values, _ = jax.lax.scan(slice_earlier, nothing, length=num_slices)
    return values[START] / jnp.asarray(optimum)


def read(path: Path) -> dict[str, Limit]:
    """The numbers that are already there.

    Raises:
        ConfigError: the file holds something else.
    """
    table = read_table(path, dict)
    for name in table:
        seen, number, length, goals = [*name.split(), *[""] * 4][:4]
        numbers = number.isdecimal() and length.isdecimal()
        if not (seen in get_args(Seen) and numbers and goals in _SETS):
            raise ConfigError(f"--results: {path}: {name!r} is no row; choose another directory")
    return {name: from_file(path, Limit, there, name) for name, there in table.items()}


def write(directory: Path, table: dict[str, Limit]) -> None:
    """Writes the table into `limits.md`, whose other text stays, and the numbers behind it."""
    table = dict(sorted(table.items(), key=_place))
    write_json(
        directory / _NUMBERS, {name: dataclasses.asdict(there) for name, there in table.items()}
    )
    lines = [
        f"{measured_by('experiments.limits', [there.measured for there in table.values()])}.",
        "",
        "| sub-policies see | K | N | and are best for | 83 goals of training | 20 unseen goals |",
        "|---|---|---|---|---|---|",
    ]
    for name, there in table.items():
        seen, number, length, goals = name.split()
        shares = f"{there.training:.2f} | {there.unseen:.2f}"
        lines.append(f"| {seen} | {number} | {length} | {_WORDS[goals]} | {shares} |")
    write_table(directory / _TABLE, "Limits", "\n".join(lines) + "\n")


def _place(row: tuple[str, Limit]) -> tuple[int, int, int, int]:
    """Of a row: those of cells first, long choices, then few sub-policies."""
    seen, number, length, goals = row[0].split()
    return get_args(Seen).index(seen), -int(length), int(number), _SETS.index(goals)


def _require_counts(option: str, values: Sequence[int], most: int) -> None:
    require(
        bool(values) and all(1 <= value <= most for value in values),
        option,
        f"must be from 1 to {most}, got {' '.join(map(str, values)) or 'nothing'}",
    )


if __name__ == "__main__":
    run_main(main)
