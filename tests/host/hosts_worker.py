"""One of several processes that run meta-iterations together; `test_hosts` starts them.

`python hosts_worker.py COORDINATOR NUM_PROCESSES PROCESS_ID OUT`; the first process writes the
arrays of the final state to OUT.
"""

import sys

import numpy as np
from meta_iterations import meta_iterations

from mlsh_jax import hosts
from mlsh_jax.devices import make_layout


def main(coordinator: str, num_processes: str, process_id: str, out: str) -> None:
    hosts.connect(coordinator, int(num_processes), int(process_id))
    leaves = meta_iterations(make_layout())
    assert hosts.from_first(lambda: f"from {process_id}") == "from 0"
    assert hosts.largest(int(process_id)) == int(num_processes) - 1
    if hosts.is_first():
        np.savez(out, *leaves)


if __name__ == "__main__":
    main(*sys.argv[1:])
