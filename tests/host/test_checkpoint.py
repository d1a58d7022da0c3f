"""Checkpoints come back bit for bit, and what cannot come back says why in one line."""

import os
import shutil
import string

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from mlsh_jax.errors import CheckpointError, ConfigError, RunError
from mlsh_jax.host import checkpoint
from mlsh_jax.host.checkpoint import (
    SPEC,
    SUBPOLICIES,
    TRAINER,
    CheckpointStore,
    read_spec,
    read_subpolicies,
)

SIZE = 3


def _state(seed=0):
    params = {"w": jax.random.normal(jax.random.key(seed), (SIZE, 2)), "empty": {}}
    return {
        "key": jax.random.key(seed),
        "keys": jax.random.split(jax.random.key(seed, impl="rbg"), 4),
        "params": params,
        "opt_state": optax.adam(1e-3).init(params),
        "small": (jnp.bfloat16(1 / 3), jnp.array([True, False]), jnp.uint8(7), jnp.int32(seed)),
        "odd": jnp.array([0.1, -0.0, 1e-45, 3e38]),
        "nothing": None,
    }


def _save(store, iteration, score=0.0, seed=0):
    state = _state(seed)
    items = {TRAINER: state, SUBPOLICIES: state["params"]}
    return store.save(iteration, items, {SPEC: {"size": SIZE}, "note": iteration}, score)


def _make_abstract(spec):
    return {"w": jax.ShapeDtypeStruct((spec["size"], 2), jnp.float32), "empty": {}}


def _bits(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf).tobytes()


