"""`python -m benchmarks`: measures what is named, or everything, and prints a table for each."""

from collections.abc import Sequence

import tyro

from benchmarks.config import Config
from mlsh_jax.host.launch import run_main


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints and writes."""
    config = tyro.cli(Config, args=argv, prog="python -m benchmarks")
    from benchmarks import running  # with JAX, for which --help does not wait

    running.measure_parts(config)


if __name__ == "__main__":
    run_main(main)
