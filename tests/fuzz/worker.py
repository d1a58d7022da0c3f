"""Runs command lines of experiments one after another in one process.

Importing JAX takes longer than most of what a fuzz asks for. Each command line goes through
`run_main` as in a shell, with standard output and standard error on files. A case comes as a line
of JSON on the standard input, and its exit code is answered on the standard output; a case that
ends the process has the exit code of the process.
"""

import faulthandler
import gc
import importlib
import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from mlsh_jax.host.launch import run_main

MEMORY = 12 * 2**30
"""Bytes that a process may take, so that no case takes the machine down."""

PATIENCE_SECONDS = 300
"""A case that takes longer hangs, and ends with a dump of what every thread is at."""


class Checked(BaseException):
    """Everything was checked and would now be compiled and trained."""


def main() -> None:
    """Answers cases until there are no more."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    _onto(os.open(os.devnull, os.O_RDONLY), 0)
    for line in requests:
        case = json.loads(line)
        os.chdir(case["directory"])
        for name, stream in (("stdout", 1), ("stderr", 2)):
            _onto(os.open(case[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        faulthandler.dump_traceback_later(PATIENCE_SECONDS, exit=True)
        exit_code = run(case["module"], case["arguments"], case["is_trained"])
        faulthandler.cancel_dump_traceback_later()
        sys.stdout.flush()
        sys.stderr.flush()
        gc.collect()  # lets go of the locks of run directories
        print(json.dumps(exit_code), file=answers, flush=True)


def run(module: str, arguments: list[str], is_trained: bool) -> int:
    """The exit code of a command line.

    Args:
        module: what `python -m` is given.
        arguments: what follows it.
        is_trained: whether it goes on when everything was checked.
    """
    before = _stop_at_programs() if not is_trained else None
    try:
        run_main(importlib.import_module(module).main, arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Checked:
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        if before is not None:
            before()


def _stop_at_programs() -> Any:
    """Ends command lines where their first program would be compiled; returns what undoes it."""
    from mlsh_jax.host.compilation import Compilation

    def stop(self: Compilation, *arguments: Any, **options: Any) -> NoReturn:
        raise Checked

    kept = {name: getattr(Compilation, name) for name in ("begin", "program")}
    for name in kept:
        setattr(Compilation, name, stop)
    return lambda: [setattr(Compilation, name, value) for name, value in kept.items()]


def _onto(descriptor: int, stream: int) -> None:
    os.dup2(descriptor, stream)
    os.close(descriptor)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "host"))  # the toy experiment
    main()