def _assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and _bits(a) == _bits(b)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run with one stage and the checkpoints 1, 2 and 3."""
    run = tmp_path_factory.mktemp("run")
    with CheckpointStore(run / "train" / "checkpoints") as store:
        for iteration in (1, 2, 3):
            _save(store, iteration, seed=iteration)
    return run


def _checkpoints(saved, tmp_path):
    return shutil.copytree(saved / "train" / "checkpoints", tmp_path / "checkpoints")


def test_every_kind_of_leaf_is_restored_bit_for_bit(saved):
    with CheckpointStore(saved / "train" / "checkpoints") as store:
        restored = store.restore({TRAINER: jax.eval_shape(lambda: _state())})
        assert restored.iteration == 3
        assert restored.metadata["note"] == 3
        _assert_same(restored.items[TRAINER], _state(3))
        _assert_same(store.restore({TRAINER: jax.eval_shape(_state)}, 1).items[TRAINER], _state(1))


def test_the_newest_and_the_best_are_kept_also_by_a_store_opened_again(tmp_path):
    for iteration, score in enumerate([0.0, 5.0, 1.0, 2.0, 3.0], start=1):
        with CheckpointStore(tmp_path, keep_last=2) as store:
            _save(store, iteration, score)
    with CheckpointStore(tmp_path) as store:
        assert (store.best(), store.latest()) == (2, 5)
        assert store._saved() == "2, 4, 5"


def test_an_empty_store_has_nothing(tmp_path):
    with CheckpointStore(tmp_path) as store:
        assert store.latest() is None and store.best() is None
        with pytest.raises(CheckpointError, match="holds no checkpoint"):
            store.restore({})


@pytest.mark.parametrize(
    ("place", "iteration"),
    [
        (".", 3),
        ("train", 3),
        ("train/checkpoints", 3),
        ("train/checkpoints/2", 2),
    ],
)
def test_subpolicies_are_restored_alone_from_any_place(saved, place, iteration):
    subpolicies, spec = read_subpolicies(saved / place, _make_abstract)
    assert spec == {"size": SIZE} == read_spec(saved / place)
    _assert_same(subpolicies, _state(iteration)["params"])


def test_a_stage_without_subpolicies_is_not_in_the_way(saved, tmp_path):
    run = shutil.copytree(saved, tmp_path / "run")
    with CheckpointStore(run / "other" / "checkpoints") as store:
        store.save(1, {TRAINER: _state()}, {}, 0.0)
    assert read_spec(run) == {"size": SIZE}
    with pytest.raises(CheckpointError, match="has no item 'subpolicies'"):
        read_spec(run / "other")


def test_several_stages_with_subpolicies_must_be_told_apart(saved, tmp_path):
    run = shutil.copytree(saved, tmp_path / "run")
    shutil.copytree(run / "train", run / "again")
    with pytest.raises(CheckpointError, match="several stages") as error:
        read_spec(run)
    assert str(run / "again") in str(error.value) and str(run / "train") in str(error.value)


def test_reading_changes_nothing(saved):
    before = sorted(saved.rglob("*"))
    read_subpolicies(saved, _make_abstract)
    assert sorted(saved.rglob("*")) == before


@pytest.mark.parametrize(
    ("abstract", "message"),
    [
        ({"w": jax.ShapeDtypeStruct((4, 2), jnp.float32)}, "w is float32[3, 2], expected float32"),
        ({"w": jax.ShapeDtypeStruct((3, 2), jnp.float16)}, "expected float16[3, 2]"),
        ({"v": jax.ShapeDtypeStruct((3, 2), jnp.float32)}, "checkpoint; use the configuration"),
        ({}, "w is only in the checkpoint"),
    ],
)
def test_a_mismatch_names_the_path_and_the_leaf(saved, abstract, message):
    with pytest.raises(CheckpointError) as error:
        read_subpolicies(saved, lambda spec: abstract)
    text = str(error.value)
    assert message in text and str(saved) in text and "\n" not in text


def test_a_key_of_another_implementation_is_a_mismatch(saved):
    abstract = jax.eval_shape(_state)
    abstract["key"] = jax.eval_shape(lambda: jax.random.key(0, impl="rbg"))
    with (
        CheckpointStore(saved / "train" / "checkpoints") as store,
        pytest.raises(CheckpointError, match="trainer: key is uint32"),
    ):
        store.restore({TRAINER: abstract})


def test_missing_places_are_reported(saved, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (saved / "nope", saved / "train" / "checkpoints" / "9", tmp_path / "empty"):
        with pytest.raises(CheckpointError, match="give a run, a stage or a checkpoint") as error:
            read_spec(path)
        assert str(path) in str(error.value)


def test_links_that_lead_to_each_other_are_no_directory(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(CheckpointError, match="loop: no such directory"):
        read_spec(loop)
    with pytest.raises(CheckpointError, match="loop: cannot be opened"):
        CheckpointStore(loop)


def test_a_foreign_checkpoint_is_reported(tmp_path):
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(4, args=ocp.args.StandardSave({"w": jnp.zeros(2)}))
    with pytest.raises(CheckpointError, match="was not written by mlsh_jax"):
        read_subpolicies(tmp_path, _make_abstract)


def _halve(path):
    os.truncate(path, path.stat().st_size // 2)


def _empty(path):
    os.truncate(path, 0)


def _flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("item", ["trainer/ocdbt.process_0/d", "metadata"])
def test_no_flipped_bit_is_resumed_from(item, saved, tmp_path):
    directory = _checkpoints(saved, tmp_path)
    files = (directory / "3" / item).iterdir()
    data = [path for path in files if path.name != "commit_success.txt"]  # which holds nothing
    _flip_a_byte(max(data, key=lambda path: path.stat().st_size))
    with (
        CheckpointStore(directory) as store,
        pytest.raises(CheckpointError, match="not what was saved"),
    ):
        store.restore({TRAINER: jax.eval_shape(_state)})


@pytest.mark.parametrize("item", [SUBPOLICIES, "metadata", "metrics"])
@pytest.mark.parametrize("damage", [_halve, _empty, os.unlink, _flip_a_byte])
def test_a_damaged_checkpoint_is_reported_or_not_needed(saved, tmp_path, damage, item, capfd):
    directory = _checkpoints(saved, tmp_path)
    for path in (directory / "3" / item).rglob("*"):
        if path.is_file() and path.name not in ("commit_success.txt", "_sharding"):
            damage(path)
    try:
        subpolicies, _ = read_subpolicies(directory, _make_abstract)
    except CheckpointError as error:
        assert str(directory) in str(error) and "\n" not in str(error)
    else:
        assert item == "metrics"
        _assert_same(subpolicies, _state(3)["params"])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("text", ["0.5", "{}", '{"score": "high"}', "[1]"])
def test_a_score_that_is_none_is_told_and_costs_no_parameters(saved, tmp_path, text):
    directory = _checkpoints(saved, tmp_path)
    (directory / "3" / "metrics" / "metrics").write_text(text)
    with CheckpointStore(directory) as store:
        with pytest.raises(CheckpointError, match=f"{directory}: has no best one; move damaged"):
            store.best()
        assert store.latest() == 3
    subpolicies, _ = read_subpolicies(directory, _make_abstract)
    _assert_same(subpolicies, _state(3)["params"])


def test_no_flipped_bit_becomes_another_parameter(saved, tmp_path, rng):
    directory = _checkpoints(saved, tmp_path)
    for path in sorted((directory / "3" / SUBPOLICIES).rglob("*")):
        if not path.is_file() or path.name == "commit_success.txt":
            continue
        content = path.read_bytes()
        for position in rng.integers(0, len(content), 3) if content else []:
            flipped = bytearray(content)
            flipped[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            with pytest.raises(CheckpointError, match="is not what was saved"):
                read_subpolicies(directory, _make_abstract)
        path.write_bytes(content)
    read_subpolicies(directory, _make_abstract)


def test_checkpoints_without_checksums_are_read_as_they_are(saved, tmp_path):
    directory = _checkpoints(saved, tmp_path)
    (directory / "3" / "checksums.json").unlink()
    subpolicies, _ = read_subpolicies(directory, _make_abstract)
    _assert_same(subpolicies, _state(3)["params"])


REFUSED = "[\\"


def test_a_directory_of_any_name_is_read_back_or_refused(tmp_path):
    name = "".join(c for c in string.punctuation + " ä\n" if c not in "/" + REFUSED)
    with CheckpointStore(tmp_path / name) as store:
        _save(store, 1, seed=1)
    with CheckpointStore(tmp_path / name, read_only=True) as store:
        restored = store.restore({TRAINER: jax.eval_shape(_state)})
    _assert_same(restored.items[TRAINER], _state(1))
    for letter in REFUSED:
        with pytest.raises(ConfigError, match="cannot be kept below a name with"):
            CheckpointStore(tmp_path / f"a{letter}b")


def test_what_cannot_be_read_back_is_told_when_it_is_saved_first(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "check_directory", lambda path: None)
    with (
        CheckpointStore(tmp_path / "a[1]") as store,
        pytest.raises(RunError, match=r"what was saved cannot be read back: .*damaged"),
    ):
        _save(store, 1)


def test_a_half_written_checkpoint_does_not_count(saved, tmp_path):
    directory = _checkpoints(saved, tmp_path)
    (directory / "4.orbax-checkpoint-tmp").mkdir()
    with CheckpointStore(directory) as store:
        assert store.latest() == 3
        _save(store, 4, seed=4)
    assert not (directory / "4.orbax-checkpoint-tmp").exists()


def test_a_half_deleted_old_checkpoint_is_not_in_the_way(saved, tmp_path):
    directory = _checkpoints(saved, tmp_path)
    for path in sorted((directory / "1").rglob("*")):
        if path.is_file():
            path.unlink()
    with CheckpointStore(directory) as store:
        restored = store.restore({TRAINER: jax.eval_shape(_state)})
        _assert_same(restored.items[TRAINER], _state(3))
        _save(store, 4, seed=4)
        assert store.latest() == 4
    assert not (directory / "1").exists()


def test_an_old_checkpoint_that_cannot_be_deleted_ends_nothing(tmp_path, monkeypatch, capsys):
    remove = shutil.rmtree

    def refuse(path, *args, **kwargs):
        if str(path).rstrip("/") == str(tmp_path / "1"):
            raise PermissionError(13, "Operation not permitted", str(path))
        return remove(path, *args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with CheckpointStore(tmp_path, keep_last=1) as store:
        for iteration in (1, 2, 3):
            _save(store, iteration, score=float(iteration), seed=iteration)
        abstract = jax.eval_shape(lambda: _state())
        _assert_same(store.restore({TRAINER: abstract}).items[TRAINER], _state(3))
    assert (tmp_path / "1").is_dir()
    printed = capsys.readouterr().out
    assert printed.count("an older checkpoint cannot be deleted") == 1
    assert str(tmp_path / "1") in printed and "the run goes on" in printed


def test_an_unwritable_directory_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        CheckpointStore(tmp_path / "file" / "checkpoints")
