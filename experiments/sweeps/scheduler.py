"""Which trials are trained and which are dropped: Optuna's proposals for a population's places."""

import dataclasses
import itertools
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from experiments.sweeps import Sampler
from experiments.sweeps.space import Space, structure
from experiments.sweeps.storage import open_storage
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError, RunError

Placement = Mapping[str, tuple[int, int]]
"""Which trial has which place of a population, and at which age."""

_PURPOSE = "purpose"  # an attribute of a study
_JOURNAL = "study.journal"
_OWNER = "sweep"
_SEED_RETURNS = "seed_returns/"  # and the meta-iteration; Optuna's storage is only ever added to


@dataclasses.dataclass
class Place:
    """A place of the population that is taken.

    Attributes:
        trial: the trial that has it.
        chosen: the values of the trial.
        age: meta-iterations of training so far.
        recorded: the age up to which it was recorded, higher than `age` if training starts anew.
    """

    trial: optuna.Trial
    chosen: dict[str, Any]
    age: int = 0
    recorded: int = 0


def seed_returns(trial: optuna.trial.FrozenTrial) -> list[list[float | None]]:
    """The returns of every seed after every meta-iteration of a trial, None where not finite."""
    recorded = {
        int(name.removeprefix(_SEED_RETURNS)): returns
        for name, returns in trial.user_attrs.items()
        if name.startswith(_SEED_RETURNS)
    }
    return [recorded[age] for age in sorted(recorded)]


