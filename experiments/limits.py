"""What K sub-policies that are held for N steps can earn in four rooms, whoever learns them.

The world's probabilities are known. So the return of masters that choose best over given
sub-policies, by the cell and the time that is left, is computed exactly, by value iteration over
slices, and so is its gradient in the sub-policies, which are tables of cells and actions here.
Gradient ascent from a random start ends in better ones than anybody has learned from experience: as
much as is to be had for their K and N, or nearly so. Writes the table in `results/limits.md`.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import envs
from experiments.harness.pages import check_writable, measured_by, write_table
from experiments.harness.results import from_file, read_table
from mlsh_jax.host.launch import run_main, start_jax
from mlsh_jax.host.options import call
from mlsh_jax.host.serialization import write_json
from mlsh_jax.rl.config import require

_TABLE, _NUMBERS = "limits.md", "limits.json"
_SETS = ("training", "all")
_STEP_SIZE = 0.1
_COLDEST = 0.02
"""Masters' choices are softened, so that sub-policies that are not chosen yet have a gradient: by a
temperature in units of the return that goes from 1 to this one, and is 0 in what is reported."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """What was found for a K, an N and the goals that sub-policies are good for.

    Attributes:
        training: share of the best possible return, mean over the 83 goals of training.
        unseen: over the 20 others.
    """

    training: float
    unseen: float


def main(argv: Sequence[str] | None = None) -> None:
    """Computes what the command line names."""
    call(compute, argv, "python -m experiments.limits")


def compute(
    results: Path = Path("results"),
    num_subpolicies: tuple[int, ...] = (4, 8),
    macro_lengths: tuple[int, ...] = (25, 10, 5, 2, 1),
    steps: int = 800,
    seed: int = 0,
) -> None:
    """Finds the best sub-policies for every K and N, one after the other.

    Args:
        results: where the table is, or will be.
        num_subpolicies: values of K.
        macro_lengths: values of N, divisors of the 100 steps of an episode.
        steps: of gradient ascent.
        seed: of the sub-policies to begin with.
    """
    for length in macro_lengths:
        require(length >= 1 and 100 % length == 0, "macro_lengths", f"{length} does not divide 100")
    require(min(num_subpolicies) >= 1, "num_subpolicies", "must be at least 1")
    require(steps >= 1, "steps", f"must be at least 1, got {steps}")
    check_writable(results)
    table = read(results / _NUMBERS)
    start_jax()
    for length in macro_lengths:
        for number in num_subpolicies:
            for goals in _SETS:
                name = f"{number} {length} {goals}"
                if name not in table:
                    table[name] = best(number, length, goals, steps, seed)
                    print(f"K {number}, N {length}, {goals}: {table[name]}", flush=True)
                    write(results, table)


def best(num_subpolicies: int, macro_length: int, goals: str, steps: int, seed: int) -> Limit:
    """The best sub-policies that gradient ascent finds for the goals of a set."""
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

    def loss(logits: jax.Array, temperature: jax.Array) -> jax.Array:
        return -shares(logits, temperature)[jnp.asarray(rows)].mean()

    optimizer = optax.adam(optax.cosine_decay_schedule(_STEP_SIZE, steps))

    def ascend(carry: Any, step: jax.Array) -> tuple[Any, None]:
        logits, state = carry
        temperature = jnp.maximum(_COLDEST, 1 - step / (0.8 * steps))
        updates, state = optimizer.update(jax.grad(loss)(logits, temperature), state)
        return (optax.apply_updates(logits, updates), state), None

    @jax.jit
    def found(key: jax.Array) -> jax.Array:
        moves = everywhere.unwrapped.moves
        logits = jax.random.normal(key, (num_subpolicies, *moves.shape[:2]))
        carry = (logits, optimizer.init(logits))
        (logits, _), _ = jax.lax.scan(ascend, carry, jnp.arange(steps))
        return shares(logits, None)

    of_goals = np.asarray(found(jax.random.key(seed)))
    return Limit(float(of_goals[seen].mean()), float(of_goals[held_out].mean()))


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
    return values[world.start] / jnp.asarray(optimum)


def read(path: Path) -> dict[str, Limit]:
    """The numbers that are already there.

    Raises:
        ConfigError: the file holds something else.
    """
    table = read_table(path, dict)
    return {name: from_file(path, Limit, there, name) for name, there in table.items()}


def write(directory: Path, table: dict[str, Limit]) -> None:
    """Writes the table into `limits.md`, whose other text stays, and the numbers behind it."""
    write_json(
        directory / _NUMBERS, {name: dataclasses.asdict(there) for name, there in table.items()}
    )
    lines = [
        f"{measured_by('experiments.limits')}.",
        "",
        "| K | N | sub-policies that are best for | 83 goals of training | 20 unseen goals |",
        "|---|---|---|---|---|",
    ]
    words = {"training": "the goals of training", "all": "all 103 goals"}
    for name, there in table.items():
        number, length, goals = name.split()
        lines.append(
            f"| {number} | {length} | {words[goals]} | {there.training:.2f} | {there.unseen:.2f} |"
        )
    write_table(directory / _TABLE, "Limits", "\n".join(lines) + "\n")


if __name__ == "__main__":
    run_main(main)
