"""Weights & Biases beside TensorBoard, for those who ask for it with `--track wandb`.

Everything of it happens in a thread of its own: a training neither waits for a tracker nor fails
with it. What goes wrong is said once, and the training goes on without.
"""

import atexit
import json
import os
import queue
import secrets
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlsh_jax.errors import ConfigError
from mlsh_jax.host.sinks import Record, scalars

_ID_FILE = "wandb.json"
_PATIENCE_SECONDS = 60.0
"""How long the end of a program waits for what has not been sent yet."""

_Message = tuple[str, Record] | None


_open: list["Tracker"] = []  # of this process, which has at most one


def require_wandb() -> None:
    """Refuses `--track wandb` where it is not installed.

    Raises:
        ConfigError: saying how to install it.
    """
    try:
        import wandb

        wandb.init  # noqa: B018  (a directory of that name can be imported as well)
    except (ImportError, AttributeError):
        raise ConfigError(
            "track: Weights & Biases is not installed; pip install -e '.[wandb]'"
        ) from None


def close_all() -> None:
    """Closes the trackers of this process, for an exit that leaves out what Python does at one."""
    for tracker in list(_open):
        tracker.close()


class Tracker:
    """A run on Weights & Biases: the same one each time that a run directory is continued.

    Its id is kept in `wandb.json` in the run directory, and so are its files. `WANDB_MODE`,
    `WANDB_PROJECT` and the other variables of Weights & Biases mean what they always do.

    Args:
        directory: the run directory.
        experiment: name of the experiment, by which runs are grouped.
        config: the configuration as JSON values.
    """

    def __init__(self, directory: Path, experiment: str, config: Mapping[str, Any]) -> None:
        """Begins to connect."""
        self._messages: queue.Queue[_Message] = queue.Queue()
        self._thread = threading.Thread(
            target=self._work, args=(directory, experiment, config), daemon=True
        )
        self._thread.start()
        _open.append(self)
        atexit.register(self.close)

    def stage(self, name: str) -> "StageTracker":
        """The sink of one stage."""
        return StageTracker(self._messages, name)

    def close(self) -> None:
        """Waits, but not for long, until everything is sent or stored."""
        atexit.unregister(self.close)
        if self in _open:
            _open.remove(self)
        self._messages.put(None)
        self._thread.join(_PATIENCE_SECONDS)
        if self._thread.is_alive():
            _say("does not answer; what it has not got yet is in metrics.jsonl")

    def _work(self, directory: Path, experiment: str, config: Mapping[str, Any]) -> None:
        """The thread: connects, sends what comes, ends the run; stops at the first error."""
        try:
            run = _start(directory, experiment, config)
            # After that of wandb, so that it comes before: wandb's own waits without end.
            atexit.register(self.close)
            stages: set[str] = set()
            while (message := self._messages.get()) is not None:
                stage, record = message
                if stage not in stages:
                    stages.add(stage)
                    # Iterations are counted anew in every stage, wandb's own steps are not.
                    run.define_metric(f"{stage}/*", step_metric=f"{stage}/iteration")
                run.log(_entries(stage, record))
            run.finish()
        # No error of wandb may end the training, not even an interpreter exit.
        except BaseException as error:
            reason = " ".join((str(error) or repr(error)).split())[:300]
            _say(f"stopped ({reason}); the training goes on without it")


class StageTracker:
    """Sends the records of one stage to a `Tracker`.

    Args:
        messages: of the tracker.
        stage: name of the stage.
    """

    name = "wandb"

    def __init__(self, messages: "queue.Queue[_Message]", stage: str) -> None:
        """Keeps both."""
        self._messages, self._stage = messages, stage

    def log(self, record: Record) -> None:
        """Hands a record over."""
        self._messages.put((self._stage, record))

    def flush(self) -> None:
        """Nothing: the tracker sends in its own time."""

    def close(self) -> None:
        """Nothing: the tracker ends with the program."""


def _start(directory: Path, experiment: str, config: Mapping[str, Any]) -> Any:
    import wandb

    path = directory / _ID_FILE
    if path.exists():
        identity = json.loads(path.read_text(encoding="utf-8"))["id"]
    else:
        identity = secrets.token_hex(8)
        path.write_text(json.dumps({"id": identity}) + "\n", encoding="utf-8")
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "mlsh_jax"),
        id=identity,
        resume="allow",
        name=directory.name,
        group=experiment,
        dir=str(directory),
        config=dict(config),
        # It would take over the console, ask for an account where it knows none, and let the end of
        # a short training wait for as long as it tries to connect.
        settings=wandb.Settings(console="off", silent=True, login_timeout=1, init_timeout=30),
    )
    _say(f"offline, in {run.dir}" if run.offline else run.url)
    return run


def _entries(stage: str, record: Record) -> dict[str, float]:
    numbers = {
        "iteration": record.iteration,
        "env_steps": record.env_steps,
        "wall_seconds": record.wall_seconds,
        **dict(scalars(record.metrics)),
    }
    return {f"{stage}/{name}": value for name, value in numbers.items()}


def _say(text: str) -> None:
    print(f"wandb: {text}", file=sys.stderr, flush=True)
