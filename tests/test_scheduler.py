"""Which trials are trained and which are dropped, without any training."""

import functools
import math
import pickle
import typing
from pathlib import Path

import numpy as np
import optuna
import pytest

from experiments.sweeps import Sampler
from experiments.sweeps.scheduler import (
    Scheduler,
    journal_length,
    line_up_grid,
    make_sampler,
    open_study,
    rewind_journal,
)
from experiments.sweeps.space import Range, Space
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError, RunError

RATES = Space({"master.learning_rate": Range(low=1e-3, high=1e-1, log=True)}, MLSHConfig())
LENGTHS = Space({"macro_length": Range(values=(5, 10, 7, 25))}, MLSHConfig())


def check_fit(config: MLSHConfig) -> None:
    if config.macro_length == 25:
        raise ConfigError("macro_length: does not fit")


@pytest.fixture
def make_scheduler(tmp_path):
    def make(
        space=RATES, sampler="random", pruner=None, storage=None, directory=tmp_path, **others
    ) -> Scheduler:
        pruner = pruner or optuna.pruners.NopPruner()
        study = open_study("study", directory, storage, pruner)
        arguments = {"num_trials": 6, "num_places": 2, "meta_iterations": 3, "owner": None}
        return Scheduler(
            study,
            functools.partial(make_sampler, sampler, space),
            space=space,
            check_fit=check_fit,
            **arguments | others,
        )

    return make


def play(scheduler: Scheduler, value_of) -> list[dict[int, dict]]:
    """Runs a sweep in which a trial has the value `value_of(chosen, age)`.

    Returns:
        The values of the trials that began in every meta-iteration, by their places.
    """
    history = []
    while (structure := scheduler.next_structure()) is not None:
        while taken := scheduler.fill(structure):
            history.append({i: chosen for i, (age, chosen) in taken.items() if age == 0})
            values = [0.0] * len(scheduler._places)
            for i, (age, chosen) in taken.items():
                values[i] = value_of(chosen, age + 1)
            scheduler.record(np.asarray(values)[:, None])
    return history


def states(scheduler: Scheduler) -> list[str]:
    return [trial.state.name for trial in scheduler.study.trials]


def test_every_trial_is_trained_to_its_end_and_recorded_by_its_last_value(make_scheduler):
    scheduler = make_scheduler()
    play(scheduler, lambda chosen, age: age + chosen["master.learning_rate"])
    assert states(scheduler) == ["COMPLETE"] * 6
    for trial in scheduler.study.trials:
        assert trial.value == pytest.approx(3 + trial.params["master.learning_rate"])
        assert sorted(trial.intermediate_values) == [1, 2, 3]


def test_a_trial_that_diverges_fails_and_its_place_is_filled_anew(make_scheduler):
    scheduler = make_scheduler()
    first = {}

    def value(chosen, age):
        first.setdefault("rate", chosen["master.learning_rate"])
        return math.nan if chosen["master.learning_rate"] == first["rate"] and age == 2 else 1.0

    play(scheduler, value)
    assert sorted(states(scheduler)) == ["COMPLETE"] * 5 + ["FAIL"]
    failed = scheduler.study.trials[0]
    assert failed.user_attrs["failure"] == "diverged in meta-iteration 2"


def test_bad_trials_are_dropped_at_rungs(make_scheduler):
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=2)
    scheduler = make_scheduler(pruner=pruner, num_trials=12, num_places=4, meta_iterations=8)
    play(scheduler, lambda chosen, age: chosen["master.learning_rate"])
    assert states(scheduler).count("PRUNED") > 3
    best = max(t.params["master.learning_rate"] for t in scheduler.study.trials)
    assert scheduler.study.best_trial.params["master.learning_rate"] == best
    assert all(len(t.intermediate_values) < 8 for t in scheduler.study.trials if t.value is None)


def test_structures_are_trained_one_after_another_and_impossible_ones_fail(make_scheduler):
    scheduler = make_scheduler(space=LENGTHS, num_trials=16)
    history = play(scheduler, lambda chosen, age: 1.0)
    for new in history:
        assert len({chosen["macro_length"] for chosen in new.values()}) <= 1
    by_length = {length: [] for length in (5, 7, 10, 25)}
    for trial in scheduler.study.trials:
        by_length[trial.params["macro_length"]].append(trial.state.name)
    assert set(by_length[5] + by_length[10]) == {"COMPLETE"}
    # 40 environments cannot take 7 steps at a time to 2000, and 25 do not fit the environment.
    assert set(by_length[7]) == set(by_length[25]) == {"FAIL"}


def test_trials_of_an_interrupted_sweep_keep_their_numbers_and_begin_again(make_scheduler):
    first = make_scheduler()
    begun = [chosen for _, chosen in first.fill(first.next_structure()).values()]
    first.record(np.ones((2, 1)))

    second = make_scheduler()
    history = play(second, lambda chosen, age: float(age))
    assert list(history[0].values()) == begun
    assert states(second) == ["COMPLETE"] * 6
    # What was reported before the interruption stays.
    reported = [sorted(trial.intermediate_values.items()) for trial in second.study.trials]
    assert reported[:2] == [[(1, 1.0), (2, 2.0), (3, 3.0)]] * 2


