"""Groups of runs beside each other: task by task, and while fresh masters adapt.

After Agarwal et al. 2021 (arXiv 2108.13264): the probability of improvement (section 4.3) and
performance profiles (section 4.2). Bootstraps draw runs, each with all of its tasks, as tasks of a
run share its sub-policies.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.harness.recorded import Recorded
from mlsh_jax.statistics import Interval, probability_of_improvement, profile_interval

SHARES = np.linspace(0.0, 1.0, 51)
"""Of the best possible return, at which profiles are drawn."""

Groups = Mapping[str, Sequence[Recorded]]
"""Runs by the label of their group."""


def improvements(groups: Groups) -> list[dict[str, Any]]:
    """How probable it is that a run of one group is better on a task than one of another.

    Only groups of the same world are compared, on the tasks that all of their runs have.

    Returns:
        Of every pair its labels (`group`, `than`), the number of `tasks`, and the `Interval` as
        `probability`.
    """
    pairs = []
    for (label, group), (other, than) in itertools.combinations(_finished(groups).items(), 2):
        names = _common_tasks([*group, *than])
        if names and all(one.is_of_the_world_of(run) for one in group for run in (*group, *than)):
            probability = probability_of_improvement(_returns(group, names), _returns(than, names))
            pairs.append(
                {"group": label, "than": other, "tasks": len(names), "probability": probability}
            )
    return pairs


def profiles(groups: Groups) -> dict[str, list[Interval]]:
    """Of each group the share of runs and tasks that come to at least `SHARES` of the best return.

    Groups of which it is not known what is possible, or where that is not positive, have none.
    """
    of_groups = {label: shares_of_best(group) for label, group in _finished(groups).items()}
    return {
        label: profile_interval(shares, SHARES)
        for label, shares in of_groups.items()
        if shares is not None
    }


def shares_of_best(finished: Sequence[Recorded]) -> np.ndarray | None:
    """What finished runs come to on the tasks that all have, by the best return, `[R, M]`.

    None where that is not known, or not positive, and where there are no runs.
    """
    names = _common_tasks(finished) if finished else []
    best = [[run.best_returns.get(name, 0.0) for name in names] for run in finished]
    return _returns(finished, names) / np.asarray(best) if names and np.min(best) > 0 else None


def _finished(groups: Groups) -> dict[str, list[Recorded]]:
    finished = {label: [run for run in group if run.summary] for label, group in groups.items()}
    return {label: group for label, group in finished.items() if group}


def _common_tasks(runs: Sequence[Recorded]) -> list[str]:
    """Names of the tasks on which every run has a return."""
    first, *others = [run.task_returns for run in runs]
    return [name for name in first if all(name in other for other in others)]


def _returns(runs: Sequence[Recorded], names: Sequence[str]) -> np.ndarray:
    """`[R, M]`."""
    return np.asarray([[run.task_returns[name] for name in names] for run in runs])