class Scheduler:
    """Fills the places of populations with trials and records them after every meta-iteration.

    All trials of a population have the same structure; those of another structure wait until
    that population has ended.

    Args:
        study: where trials are proposed and recorded.
        sampler_of: makes the sampler that proposes the trial of a number, so that proposals do
            not depend on interruptions.
        owner: the sweep, where others use the same study; None where it is alone.
        space: what is tried.
        check_fit: raises `ConfigError` for a configuration that does not fit the environment.
        num_trials: how many trials the study is to have in the end.
        num_places: trials that are trained side by side.
        meta_iterations: of a trial that is not dropped.
        placed: what `placement` returned when the population was saved from which an interrupted
            sweep goes on; its other unfinished trials are trained from their beginning.
    """

    def __init__(
        self,
        study: optuna.Study,
        sampler_of: Callable[[int], optuna.samplers.BaseSampler],
        owner: str | None,
        space: Space,
        check_fit: Callable[[MLSHConfig], None],
        num_trials: int,
        num_places: int,
        meta_iterations: int,
        placed: Placement | None = None,
    ) -> None:
        """Gives the trials that an interrupted sweep left unfinished their places."""
        self.study = study
        self._sampler_of = sampler_of
        self._owner = owner
        self._space = space
        self._check_fit = check_fit
        self._num_trials = num_trials
        self._meta_iterations = meta_iterations
        self._places: list[Place | None] = [None] * num_places
        self._waiting: dict[str, list[Place]] = defaultdict(list)
        self._refused: dict[str, str] = {}
        unfinished = {
            frozen.number: frozen
            for frozen in study.get_trials(states=(TrialState.RUNNING,))
            if frozen.user_attrs.get(_OWNER) == owner or owner is None
        }
        for i, (number, age) in (placed or {}).items():
            if number in unfinished:
                self._places[int(i)] = self._admit_again(unfinished.pop(number), age)
        for frozen in unfinished.values():
            place = self._admit_again(frozen, 0)
            if place is not None:
                self._waiting[_key(place.chosen)].append(place)

    def next_structure(self) -> dict[str, Any] | None:
        """The structure of the next population; None when all trials are done."""
        for place in self._places:
            if place is not None:
                return structure(place.chosen)
        if not any(self._waiting.values()):
            place = self._ask()
            if place is None:
                return None
            self._waiting[_key(place.chosen)].append(place)
        return json.loads(max(self._waiting, key=lambda key: len(self._waiting[key])))

    def fill(self, of_structure: dict[str, Any]) -> dict[int, tuple[int, dict[str, Any]]]:
        """Puts trials of one structure on free places.

        Returns:
            The places that are taken, each with the age of its trial and the values of it; none
            when there is nothing left to train.
        """
        for i, place in enumerate(self._places):
            if place is None:
                self._places[i] = self._next(json.dumps(of_structure))
                if self._places[i] is None:
                    break
        return {i: (place.age, place.chosen) for i, place in self._taken()}

    def record(self, returns: np.ndarray) -> None:
        """Records a meta-iteration and frees the places of trials that it ended.

        Args:
            returns: of the seeds of every place, also of free ones, `[P, S]`; a trial is judged by
                their mean.
        """
        for i, place in self._taken():
            value = float(returns[i].mean())
            place.age += 1
            finite = [x if math.isfinite(x) else None for x in returns[i].tolist()]
            place.trial.set_user_attr(f"{_SEED_RETURNS}{place.age}", finite)
            if not math.isfinite(value):
                self._fail(place.trial, f"diverged in meta-iteration {place.age}")
            elif place.age == self._meta_iterations:
                place.trial.report(value, place.age)
                self.study.tell(place.trial, value)
            elif place.age > place.recorded:
                place.trial.report(value, place.age)
                if not place.trial.should_prune():
                    continue
                self.study.tell(place.trial, state=TrialState.PRUNED)
            else:
                continue
            self._places[i] = None

    def refuse(self, of_structure: dict[str, Any], reason: str) -> bool:
        """Fails all trials of a structure that cannot be trained here, those to come included.

        Returns:
            Whether it did: not where this could be another time's or another sweep's structure, or
            where there is no other.
        """
        placed = any(place.age for _, place in self._taken())
        if not of_structure or placed or self._owner is not None:
            return False
        key = json.dumps(of_structure)
        self._refused[key] = reason
        for i, place in self._taken():
            self._fail(place.trial, reason)
            self._places[i] = None
        for place in self._waiting.pop(key, []):
            self._fail(place.trial, reason)
        return True

    def placement(self) -> Placement:
        """The place and the age of every trial, to be saved with the states of the population."""
        return {str(i): (place.trial.number, place.age) for i, place in self._taken()}

    def _taken(self) -> list[tuple[int, Place]]:
        return [(i, place) for i, place in enumerate(self._places) if place is not None]

    def _next(self, key: str) -> Place | None:
        if self._waiting[key]:
            return self._waiting[key].pop(0)
        while sum(map(len, self._waiting.values())) < len(self._places):
            place = self._ask()
            if place is None:
                return None
            if _key(place.chosen) == key:
                return place
            self._waiting[_key(place.chosen)].append(place)
        return None

    def _ask(self) -> Place | None:
        """A new trial whose values fit together; None when there are enough."""
        while True:
            trials = self.study.get_trials(deepcopy=False)
            if sum(t.state != TrialState.WAITING for t in trials) >= self._num_trials:
                return None
            trial = self.study.ask()
            self.study.sampler = self._sampler_of(trial.number)
            if self._owner is not None:
                trial.set_user_attr(_OWNER, self._owner)
            place = self._admit(trial)
            if place is not None:
                return place

    def _admit_again(self, frozen: optuna.trial.FrozenTrial, age: int) -> Place | None:
        """A place for a trial of an interrupted sweep, which goes on under its own number."""
        self.study.sampler = self._sampler_of(frozen.number)
        place = self._admit(optuna.Trial(self.study, frozen._trial_id))
        if place is not None:
            place.age, place.recorded = age, frozen.last_step or 0
        return place

    def _admit(self, trial: optuna.Trial) -> Place | None:
        """A place for a trial; None, and the trial failed, if its values do not fit together."""
        chosen = self._space.suggest(trial)
        try:
            self._check_fit(self._space.config(chosen))
        except ConfigError as error:
            self._fail(trial, str(error))
            return None
        if _key(chosen) in self._refused:
            self._fail(trial, self._refused[_key(chosen)])
            return None
        return Place(trial, chosen)

    def _fail(self, trial: optuna.Trial, reason: str) -> None:
        print(f"trial {trial.number} failed: {reason}", flush=True)
        trial.set_user_attr("failure", reason)
        self.study.tell(trial, state=TrialState.FAIL)


