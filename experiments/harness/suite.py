"""What the suite for separation is made of: sets of tasks, and changes of the library's defaults.

Nothing here imports JAX, so that `--help` is quick.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from experiments.harness.config import changing
from mlsh_jax.config import MASTER, MLSHConfig


@dataclasses.dataclass(frozen=True)
class Case:
    """A set of tasks, and what has to be chosen for it.

    Attributes:
        description: for the table.
        env: name of the environment.
        options: of the environment.
        numbers: fields of `MLSHConfig`: K, N, G, E and D, and nothing else.
        meta_iterations: of training.
        idle_return: of an episode in which nothing is done for the task.
    """

    description: str
    env: str
    options: Mapping[str, Any]
    numbers: Mapping[str, Any]
    meta_iterations: int = 40
    idle_return: float = 0.0

    def config(self) -> MLSHConfig:
        """The library's defaults for it."""
        return MLSHConfig(**self.numbers)


def _small(num_subpolicies: int, num_tasks: int = 12, **numbers: int) -> dict[str, int]:
    """Batches of one episode of 30 steps in each of 20 environments."""
    batch = {"num_envs": 20, "steps_per_iteration": 600}
    return {"num_subpolicies": num_subpolicies, "num_tasks": num_tasks} | batch | numbers


def _points(num_points: int) -> Case:
    batch = {"num_tasks": 12, "num_envs": 40, "steps_per_iteration": 2000}
    return Case(
        f"moving_bandits with {num_points} points",
        "moving_bandits",
        {"num_points": num_points},
        {"num_subpolicies": num_points} | batch,
        meta_iterations=25,
    )


def _chain(links: int) -> Case:
    batch = {"macro_length": 1, "num_tasks": 10, "steps_per_iteration": 100 * links}
    return Case(
        f"a chain of {links} steps, the last one paid for what others did before, N 1",
        "handover_chain",
        {"links": links},
        _small(2, **batch),
    )


CASES: dict[str, Case] = {
    "corridor": Case("both ends of a corridor", "goal_corridor", {}, _small(2)),
    "pay3": Case("one end pays 3 times as much", "goal_corridor", {"pays": (1.0, 3.0)}, _small(2)),
    "pay10": Case(
        "one end pays 10 times as much", "goal_corridor", {"pays": (1.0, 10.0)}, _small(2)
    ),
    "k8": Case("8 sub-policies for both ends", "goal_corridor", {}, _small(8)),
    "points2": _points(2),
    "points3": _points(3),
    "points4": _points(4),
    "star2": Case("2 goals around a point mass", "goal_star", {"num_goals": 2}, _small(2)),
    "star4": Case("4 goals around it", "goal_star", {"num_goals": 4}, _small(4), 60),
    "star6": Case("6 goals around it", "goal_star", {"num_goals": 6}, _small(6), 60),
    "ring": Case(
        "8 wide goals around it, 4 sub-policies, N 5",
        "goal_star",
        {"num_goals": 8, "radius": 1.2},
        _small(4, num_tasks=16, macro_length=5),
        120,
    ),
    "relay": Case(
        "a key and a door, fetched by one and opened by another, N 5",
        "goal_relay",
        {},
        _small(2, macro_length=5, steps_per_iteration=1200),
    ),
    "chain2": _chain(2),
    "chain3": _chain(3),
    "crowd": Case(
        "3 goals, of which 6, 2 and 1 of the tasks pay at each",
        "goal_star",
        {"num_goals": 3, "tasks_each": (6, 2, 1)},
        _small(3, num_tasks=9),
    ),
    "minority": Case(
        "9 tasks want the right end, 1 the left",
        "goal_corridor",
        {"tasks_each": (1, 9)},
        _small(2, 10),
    ),
}

