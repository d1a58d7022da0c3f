"""One of several processes that run meta-iterations together; `test_processes` starts them.

`python processes_worker.py COORDINATOR NUM_PROCESSES PROCESS_ID OUT`; the first process writes the
arrays of the final state to OUT.
"""

import sys

import numpy as np
from meta_iterations import meta_iterations

from mlsh_jax.host import processes
from mlsh_jax.host.devices import make_layout


def main(coordinator: str, num_processes: str, process_id: str, out: str) -> None:
    processes.connect(coordinator, int(num_processes), int(process_id))
    leaves = meta_iterations(make_layout())
    assert processes.from_first(lambda: f"from {process_id}") == "from 0"
    assert processes.largest(int(process_id)) == int(num_processes) - 1
    if processes.is_first():
        np.savez(out, *leaves)


if __name__ == "__main__":
    main(*sys.argv[1:])
