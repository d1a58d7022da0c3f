"""How long an experiment takes from its command to its first step, and the memory it asks for."""

import itertools
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.config import Config
from benchmarks.measure import Case, Report, Row, peak_memory
from mlsh_jax.errors import RunError

COMPILED = re.compile(r"compiled in ([\d.]+) s(?:, [\d.]+ of them waited for)?, needs ([\d.]+) of")
"""What `mlsh_jax.host.compilation.Program` says of itself: seconds, and gigabytes."""


TITLE = "from the command to the first step"

_SECONDS = {"moving_bandits": 17.0}
_SECONDS_OF_A_BODY = 32.0


def cases(config: Config) -> list[Case]:
    """One case for each preset of each experiment."""
    return [
        Case(
            f"{experiment} --preset {preset}",
            measure,
            (experiment, preset),
            _SECONDS.get(experiment, _SECONDS_OF_A_BODY),
        )
        for experiment, preset in itertools.product(config.experiments, config.presets)
    ]


def measure(report: Report, experiment: str, preset: str) -> list[Row]:
    """Two launches, the second with the compilation cache that the first has filled."""
    with tempfile.TemporaryDirectory() as directory:
        cold = _launch(experiment, preset, Path(directory))
        report({"compile s": cold[1], "launch s": cold[0]})
        cached = _launch(experiment, preset, Path(directory))
    return [
        {
            "experiment": experiment,
            "preset": preset,
            "needs GB": cold[2],
            # Of the largest of all processes that this one has waited for, compilation included.
            "peak GB": peak_memory(resource.RUSAGE_CHILDREN) / 1e9,
            "compile s": cold[1],
            "launch s": cold[0],
            "compile again s": cached[1],
            "launch again s": cached[0],
        }
    ]


def _launch(experiment: str, preset: str, directory: Path) -> tuple[float, float, float]:
    """Seconds until the first stage is compiled, seconds of compiling, and GB of memory."""
    variables = {**os.environ, "XDG_CACHE_HOME": str(directory)}
    variables.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", f"experiments.{experiment}", "--preset", preset]
    command += ["--run-root", str(directory)]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables
    ) as process:
        assert process.stdout is not None
        line = ""
        for line in process.stdout:
            found = COMPILED.search(line)
            if found:
                seconds = time.perf_counter() - started
                process.kill()
                return seconds, float(found[1]), float(found[2])
    raise RunError(f"{' '.join(command)} ended before it began: {line.strip()}")
