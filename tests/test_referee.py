"""Who is tried and who is dropped, without any training."""

import math

import optuna
import pytest

from experiments.referee import Referee, line_up_grid, make_sampler, open_study, outcomes
from experiments.space import Range, Space
from mlsh_jax.config import MLSHConfig
from mlsh_jax.errors import ConfigError

RATES = Space({"master.learning_rate": Range(low=1e-3, high=1e-1, log=True)}, MLSHConfig())
LENGTHS = Space({"macro_length": Range(values=(5, 10, 7, 25))}, MLSHConfig())


def check_fit(config: MLSHConfig) -> None:
    if config.macro_length == 25:
        raise ConfigError("macro_length: does not fit")


@pytest.fixture
def make_referee(tmp_path):
    def make(space=RATES, sampler="random", pruner=None, **numbers) -> Referee:
        study = open_study("study", tmp_path, None, pruner or optuna.pruners.NopPruner())
        study.sampler = make_sampler(sampler, space, seed=0)
        sizes = {"num_trials": 6, "num_places": 2, "meta_iterations": 3} | numbers
        return Referee(study, "sweep", space, check_fit, **sizes)

    return make


def play(referee: Referee, value_of) -> list[dict[int, dict]]:
    """Runs a sweep in which a trial has the value `value_of(chosen, age)`; returns what was new."""
    history = []
    while (structure := referee.next_structure()) is not None:
        places = {}
        while True:
            new = referee.fill(structure)
            places |= {i: [chosen, 0] for i, chosen in new.items()}
            history.append(new)
            if not referee.is_busy:
                break
            for place in places.values():
                place[1] += 1
            num_places = len(referee._places)
            values = [value_of(*places[i]) if i in places else 0.0 for i in range(num_places)]
            referee.judge(values)
    return history


def states(referee: Referee) -> list[str]:
    return [trial.state.name for trial in outcomes(referee.study)]


def test_every_trial_is_trained_to_its_end_and_judged_by_its_last_value(make_referee):
    referee = make_referee()
    play(referee, lambda chosen, age: age + chosen["master.learning_rate"])
    assert states(referee) == ["COMPLETE"] * 6
    for trial in referee.study.trials:
        assert trial.value == pytest.approx(3 + trial.params["master.learning_rate"])
        assert sorted(trial.intermediate_values) == [1, 2, 3]


def test_a_trial_that_diverges_fails_and_its_place_is_filled_anew(make_referee):
    referee = make_referee()
    first = {}

    def value(chosen, age):
        first.setdefault("rate", chosen["master.learning_rate"])
        return math.nan if chosen["master.learning_rate"] == first["rate"] and age == 2 else 1.0

    play(referee, value)
    assert sorted(states(referee)) == ["COMPLETE"] * 5 + ["FAIL"]
    failed = referee.study.trials[0]
    assert failed.user_attrs["failure"] == "diverged in meta-iteration 2"


def test_bad_trials_are_dropped_at_rungs(make_referee):
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=2)
    referee = make_referee(pruner=pruner, num_trials=12, num_places=4, meta_iterations=8)
    play(referee, lambda chosen, age: chosen["master.learning_rate"])
    assert states(referee).count("PRUNED") > 3
    best = max(t.params["master.learning_rate"] for t in referee.study.trials)
    assert referee.study.best_trial.params["master.learning_rate"] == best
    assert all(len(t.intermediate_values) < 8 for t in referee.study.trials if t.value is None)


def test_structures_are_trained_one_after_another_and_impossible_ones_fail(make_referee):
    referee = make_referee(space=LENGTHS, num_trials=16)
    history = play(referee, lambda chosen, age: 1.0)
    for new in history:
        assert len({chosen["macro_length"] for chosen in new.values()}) <= 1
    by_length = {length: [] for length in (5, 7, 10, 25)}
    for trial in referee.study.trials:
        by_length[trial.params["macro_length"]].append(trial.state.name)
    assert set(by_length[5] + by_length[10]) == {"COMPLETE"}
    # 40 environments cannot take 7 steps at a time to 2000, and 25 do not fit the environment.
    assert set(by_length[7]) == set(by_length[25]) == {"FAIL"}


def test_an_interrupted_sweep_tries_its_unfinished_trials_again(make_referee):
    first = make_referee()
    first.fill(first.next_structure())
    first.judge([1.0, 1.0])
    begun = [trial.params for trial in first.study.trials]
    assert len(begun) == 2

    second = make_referee()
    history = play(second, lambda chosen, age: 1.0)
    assert list(history[0].values()) == begun
    assert states(second) == ["COMPLETE"] * 6
    assert len(second.study.trials) == 6 + 2


def test_a_finished_sweep_has_nothing_left(make_referee):
    play(make_referee(), lambda chosen, age: 1.0)
    assert make_referee().next_structure() is None


def test_a_grid_is_tried_completely_and_once(make_referee):
    switch = Range(values=(True, False))
    grid = Space({"macro_length": Range(values=(5, 10)), "stratify_tasks": switch}, MLSHConfig())
    referee = make_referee(space=grid, sampler="grid", num_trials=0)
    assert line_up_grid(referee.study, grid, num_trials=100) == 4
    assert line_up_grid(referee.study, grid, num_trials=100) == 4
    referee = make_referee(space=grid, sampler="grid", num_trials=4)
    play(referee, lambda chosen, age: 1.0)
    tried = sorted(tuple(trial.params.values()) for trial in referee.study.trials)
    assert tried == [(5, False), (5, True), (10, False), (10, True)]
    with pytest.raises(ConfigError, match="a grid needs a list of values"):
        make_sampler("grid", RATES, seed=0)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_samplers_find_better_rates(make_referee, sampler):
    referee = make_referee(sampler=sampler, num_trials=40, meta_iterations=1)
    play(referee, lambda chosen, age: -abs(math.log10(chosen["master.learning_rate"]) + 1.2))
    late = [-t.value for t in referee.study.trials[20:]]
    assert sum(late) / len(late) < 0.45  # at random 0.59