HELD_OUT: dict[str, Case] = {
    "rooms": Case("the corners of four rooms", "corner_rooms", {}, _small(4)),
    "codes": Case("4 codes of buttons and times", "hidden_codes", {}, _small(4)),
    "wheel": Case("3 speeds of a wheel", "wheel_speeds", {}, _small(3)),
    "race": Case(
        "3 goals, each step costs 1 until the goal ends the episode",
        "goal_race",
        {},
        _small(3),
        idle_return=-30.0,
    ),
    "ridges": Case(
        "4 goals at the ends of ridges off which one falls", "goal_ridges", {}, _small(4)
    ),
    "effort": Case("4 goals, where moves cost", "goal_star", {"effort": 0.1}, _small(4)),
    "effort_crowd": Case(
        "3 goals, wanted by 6, 2 and 1 of the tasks, where moves cost",
        "goal_star",
        {"num_goals": 3, "tasks_each": (6, 2, 1), "effort": 0.1},
        _small(3, num_tasks=9),
    ),
    "near": Case(
        "4 goals, where every step costs the distance",
        "goal_near",
        {},
        _small(4),
        idle_return=-60.6,
    ),
    "patterns": Case("4 patterns of 6 switches", "hidden_patterns", {}, _small(4)),
}
"""Cases the defaults were not chosen by; results/separation.md says more of ridges and race."""

STAGGERED = "staggered groups"
"""The variant whose lives do not all begin at the same time."""
AS_MANY_UPDATES = "U 1, as many updates of φ"
"""The variant that is trained for as many joint iterations as the default, not env steps."""

Change = Callable[[MLSHConfig], MLSHConfig]


class Ingredient(NamedTuple):
    """What the library's defaults have and the algorithm as published has not.

    Attributes:
        without: what a variant is called that lacks it alone.
        alone: what a variant is called that has no other one.
        leave_out: changes the defaults to those without it.
        put_in: changes a configuration that lacks it to one that has it.
    """

    without: str
    alone: str
    leave_out: Change
    put_in: Change


INGREDIENTS = (
    Ingredient(
        "credit of a slice alone",
        "only the credit of the hierarchy",
        changing(credit="subpolicy"),
        changing(credit="hierarchy"),
    ),
    Ingredient(
        "critics that do not know the task",
        "only critics that know the task",
        changing(task_critic=False),
        changing(task_critic=True),
    ),
    Ingredient(
        "tasks by their pay",
        "only tasks that count alike",
        changing(equal_tasks=False),
        changing(equal_tasks=True),
    ),
    Ingredient(
        "usage not balanced",
        "only balanced usage",
        changing(balance_usage=False),
        changing(balance_usage=True),
    ),
    Ingredient(
        "masters see standardized observations",
        "only masters that see raw observations",
        changing(master={"normalize_observations": True}),
        changing(master={"normalize_observations": False}),
    ),
    Ingredient(
        "no bonus on masters' entropy",
        "only a bonus on masters' entropy",
        changing(master={"entropy_coefficient": 0.0}),
        changing(master={"entropy_coefficient": MASTER.entropy_coefficient}),
    ),
    Ingredient(
        "no sub-policy begins anew",
        "only sub-policies that begin anew",
        changing(renew_subpolicies=False),
        changing(renew_subpolicies=True),
    ),
)


def in_turn(*changes: Change) -> Change:
    """One change after the other."""
    return lambda config: functools.reduce(lambda so_far, change: change(so_far), changes, config)


without_ingredients = in_turn(*(ingredient.leave_out for ingredient in INGREDIENTS))
"""The defaults without any of the ingredients."""

VARIANTS: dict[str, Change] = {
    "default": changing(),
    **{ingredient.without: ingredient.leave_out for ingredient in INGREDIENTS},
    "none of these seven": without_ingredients,
    **{each.alone: in_turn(without_ingredients, each.put_in) for each in INGREDIENTS},
    "a bonus on sub-policies' entropy": changing(subpolicy={"entropy_coefficient": 0.01}),
    "masters' epochs 10": changing(master={"epochs": 10}),
    "steps of 1e-3": changing(subpolicy={"learning_rate": 1e-3}),
    "W 0": changing(warmup_iterations=0),
    "W 0, U 1": changing(warmup_iterations=0, joint_iterations=1),
    "U 1": changing(joint_iterations=1),
    AS_MANY_UPDATES: changing(joint_iterations=1),
    "N 1": changing(macro_length=1),
    "G 10": changing(num_tasks=10),
    "tasks drawn at random": changing(stratify_tasks=False),
    STAGGERED: changing(),
}