def open_study(
    name: str,
    directory: Path,
    storage: str | None,
    pruner: optuna.pruners.BasePruner,
    purpose: Mapping[str, Any] | None = None,
) -> optuna.Study:
    """Opens or makes a study, in a journal file in `directory` unless a storage is given.

    Args:
        name: of the study.
        directory: of the run.
        storage: URL of a database; None for a file in the directory.
        pruner: of its trials.
        purpose: a JSON object that says what is tried in it, the same for all who share it.

    Raises:
        ConfigError: the storage cannot be opened, or the study is of another kind.
        RunError: the journal is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    backend: Any = None if storage is None else open_storage(storage)
    try:
        if storage is None:
            backend = JournalStorage(JournalFileBackend(str(directory / _JOURNAL)))
        study = optuna.create_study(
            storage=backend,
            pruner=pruner,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
    except (ValueError, LookupError) as error:
        if storage is not None:
            raise
        raise RunError(f"{directory / _JOURNAL}: is damaged ({error})") from None
    if study.directions != [optuna.study.StudyDirection.MAXIMIZE]:
        raise ConfigError(f"--study: {name} is there already with other goals; use another name")
    if purpose is not None:
        _require_purpose(study, json.loads(json.dumps(purpose)))
    return study


def _require_purpose(study: optuna.Study, purpose: dict[str, Any]) -> None:
    """Refuses a study in which something else is tried; one that is empty is taken."""
    known = study.user_attrs.get(_PURPOSE)
    if not isinstance(known, dict) and (known or study.get_trials(deepcopy=False)):
        raise ConfigError(
            f"--study: {study.study_name} has trials and does not say what is tried in it; use "
            "another name"
        )
    if not known:
        study.set_user_attr(_PURPOSE, purpose)
        return
    for field, value in purpose.items():
        if known.get(field) != value:
            raise ConfigError(
                f"--study: {study.study_name} is there already with another {field} "
                f"({known.get(field)!r}); use another name"
            )


def journal_length(directory: Path) -> int:
    """Bytes of the journal in a directory, which is only ever added to; 0 without one."""
    path = directory / _JOURNAL
    return path.stat().st_size if path.exists() else 0


def rewind_journal(directory: Path, length: int) -> None:
    """Forgets what came after the journal had that length.

    What an interrupted sweep has recorded after its last checkpoint is trained again. Proposals
    depend on all that was recorded, and are to be the same again.

    Raises:
        RunError: it is shorter than that.
    """
    if journal_length(directory) < length:
        raise RunError(f"{directory / _JOURNAL}: is damaged: shorter than when it was saved")
    if journal_length(directory):
        os.truncate(directory / _JOURNAL, length)


def make_sampler(name: Sampler, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of that name; a grid is put in line by `line_up_grid`.

    Optuna's own grid sampler works only inside of its own loop, and its `CmaEsSampler` unpickles
    what it finds in the study, which may be anyone's.

    Raises:
        ConfigError: it cannot sample the space.
    """
    if name == "grid":
        space.grid()
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def line_up_grid(study: optuna.Study, space: Space, num_trials: int) -> int:
    """Makes a study try the points of the grid first; returns how many are to be tried.

    Raises:
        ConfigError: a field of the space is a range.
    """
    grid = space.grid()
    points = list(itertools.islice(itertools.product(*grid.values()), num_trials))
    for point in points[len(study.get_trials(deepcopy=False)) :]:
        study.enqueue_trial(dict(zip(grid, point, strict=True)))
    return len(points)


def _key(chosen: dict[str, Any]) -> str:
    return json.dumps(structure(chosen))
