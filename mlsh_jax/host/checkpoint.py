"""Checkpoints on disk: an Orbax `CheckpointManager` with named items and one-line errors.

A checkpoint `<directory>/<iteration>/` holds pytrees by name: "trainer" is the whole training
state, for an exact resume; "subpolicies", where there are any, is what a transfer needs and can
be restored without knowing anything about the rest. Beside them lies a JSON item with what the
host wants back, such as the specification that the sub-policies are rebuilt from.

Every tree is stored flat, leaf by leaf under its path in the tree, so that a checkpoint does not
depend on container types, and a mismatch can name the leaf. Typed PRNG keys are leaves like any
other. Saving is synchronous and atomic: a checkpoint directory exists completely or not at all.
`checksums.json` in it says what its files held, so that no flipped bit becomes another parameter.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from mlsh_jax.errors import CheckpointError, ConfigError, MlshError, RunError
from mlsh_jax.host import processes
from mlsh_jax.host.failed_saves import noted
from mlsh_jax.host.paths import real_path
from mlsh_jax.host.serialization import write_json

PyTree = Any

TRAINER = "trainer"
SUBPOLICIES = "subpolicies"
SPEC = "spec"
_METADATA = "metadata"
_CHECKSUMS = "checksums.json"
COMMITTED = "commit_success.txt"  # a note of Orbax to itself


@dataclasses.dataclass(frozen=True)
class Restored:
    """What one checkpoint held.

    Attributes:
        iteration: number of iterations behind the saved state.
        items: the restored pytrees by name.
        metadata: the JSON object that was saved with them.
    """

    iteration: int
    items: dict[str, PyTree]
    metadata: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one training stage, newest and best kept.

    Args:
        directory: where the `<iteration>` directories live; made when written to.
        keep_last: how many of the newest to keep; the one with the best score stays as well.
        read_only: opening creates and cleans nothing; for reading another run.
    """

    def __init__(self, directory: Path, *, keep_last: int = 3, read_only: bool = False) -> None:
        """Opens the store; nothing is read until asked for.

        Raises:
            ConfigError: no checkpoint could be read back from there.
            CheckpointError: what is there is damaged.
        """
        self.directory = real_path(directory)
        self._is_tried = False
        check_directory(self.directory)
        options = checkpoint_managers.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                [
                    checkpoint_managers.LatestN(keep_last),
                    checkpoint_managers.BestN(
                        get_metric_fn=_score,
                        n=1,
                        # Only a checkpoint whose deletion was cut short lacks its score.
                        keep_checkpoints_without_metrics=False,
                    ),
                ]
            ),
            best_fn=_score,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            enable_async_checkpointing=False,
        )
        with _explained(self.directory, "cannot be opened; move damaged checkpoints out"):
            self._manager = ocp.CheckpointManager(self.directory, options=options)

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the store."""
        self._manager.close()

    def latest(self) -> int | None:
        """The newest saved iteration, `None` when nothing was saved."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The saved iteration with the highest score, `None` when nothing was saved.

        Raises:
            CheckpointError: a score is damaged.
        """
        with _explained(self.directory, "has no best one; move damaged checkpoints out"):
            return self._manager.best_step()

    def path(self, iteration: int) -> Path:
        """The directory of one checkpoint."""
        return self.directory / str(iteration)

    def save(
        self,
        iteration: int,
        items: Mapping[str, PyTree],
        metadata: Mapping[str, Any],
        score: float,
    ) -> Path:
        """Writes a checkpoint, then drops the ones that need not be kept.

        Args:
            iteration: number of iterations behind the state; not saved before.
            items: pytrees of arrays by name.
            metadata: any JSON object.
            score: higher is better.

        Returns:
            The directory of the new checkpoint.

        Raises:
            RunError: it cannot be written; those before it are as they were.
        """
        arguments = {name: ocp.args.StandardSave(_flatten(tree)) for name, tree in items.items()}
        arguments[_METADATA] = ocp.args.JsonSave(dict(metadata))
        with _explained(self.path(iteration), "cannot be written", RunError), noted():
            try:
                self._manager.save(
                    iteration, args=ocp.args.Composite(**arguments), metrics={"score": score}
                )
            except OSError as error:
                # Orbax deletes those that need not be kept when the new one is there.
                if not self.path(iteration).is_dir() or str(self.path(iteration)) in str(error):
                    raise
                print(
                    f"{self.directory}: an older checkpoint cannot be deleted ({error}); "
                    "the run goes on"
                )
            if processes.is_first():
                seal(self.path(iteration))
        if not self._is_tried:
            self._try(iteration, items)
        return self.path(iteration)

    def _try(self, iteration: int, items: Mapping[str, PyTree]) -> None:
        """Reads back what was saved first, before hours are spent on more."""
        try:
            self.restore(jax.tree.map(_target, dict(items)), iteration)
        except CheckpointError as error:
            raise RunError(f"what was saved cannot be read back: {error}") from error
        self._is_tried = True

    def metadata(self, iteration: int) -> dict[str, Any]:
        """The JSON object saved with an iteration."""
        path = self._checked_path(iteration, [_METADATA])
        with _explained(path, _DAMAGED):
            restored = self._manager.restore(
                iteration, args=ocp.args.Composite(**{_METADATA: ocp.args.JsonRestore()})
            )
        return restored[_METADATA]

    def restore(
        self, abstract_items: Mapping[str, PyTree], iteration: int | None = None
    ) -> Restored:
        """Reads some items of a checkpoint, bit for bit.

        Args:
            abstract_items: for each wanted item a tree of `jax.ShapeDtypeStruct` (as from
                `jax.eval_shape`); a leaf with a sharding is restored to it, any other to the
                default device.
            iteration: which checkpoint; `None` is the newest.

        Raises:
            CheckpointError: nothing to restore, not one of ours, damaged, or of other shapes.
        """
        if iteration is None:
            iteration = self.latest()
        if iteration is None:
            raise CheckpointError(f"{self.directory}: holds no checkpoint; start a new run")
        metadata = self.metadata(iteration)
        path = self._checked_path(iteration, list(abstract_items))
        targets = {}
        for name, tree in abstract_items.items():
            with _explained(path, _DAMAGED):
                stored = ocp.StandardCheckpointHandler().metadata(path / name).tree
            targets[name] = {leaf: _target(x) for leaf, x in _flatten(tree).items()}
            _check_leaves(path / name, targets[name], stored)
        arguments = {name: ocp.args.StandardRestore(tree) for name, tree in targets.items()}
        with _explained(path, _DAMAGED):
            restored = self._manager.restore(iteration, args=ocp.args.Composite(**arguments))
        items = {
            name: jax.tree.unflatten(
                jax.tree.structure(tree), [restored[name][leaf] for leaf in _flatten(tree)]
            )
            for name, tree in abstract_items.items()
        }
        return Restored(iteration=iteration, items=items, metadata=metadata)

    def _checked_path(self, iteration: int, items: list[str]) -> Path:
        path = self.path(iteration)
        if not path.is_dir():
            raise CheckpointError(f"{path}: there is no such checkpoint; saved: {self._saved()}")
        for name in items:
            if not (path / name).is_dir():
                raise CheckpointError(
                    f"{path}: has no item {name!r}; it is damaged or was not written by mlsh_jax, "
                    "choose another checkpoint"
                )
        if (path / _CHECKSUMS).exists():  # older ones have none
            _check_files(path, items)
        return path

    def _saved(self) -> str:
        return ", ".join(map(str, self._manager.all_steps())) or "none"


def check_directory(path: Path) -> None:
    """Refuses a directory from which no checkpoint could be read back.

    Raises:
        ConfigError: for a bracket or a backslash. Orbax looks for its own files with patterns, in
            which these do not mean themselves.
    """
    path = real_path(path)
    if {"[", "\\"} & set(str(path)):
        raise ConfigError(f"{path}: checkpoints cannot be kept below a name with [ or \\ in it")


def resolve(path: Path) -> Path:
    """The one checkpoint that a person means by `path`, as in `read_subpolicies`."""
    directory, iteration = _locate(path)
    return directory / str(iteration)


def read_spec(path: Path) -> dict[str, Any]:
    """The specification of saved sub-policies; `path` as in `read_subpolicies`."""
    directory, iteration = _locate(path)
    with CheckpointStore(directory, read_only=True) as store:
        return _spec(store, iteration)


def read_subpolicies(
    path: Path, make_abstract: Callable[[dict[str, Any]], PyTree]
) -> tuple[PyTree, dict[str, Any]]:
    """Restores the sub-policies of a run alone.

    Args:
        path: a run directory, a stage in it, a `checkpoints` directory, or one `<iteration>`;
            without an iteration the newest is taken.
        make_abstract: builds the tree of shapes to restore into from the saved specification,
            typically `lambda spec: jax.eval_shape(lambda: make_subpolicies(spec))`.

    Returns:
        The restored tree and the specification.
    """
    directory, iteration = _locate(path)
    with CheckpointStore(directory, read_only=True) as store:
        spec = _spec(store, iteration)
        restored = store.restore({SUBPOLICIES: make_abstract(spec)}, iteration)
    return restored.items[SUBPOLICIES], spec


_DAMAGED = "is damaged; delete that directory to use the checkpoint before it"


def _spec(store: CheckpointStore, iteration: int) -> dict[str, Any]:
    path = store._checked_path(iteration, [SUBPOLICIES])
    spec = store.metadata(iteration).get(SPEC)
    if not isinstance(spec, dict):
        raise CheckpointError(f"{path}: does not say what its sub-policies are; choose another")
    return spec


def _locate(path: Path) -> tuple[Path, int]:
    """The checkpoint directory and the iteration that a person means by `path`."""
    path = real_path(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such directory; give a run, a stage or a checkpoint")
    if path.name.isdecimal():
        return path.parent, int(path.name)
    if _iterations(path):
        return path, max(_iterations(path))
    directories = [path / "checkpoints", *sorted(path.glob("*/checkpoints"))]
    saved = [directory for directory in directories if _iterations(directory)]
    # Only stages that trained sub-policies matter; one that did not is still a clearer error.
    choices = [d for d in saved if (d / str(max(_iterations(d))) / SUBPOLICIES).is_dir()] or saved
    if not choices:
        raise CheckpointError(f"{path}: holds no checkpoint; give a run, a stage or a checkpoint")
    if len(choices) > 1:
        names = ", ".join(str(directory.parent) for directory in choices)
        raise CheckpointError(f"{path}: several stages have sub-policies; give one of {names}")
    return choices[0], max(_iterations(choices[0]))


def _iterations(directory: Path) -> list[int]:
    if not directory.is_dir():
        return []
    return [int(p.name) for p in directory.iterdir() if p.name.isdecimal() and p.is_dir()]


def seal(path: Path) -> None:
    """Notes what the files of a checkpoint hold, where it has no such note yet."""
    if (path / _CHECKSUMS).exists():
        return
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name != COMMITTED]
    write_json(path / _CHECKSUMS, {str(file.relative_to(path)): _sha256(file) for file in files})


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check_files(path: Path, items: list[str]) -> None:
    """Compares the files of some items with the checksums that were saved with them."""
    with _explained(path, _DAMAGED):
        checksums = json.loads((path / _CHECKSUMS).read_text(encoding="utf-8"))
        for name, checksum in checksums.items():
            if Path(name).parts[0] in items and _sha256(path / name) != checksum:
                raise ValueError(f"{name} is not what was saved")


def _score(metrics: Any) -> float:
    """The score that was saved with a checkpoint, which others may have changed."""
    score = metrics.get("score") if isinstance(metrics, Mapping) else None
    if not isinstance(score, int | float):
        raise ValueError("a score is no number")
    return score


def _flatten(tree: PyTree) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {leaf_name(path): leaf for path, leaf in leaves}


def leaf_name(path: tuple[Any, ...]) -> str:
    """A leaf's place in its tree as text, such as `opt_state.0.mu.kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator=".") or "value"


def _target(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _check_leaves(path: Path, wanted: Mapping[str, Any], stored: Any) -> None:
    for leaf in wanted.keys() ^ stored.keys():
        where = "is not in the checkpoint" if leaf in wanted else "is only in the checkpoint"
        raise CheckpointError(
            f"{path}: {leaf} {where}; use the configuration and version that wrote it"
        )
    for leaf, target in wanted.items():
        if jax.dtypes.issubdtype(target.dtype, jax.dtypes.prng_key):
            target = jax.eval_shape(jax.random.key_data, target)
        expected = f"{target.dtype}{list(target.shape)}"
        found = f"{stored[leaf].dtype}{list(stored[leaf].shape)}"
        if expected != found:
            raise CheckpointError(
                f"{path}: {leaf} is {found}, expected {expected}; "
                "use the configuration that wrote it"
            )


@contextlib.contextmanager
def _explained(path: Path, what: str, raised: type[MlshError] = CheckpointError) -> Iterator[None]:
    """Turns whatever Orbax raises into one line about `path`."""
    try:
        yield
    except jax.errors.JaxRuntimeError:
        raise  # another process was lost, which says nothing about the files
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise raised(f"{path}: {what} ({type(error).__name__}: {reason})") from error
