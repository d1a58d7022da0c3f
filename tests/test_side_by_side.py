"""Several seeds of an experiment as one program: what each comes to, and what is left of it."""

import contextlib
import json
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launches import TINY, run_directories

from experiments import ant_obstacle, moving_bandits
from experiments.harness import side_by_side
from mlsh_jax import population
from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host.checkpoint import CheckpointStore
from mlsh_jax.host.devices import TASK_AXIS, for_each
from mlsh_jax.host.runs import StoppedError


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def returns(run):
    return [record["metrics"]["return"] for record in records(run)]


@pytest.mark.whole
def test_a_seed_beside_others_comes_to_what_it_comes_to_alone(bandits_run, tmp_path, capsys):
    moving_bandits.main([*TINY, "--seed", "6", "--num-seeds", "2", "--run-root", str(tmp_path)])
    other, run = run_directories(tmp_path)
    np.testing.assert_allclose(returns(run), returns(bandits_run), rtol=1e-4)
    assert returns(other) != returns(run)
    alone, beside = (json.loads((d / "summary.json").read_text()) for d in (bandits_run, run))
    assert beside.pop("seeds_side_by_side") == 2
    assert alone.keys() == beside.keys()
    for name in ("adapted_return", "initial_return", "subpolicy_task_returns"):
        np.testing.assert_allclose(beside[name], alone[name], rtol=1e-3)
    assert (beside["seed"], beside["env_steps"]) == (7, alone["env_steps"])
    for name in ("config.json", "provenance.json"):
        kept = [json.loads((d / name).read_text()) for d in (bandits_run, run)]
        assert kept[0].get("seed") == kept[1].get("seed") == 7
    printed = capsys.readouterr().out
    assert "2 seeds side by side: compiled in" in printed
    assert "moving_bandits (smoke, 2 seeds): return " in printed


@pytest.fixture
def interrupted(monkeypatch, tmp_path):
    """Two seeds that were asked to stop in their first iteration."""

    @contextlib.contextmanager
    def asked_to_stop():
        yield SimpleNamespace(signal=signal.SIGTERM)

    monkeypatch.setattr(side_by_side, "stop_on_signal", asked_to_stop)
    with pytest.raises(StoppedError, match=r"after iteration 1; each goes on by itself") as raised:
        moving_bandits.main([*TINY, "--seed", "6", "--num-seeds", "2", "--run-root", str(tmp_path)])
    assert raised.value.exit_code == 128 + signal.SIGTERM
    return run_directories(tmp_path)


@pytest.mark.whole
def test_interrupted_seeds_go_on_each_by_itself(interrupted, bandits_run):
    other, run = interrupted
    assert len(returns(other)) == len(returns(run)) == 1
    for directory in interrupted:
        assert (directory / "train" / "checkpoints" / "1").is_dir()
    moving_bandits.main(["--resume", str(run)])
    np.testing.assert_allclose(returns(run), returns(bandits_run), rtol=1e-4)
    assert (run / "summary.json").exists()
    assert not (other / "summary.json").exists()


@pytest.mark.whole
def test_a_seed_that_diverges_leaves_the_others_alone(monkeypatch, tmp_path, capsys):
    train = population.meta_iteration

    def break_the_second(agent, states, numbers, active, **kwargs):
        states, metrics = train(agent, states, numbers, active, **kwargs)
        is_first = jax.lax.axis_index(TASK_AXIS) == jnp.zeros(active.shape[0], int)

        def broken(leaf):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            return jnp.where(is_first.reshape((-1,) + (1,) * (leaf.ndim - 1)), leaf, jnp.nan)

        return jax.tree.map(broken, states), metrics

    monkeypatch.setattr(population, "meta_iteration", break_the_second)
    with pytest.raises(RunError, match=r"-s7: train iteration 1: the state is not finite; try"):
        moving_bandits.main([
            *TINY, "--seed", "6", "--num-seeds", "2", "--run-root", str(tmp_path), "--devices", "2",
        ])  # fmt: skip
    run, broken = run_directories(tmp_path)
    assert len(returns(run)) == 5 and (run / "summary.json").exists()
    assert len(returns(broken)) == 1 and not (broken / "summary.json").exists()
    with CheckpointStore(broken / "train" / "checkpoints", read_only=True) as store:
        assert store.latest() is None
    printed = capsys.readouterr().out
    assert "the others go on" in printed
    # The devices were for both of them, and one by itself would spread its tasks over them.
    assert "--resume" in printed and "--devices" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-seeds", "0"], "--num-seeds: must be at least 1, got 0"),
        (["--num-seeds", "2", "--track", "wandb"], "--track: is for one run at a time"),
        (["--num-seeds", "2", "--resume", "x"], "--num-seeds: cannot be given with --resume"),
        (["--num-seeds", "2", "--seed", str(2**32 - 1)], "^--num-seeds: goes beyond the last seed"),
        (["--num-seeds", "3", "--devices", "2"], "^--num-seeds: 3 seeds cannot be spread evenly"),
    ],
)
def test_what_several_seeds_cannot_have_is_refused(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setattr("mlsh_jax.host.tracking.require_wandb", lambda: None)
    root = [] if "--resume" in arguments else ["--run-root", str(tmp_path)]
    tiny = [] if "--resume" in arguments else TINY
    with pytest.raises(ConfigError, match=message):
        moving_bandits.main([*tiny, *root, *arguments])
    assert run_directories(tmp_path) == []


def test_a_course_has_one_seed_at_a_time(tmp_path):
    arguments = ["--preset", "smoke", "--run-root", str(tmp_path), "--num-seeds", "2"]
    with pytest.raises(ConfigError, match="--num-seeds: is for experiments that train"):
        ant_obstacle.main(arguments)
    assert run_directories(tmp_path) == []


@pytest.mark.parametrize(("backend", "in_turn"), [("cpu", True), ("gpu", False)])
def test_each_is_called_with_one_of_them(backend, in_turn, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    square, rows = for_each(lambda tree: {"y": tree["x"] ** 2}), jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(square({"x": rows})["y"], np.arange(6.0).reshape(3, 2) ** 2)
    assert ("scan" in str(jax.make_jaxpr(square)({"x": rows}))) == in_turn
