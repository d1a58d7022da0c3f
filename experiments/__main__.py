"""`python -m experiments` lists the experiments; with a name it runs one."""

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from mlsh_jax.errors import ConfigError
from mlsh_jax.host.launch import run_main


def find_experiments() -> dict[str, str]:
    """Modules with `PRESETS` and `main`, and their first lines; nothing is imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = set()
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                names.add(node.name)
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", 0)]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
        if {"PRESETS", "main"} <= names:
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Lists the experiments, or runs the one that is named first."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    experiments = find_experiments()
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m experiments NAME [options]\n\nexperiments:")
        width = max(map(len, experiments), default=0)
        for name, description in experiments.items():
            print(f"  {name:{width}}  {description}")
        return
    name, *rest = arguments
    if name not in experiments:
        close = difflib.get_close_matches(name, experiments, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        known = ", ".join(experiments)
        raise ConfigError(f"{name}: unknown experiment{hint}; known: {known}")
    importlib.import_module(f"experiments.{name}").main(rest)


if __name__ == "__main__":
    run_main(main)