def test_trials_that_were_saved_go_on_at_their_age(make_scheduler):
    first = make_scheduler()
    first.fill(first.next_structure())
    first.record(np.ones((2, 1)))
    placement = first.placement()
    assert placement == {"0": (0, 1), "1": (1, 1)}
    first.record(np.asarray([[1.0], [math.nan]]))  # after the last save one of them fails

    second = make_scheduler(placed=placement)
    taken = second.fill(second.next_structure())
    assert taken[0][0] == 1
    assert taken[1][0] == 0
    assert second.study.trials[1].state.name == "FAIL"
    play(second, lambda chosen, age: 1.0)
    assert sorted(states(second)) == ["COMPLETE"] * 5 + ["FAIL"]


def test_a_trial_that_begins_again_is_not_recorded_twice_at_a_rung(make_scheduler):
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=2)
    numbers = {"pruner": pruner, "num_trials": 2, "meta_iterations": 8}
    first = make_scheduler(**numbers)
    structure = first.next_structure()
    for values in ([1.0, 2.0], [1.0, 2.0], [1.0, 2.0]):
        first.fill(structure)
        first.record(np.asarray(values)[:, None])
    rungs = [trial.system_attrs for trial in first.study.trials]
    second = make_scheduler(**numbers)
    second.fill(second.next_structure())
    second.record(np.zeros((2, 1)))
    assert [trial.system_attrs for trial in second.study.trials] == rungs


def test_several_sweeps_share_a_study_and_leave_each_other_alone(make_scheduler, tmp_path):
    storage = f"sqlite:///{tmp_path}/shared.db"
    one = make_scheduler(storage=storage, owner="one", num_trials=8)
    two = make_scheduler(storage=storage, owner="two", num_trials=8)
    one.fill(one.next_structure())
    two.fill(two.next_structure())
    assert {trial.user_attrs["sweep"] for trial in one.study.trials} == {"one", "two"}
    again = make_scheduler(storage=storage, owner="one", num_trials=8)  # "one" was interrupted
    assert set(again.fill(again.next_structure())) == {0, 1}
    numbers = {number for number, _ in (again.placement() | one.placement()).values()}
    assert len(numbers) == 2
    play(two, lambda chosen, age: 1.0)
    play(again, lambda chosen, age: 1.0)
    assert states(again) == ["COMPLETE"] * 8


def test_a_structure_that_does_not_fit_into_memory_fails_its_trials_only(make_scheduler):
    scheduler = make_scheduler(space=LENGTHS, num_trials=16)
    refused = {"macro_length": 5}
    while (structure := scheduler.next_structure()) is not None:
        if structure == refused:
            scheduler.refuse(structure, "needs 100 GB")
            continue
        while taken := scheduler.fill(structure):
            assert all(chosen != refused for _, chosen in taken.values())
            scheduler.record(np.ones((2, 1)))
    trials = [t for t in scheduler.study.trials if t.params == refused]
    assert trials
    assert {t.user_attrs.get("failure") for t in trials} == {"needs 100 GB"}
    assert len(scheduler.study.trials) == 16
    assert "COMPLETE" in states(scheduler)


def test_a_finished_sweep_has_nothing_left(make_scheduler):
    play(make_scheduler(), lambda chosen, age: 1.0)
    assert make_scheduler().next_structure() is None


def test_a_grid_is_tried_completely_and_once(make_scheduler):
    switch = Range(values=(True, False))
    grid = Space({"macro_length": Range(values=(5, 10)), "stratify_tasks": switch}, MLSHConfig())
    scheduler = make_scheduler(space=grid, sampler="grid", num_trials=0)
    assert line_up_grid(scheduler.study, grid, num_trials=100) == 4
    assert line_up_grid(scheduler.study, grid, num_trials=100) == 4
    scheduler = make_scheduler(space=grid, sampler="grid", num_trials=4)
    play(scheduler, lambda chosen, age: 1.0)
    tried = sorted(tuple(trial.params.values()) for trial in scheduler.study.trials)
    assert tried == [(5, False), (5, True), (10, False), (10, True)]
    with pytest.raises(ConfigError, match="a grid needs a list of values"):
        make_sampler("grid", RATES, seed=0)


def test_the_sampler_finds_better_rates(make_scheduler):
    scheduler = make_scheduler(sampler="tpe", num_trials=40, meta_iterations=1)
    play(scheduler, lambda chosen, age: -abs(math.log10(chosen["master.learning_rate"]) + 1.2))
    late = [-t.value for t in scheduler.study.trials[20:]]
    assert sum(late) / len(late) < 0.45  # at random 0.59


