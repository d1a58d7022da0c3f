"""The host loop: what it saves, what it reports, and what it refuses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from mlsh_jax.errors import CheckpointError, ConfigError, RunError
from mlsh_jax.host.checkpoint import CheckpointStore, read_subpolicies
from mlsh_jax.host.runs import create_run
from mlsh_jax.host.train import fit, make_programs, noticing_losses


@dataclasses.dataclass(frozen=True)
class EmptyConfig:
    pass


@struct.dataclass
class State:
    key: jax.Array
    weights: jax.Array
    count: jax.Array


def _init():
    return State(jax.random.key(0), jnp.zeros(2), jnp.int32(0))


def _step(state):
    key, key_noise = jax.random.split(state.key)
    # Whole numbers add up exactly, whatever the compiler does.
    weights = state.weights + jax.random.randint(key_noise, (2,), -9, 10)
    count = state.count + 1
    return State(key, weights, count), {"return": -jnp.abs(count - 4.0), "usage": weights}


def _fit(run, step=_step, stage="train", **changes):
    options = {
        "num_iterations": 10,
        "env_steps_per_iteration": 2**30,
        "describe": lambda metrics: {},
        "score": lambda metrics: metrics["return"],
        "checkpoint_every": 2,
        "keep_last": 2,
    }
    return fit(run, stage, make_programs(step, _init, run.layout), **(options | changes))


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path, "toy", "default", 0, EmptyConfig())


def _again(run):
    """The same run, as the next process sees it."""
    run.stages.clear()
    return run


def _expected_state(iterations):
    state = _init()
    for _ in range(iterations):
        state, _ = jax.jit(_step)(state)
    return state


def _assert_same(left, right):
    np.testing.assert_array_equal(left.weights, right.weights)
    np.testing.assert_array_equal(jax.random.key_data(left.key), jax.random.key_data(right.key))
    assert left.count == right.count


def _saved(run, stage="train"):
    return sorted(int(path.name) for path in (run.directory / stage / "checkpoints").iterdir())


def _records(run):
    return [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]


def test_a_stage_runs_to_its_end_and_keeps_the_newest_and_the_best(run):
    result = _fit(run)
    _assert_same(result.state, _expected_state(10))
    assert result.env_steps == 10 * 2**30 and isinstance(result.env_steps, int)
    assert result.env_steps_per_second == pytest.approx(result.env_steps / result.wall_seconds)
    assert result.compile_seconds > 0
    assert _saved(run) == [4, 8, 10]
    assert (result.checkpoint.name, result.best_checkpoint.name) == ("10", "4")
    assert [record["iteration"] for record in _records(run)] == list(range(1, 11))
    assert result.last_metrics == _records(run)[-1]["metrics"]


def test_a_finished_stage_is_restored_without_compiling(run):
    first = _fit(run)
    before = (run.directory / "metrics.jsonl").read_bytes()

    def untraceable(state):
        raise AssertionError("compiled again")

    again = _fit(_again(run), untraceable)
    _assert_same(again.state, first.state)
    assert (again.last_metrics, again.env_steps) == (first.last_metrics, first.env_steps)
    assert again.compile_seconds == first.compile_seconds
    assert (run.directory / "metrics.jsonl").read_bytes() == before


def test_a_longer_run_goes_on_where_the_shorter_one_ended(run):
    first = _fit(run, num_iterations=5)
    second = _fit(_again(run), num_iterations=10)
    _assert_same(second.state, _expected_state(10))
    assert second.wall_seconds > first.wall_seconds
    assert second.compile_seconds > first.compile_seconds


def test_subpolicies_are_saved_as_an_item_of_their_own(run):
    _fit(run, subpolicies=lambda state: {"w": state.weights}, spec={"size": 2})
    restored, spec = read_subpolicies(
        run.directory, lambda spec: {"w": jax.ShapeDtypeStruct((spec["size"],), jnp.float32)}
    )
    assert spec == {"size": 2}
    np.testing.assert_array_equal(restored["w"], _expected_state(10).weights)


def test_stages_are_kept_apart(run):
    _fit(run, stage="one", num_iterations=2)
    _fit(run, stage="two", num_iterations=3)
    assert _saved(run, "one") == [2] and _saved(run, "two") == [2, 3]
    with pytest.raises(ValueError, match="already run"):
        _fit(run, stage="two")


@pytest.mark.parametrize(
    ("culprit", "message"), [("metric", "metric usage"), ("state", "state weights")]
)
def test_training_that_diverges_stops_and_keeps_the_last_good_state(run, culprit, message):
    def diverging(state):
        state, metrics = _step(state)
        bad = jnp.where(state.count == 5, jnp.nan, 1.0)
        if culprit == "state":
            return state.replace(weights=state.weights * bad), {"return": jnp.float32(0)}
        return state, metrics | {"usage": metrics["usage"] * bad}

    with pytest.raises(RunError) as error:
        _fit(run, diverging, score=lambda metrics: 0.0)
    text = str(error.value)
    assert text.startswith(f"train iteration 5: {message} is not finite; try ")
    assert text.endswith(f"last checkpoint: {run.directory / 'train' / 'checkpoints' / '4'}")
    assert "\n" not in text and _saved(run) == [2, 4]
    _assert_same(_fit(_again(run), num_iterations=4).state, _expected_state(4))


def test_divergence_before_the_first_checkpoint_is_reported_too(run):
    def diverging(state):
        return state, {"return": jnp.inf}

    with pytest.raises(RunError, match=r"iteration 1: metric return .* nothing was saved"):
        _fit(run, diverging)


def test_a_changed_state_cannot_be_resumed_silently(run):
    _fit(run, num_iterations=2)
    with pytest.raises(CheckpointError, match=r"trainer: weights is float32\[2\], expected"):
        fit(
            _again(run),
            "train",
            make_programs(_step, lambda: _init().replace(weights=jnp.zeros(3)), run.layout),
            num_iterations=4,
            env_steps_per_iteration=1,
            describe=lambda metrics: {},
            score=lambda metrics: 0.0,
            checkpoint_every=1,
        )


@pytest.mark.parametrize("field", ["num_iterations", "checkpoint_every"])
def test_impossible_numbers_are_refused_by_name(run, field):
    with pytest.raises(ConfigError, match=f"^{field}: must be at least 1"):
        _fit(run, **{field: 0})


@pytest.mark.parametrize(
    ("several", "error", "is_loss"),
    [
        (
            True,
            "UNKNOWN: Gloo AllGather failed: Read error",
            True,
        ),
        (True, "No space left on device", False),
        (False, "UNKNOWN: Gloo AllGather failed", False),
    ],
)
def test_a_process_that_is_lost_while_all_save_is_told(several, error, is_loss, run, monkeypatch):
    monkeypatch.setattr("mlsh_jax.host.train.processes.are_several", lambda: several)
    directory = run.directory / "train" / "checkpoints"
    message = "another process of this run was lost .*nothing was saved yet; continue in every"
    with (
        CheckpointStore(directory) as store,
        pytest.raises(RunError, match=message if is_loss else "^5: cannot be written"),
        noticing_losses(run, store),
    ):
        raise RunError("5: cannot be written") from ValueError(error)
