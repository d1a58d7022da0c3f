"""Who is tried next and who is dropped: Optuna's proposals for the places of a population."""

import dataclasses
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from experiments.space import Space, structure
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError

Sampler = Literal["tpe", "random", "grid", "cmaes"]

_OWNER = "sweep"
_INTERRUPTED = "interrupted"


@dataclasses.dataclass
class Place:
    """A place of the population that is taken.

    Attributes:
        trial: who has it.
        chosen: the values of the trial.
        age: meta-iterations of training so far.
    """

    trial: optuna.Trial
    chosen: dict[str, Any]
    age: int = 0


class Referee:
    """Fills the places of populations with trials and judges them after every meta-iteration.

    All trials of a population have the same structure; those of another structure wait until
    that population has ended.

    Args:
        study: where trials are proposed and recorded.
        owner: the sweep; its trials that are found running belong to an interrupted one of it.
        space: what is tried.
        check_fit: raises `ConfigError` for a configuration that does not fit the environment.
        num_trials: how many trials the study is to have in the end.
        num_places: trials that are trained side by side.
        meta_iterations: of a trial that is not dropped.
    """

    def __init__(
        self,
        study: optuna.Study,
        owner: str,
        space: Space,
        check_fit: Callable[[MLSHConfig], None],
        num_trials: int,
        num_places: int,
        meta_iterations: int,
    ) -> None:
        """Trials that an interrupted sweep left unfinished are put back to be tried again."""
        self.study = study
        self._owner = owner
        self._space = space
        self._check_fit = check_fit
        self._num_trials = num_trials
        self._meta_iterations = meta_iterations
        self._places: list[Place | None] = [None] * num_places
        self._waiting: dict[str, list[Place]] = defaultdict(list)
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            if trial.user_attrs.get(_OWNER) == owner:
                interrupted = study.user_attrs.get(_INTERRUPTED, [])
                study.set_user_attr(_INTERRUPTED, [*interrupted, trial.number])
                fixed = trial.system_attrs.get("fixed_params", {})  # of a grid
                study.enqueue_trial(fixed | trial.params)
                study.tell(trial.number, state=TrialState.FAIL)

    def next_structure(self) -> dict[str, Any] | None:
        """The structure of the next population; None when all trials are done."""
        if not any(self._waiting.values()):
            place = self._ask()
            if place is None:
                return None
            self._waiting[_key(place.chosen)].append(place)
        return json.loads(max(self._waiting, key=lambda key: len(self._waiting[key])))

    def fill(self, of_structure: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """Puts trials of one structure on free places; returns the values of the new ones."""
        new = {}
        for i, place in enumerate(self._places):
            if place is None:
                self._places[i] = place = self._next(json.dumps(of_structure))
                if place is None:
                    break
                new[i] = place.chosen
        return new

    def judge(self, values: list[float]) -> None:
        """Records a meta-iteration and frees the places of trials that it ended.

        Args:
            values: of every place, also of free ones; higher is better.
        """
        for i, (place, value) in enumerate(zip(self._places, values, strict=True)):
            if place is None:
                continue
            place.age += 1
            if not math.isfinite(value):
                place.trial.set_user_attr("failure", f"diverged in meta-iteration {place.age}")
                self.study.tell(place.trial, state=TrialState.FAIL)
            else:
                place.trial.report(value, place.age)
                if place.age == self._meta_iterations:
                    self.study.tell(place.trial, value)
                elif place.trial.should_prune():
                    self.study.tell(place.trial, state=TrialState.PRUNED)
                else:
                    continue
            self._places[i] = None

    @property
    def is_busy(self) -> bool:
        """Whether any place is taken."""
        return any(place is not None for place in self._places)

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
            begun = [t for t in outcomes(self.study) if t.state != TrialState.WAITING]
            if len(begun) >= self._num_trials:
                return None
            trial = self.study.ask()
            trial.set_user_attr(_OWNER, self._owner)
            chosen = self._space.suggest(trial)
            try:
                self._check_fit(self._space.config(chosen))
            except ConfigError as error:
                trial.set_user_attr("failure", str(error))
                self.study.tell(trial, state=TrialState.FAIL)
            else:
                return Place(trial, chosen)


def open_study(
    name: str,
    directory: Path,
    storage: str | None,
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """Opens or makes a study, in a journal file in `directory` unless a storage is given.

    Raises:
        ConfigError: the storage cannot be opened.
    """
    backend: Any = storage
    if storage is None:
        backend = JournalStorage(JournalFileBackend(str(directory / "study.journal")))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            storage=backend,
            pruner=pruner,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--storage: {storage}: cannot be opened ({reason})") from error


def make_sampler(name: Sampler, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of that name; a grid is put in line by `line_up_grid`.

    Optuna's own grid sampler works only inside of its own loop.

    Raises:
        ConfigError: it cannot sample the space.
    """
    if name == "grid":
        space.grid()
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def line_up_grid(study: optuna.Study, space: Space, num_trials: int) -> int:
    """Makes a new study try the points of the grid first; returns how many are to be tried.

    Raises:
        ConfigError: a field of the space is a range.
    """
    grid = space.grid()
    points = list(itertools.product(*grid.values()))[:num_trials]
    if not study.get_trials(deepcopy=False):
        for point in points:
            study.enqueue_trial(dict(zip(grid, point, strict=True)))
    return len(points)


def outcomes(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that count: those that an interruption ended are tried again under a new number."""
    interrupted = study.user_attrs.get(_INTERRUPTED, [])
    return [t for t in study.get_trials(deepcopy=False) if t.number not in interrupted]


def _key(chosen: dict[str, Any]) -> str:
    return json.dumps(structure(chosen))
