"""`python -m experiments` lists the experiments; with a name it runs one."""

import difflib
import importlib
import sys
from collections.abc import Sequence

from experiments.table import TABLE, module_name
from mlsh_jax.errors import ConfigError
from mlsh_jax.host.launch import run_main

_HEADINGS = {
    "training": "train sub-policies and measure them:",
    "course": "learn a course on sub-policies that come with the code:",
    "tool": "work on other experiments and their runs:",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Lists the experiments, or runs the one that is named first."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m experiments NAME [options]")
        width = max(map(len, TABLE))
        for kind, heading in _HEADINGS.items():
            print(f"\n{heading}")
            for name, entry in TABLE.items():
                if entry.kind == kind:
                    print(f"  {name:{width}}  {entry.description}")
        return
    name, *rest = arguments
    if name not in TABLE:
        close = difflib.get_close_matches(name, TABLE, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(f"{name}: unknown experiment{hint}; known: {', '.join(TABLE)}")
    module = importlib.import_module(module_name(name))
    module.main(rest)


if __name__ == "__main__":
    run_main(main)
