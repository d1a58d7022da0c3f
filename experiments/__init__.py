"""Experiments: one short module each, with presets and a `main`."""

import signal
import sys

# `python -m experiments.NAME` imports this before NAME and its libraries. Ctrl-C meanwhile ends the
# process without a traceback; nothing has begun. `mlsh_jax.host.launch.run_main` takes this back.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
