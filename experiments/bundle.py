"""Puts the sub-policies of a run beside the code, with their configuration and provenance.

`python -m experiments.bundle --run RUN` fills `experiments/bundled/<experiment>/`, from where
courses take them, or `<experiment>_shared` with a policy that all tasks shared (K = 1). Optimizer
and random state stay behind, so this is not a run to resume.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from experiments import table
from mlsh_jax.errors import ConfigError, RunError
from mlsh_jax.host.launch import run_main
from mlsh_jax.host.options import call
from mlsh_jax.host.paths import real_path
from mlsh_jax.host.serialization import experiment_of, read_json, reading, write_json


def main(argv: Sequence[str] | None = None) -> None:
    """Bundles what the command line names."""
    call(bundle, argv, "python -m experiments.bundle")


def bundle(run: Path, *, directory: Path = table.BUNDLED) -> None:
    """Copies what a transfer needs.

    Args:
        run: a finished run that trained sub-policies.
        directory: where the experiment's directory is made anew, once all of it is there.

    Raises:
        ConfigError: the run is itself in the place of its bundle, or no checkpoint could be read
            from there.
        RunError: the run has not finished, is of no experiment that trains sub-policies, or its
            files cannot be copied.
        CheckpointError: it has no sub-policies.
    """
    # With JAX, for which --help does not wait.
    from experiments.harness.checkpoints import copy_subpolicies
    from mlsh_jax.host.checkpoint import check_directory, read_spec, resolve

    check_directory(directory)
    path = resolve(run)
    if not (run / "summary.json").is_file():
        raise RunError(f"{run}: has no summary.json; bundle a run that has finished")
    spec = read_spec(path)  # complains where there are no sub-policies
    provenance = read_json(run / "provenance.json")
    experiment = experiment_of(provenance)
    if experiment not in table.names("training"):  # a name, never a path
        raise RunError(
            f"{run / 'provenance.json'}: {experiment!r} is no experiment that trains sub-policies: "
            f"{', '.join(table.names('training'))}"
        )
    with reading(run / "provenance.json"):
        for session in provenance["sessions"]:
            options = _without_paths(session["argv"][1:])
            session["argv"] = [f"experiments.{experiment}", *options]
            session.pop("command", None)  # to resume by, with the path of an interpreter
            if session["git"] is None or session["git"]["dirty"]:
                print(f"warning: {run} ran on code that is in no commit")
    files = {"provenance.json": provenance}
    files |= {name: read_json(run / name) for name in ("config.json", "summary.json")}
    is_shared = spec["mlsh"]["num_subpolicies"] == 1
    target = directory / (f"{experiment}{table.SHARED}" if is_shared else experiment)
    if real_path(path).is_relative_to(real_path(target)):
        raise ConfigError(f"--directory: {target} is the run itself; choose another one")
    unfinished, old = (target.with_name(f".{target.name}.{name}") for name in ("new", "old"))
    if old.exists() and not target.exists():  # it was ended between the two
        old.rename(target)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        copy_subpolicies(path, unfinished / "checkpoints")
        for name, data in files.items():
            write_json(unfinished / name, data)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    unfinished.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {size / 1e3:.0f} kB")


def _without_paths(options: list[str]) -> list[str]:
    """The options of a command line that do not say where the run is kept."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--run-root")
    parser.add_argument("--resume")
    return parser.parse_known_args(options)[1]


if __name__ == "__main__":
    run_main(main)