def rate_and_age(chosen, age):
    return age - abs(math.log10(chosen["master.learning_rate"]) + 2)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_kill_between_two_records_changes_no_proposal(
    make_scheduler, tmp_path, monkeypatch, after
):
    numbers = {"sampler": "tpe", "num_trials": 30, "meta_iterations": 2}
    (tmp_path / "whole").mkdir()
    whole = make_scheduler(directory=tmp_path / "whole", **numbers)
    play(whole, rate_and_age)

    scheduler = make_scheduler(**numbers)
    record, saved = scheduler.record, []
    tell, told = scheduler.study.tell, []

    def record_and_save(returns):
        record(returns)
        saved.append((scheduler.placement(), journal_length(tmp_path)))

    def tell_until_killed(*arguments, **options):
        if len(told) == 12 + after:
            raise KilledError
        told.append(tell(*arguments, **options))

    monkeypatch.setattr(scheduler, "record", record_and_save)
    monkeypatch.setattr(scheduler.study, "tell", tell_until_killed)
    with pytest.raises(KilledError):
        play(scheduler, rate_and_age)
    placed, length = saved[-1]
    assert length < journal_length(tmp_path)
    rewind_journal(tmp_path, length)
    resumed = make_scheduler(placed=placed, **numbers)
    play(resumed, rate_and_age)
    found = [(trial.params, trial.value) for trial in resumed.study.trials]
    assert found == [(trial.params, trial.value) for trial in whole.study.trials]


def test_a_study_in_which_something_else_is_tried_is_refused(tmp_path):
    def opened(name, **purpose):
        storage = f"sqlite:///{tmp_path}/shared.db"
        return open_study(name, tmp_path, storage, optuna.pruners.NopPruner(), purpose)

    opened("mine", env="moving_bandits", space={"num_envs": {"values": (4, 8)}})
    opened("mine", env="moving_bandits", space={"num_envs": {"values": [4, 8]}})
    with pytest.raises(ConfigError, match=r"--study: mine is there already with another space"):
        opened("mine", env="moving_bandits", space={"num_envs": {"values": [4]}})
    with pytest.raises(ConfigError, match=r"another env \('moving_bandits'\); use another name"):
        opened("mine", env="ant_maze", space={"num_envs": {"values": [4, 8]}})
    optuna.create_study(
        storage=f"sqlite:///{tmp_path}/shared.db", study_name="foreign", direction="maximize"
    ).ask()
    with pytest.raises(ConfigError, match="foreign has trials and does not say what is tried"):
        opened("foreign", env="moving_bandits")
    opened("unclear").set_user_attr("purpose", "all sorts")
    with pytest.raises(ConfigError, match="unclear has trials and does not say what is tried"):
        opened("unclear", env="moving_bandits")


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "maximize"]])
def test_a_study_with_other_goals_is_refused(tmp_path, directions):
    storage = f"sqlite:///{tmp_path}/shared.db"
    optuna.create_study(storage=storage, study_name="other", directions=directions)
    with pytest.raises(ConfigError, match=r"^--study: other is there already with other goals"):
        open_study("other", tmp_path, storage, optuna.pruners.NopPruner())


def test_a_journal_that_is_damaged_is_told(make_scheduler, tmp_path):
    play(make_scheduler(), rate_and_age)
    path = tmp_path / "study.journal"
    whole = path.read_text()
    with pytest.raises(RunError, match=r"study\.journal: is damaged: shorter than"):
        rewind_journal(tmp_path, len(whole) + 1)
    for text in (whole[:-20] + "\n", "{}\n" + whole):
        path.write_text(text)
        with pytest.raises(RunError, match=r"study\.journal: is damaged \("):
            make_scheduler()


def test_of_a_grid_of_any_size_only_the_trials_are_made(make_scheduler):
    names = [
        f"{owner}.{what}"
        for owner in ("master", "subpolicy")
        for what in ("learning_rate", "discount", "gae_lambda", "entropy_coefficient")
    ]
    many = Range(values=tuple(x / 100 for x in range(1, 31)))
    grid = Space(dict.fromkeys(names, many), MLSHConfig())  # of 30**8 points
    scheduler = make_scheduler(space=grid, sampler="grid")
    assert line_up_grid(scheduler.study, grid, num_trials=3) == 3
    assert len(scheduler.study.trials) == 3


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("sampler", typing.get_args(Sampler))
def test_what_is_in_a_study_is_not_executed(make_scheduler, tmp_path, sampler):
    rate = Range(values=(0.1, 0.01)) if sampler == "grid" else Range(low=1e-3, high=1e-1, log=True)
    both = Space(
        {f"{owner}.learning_rate": rate for owner in ("master", "subpolicy")}, MLSHConfig()
    )
    scheduler = make_scheduler(space=both, sampler=sampler)
    trap = pickle.dumps(Trap(tmp_path / "trapped")).hex()

    def value(chosen, age):
        for trial in scheduler.study.trials:  # as those of Optuna's sampler with CMA-ES
            if not trial.state.is_finished():
                storage = scheduler.study._storage
                storage.set_trial_system_attr(trial._trial_id, "cma:optimizer:0", trap)
        return 1.0

    play(scheduler, value)
    assert states(scheduler) == ["COMPLETE"] * 6
    assert not (tmp_path / "trapped").exists()
