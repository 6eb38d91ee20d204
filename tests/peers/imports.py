"""What each import inside a function costs: `python -m tests.peers.imports` writes tests/data/lazy_imports.txt.

An import stands inside a function only if it costs something that the start of `connect` need not pay. The table has the figures;
tests/test_startup.py holds that it lists those imports and no others.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "tests/data/lazy_imports.txt"
ROUNDS = 5

# What a plain `connect` loads, but inside functions: other commands do without connect, and --via without the others.
USUAL = {"tunnelctl.client.connect", "tunnelctl.client.retry", "tunnelctl.client.route.planner", "tunnelctl.client.tunnel"}

# Imported only where it can be: on macOS and the BSDs.
ELSEWHERE = {"tunnelctl.engine.kqueue"}

# The modules that a plain `connect` has loaded by the time that it dials, and then the import: its milliseconds.
PROGRAM = """
import sys, time
from tunnelctl.cli import main
import tunnelctl.cli.parse.fast, tunnelctl.cli.parse.settings, tunnelctl.client.connect, tunnelctl.client.retry
begun = time.perf_counter()
import {module}
print((time.perf_counter() - begun) * 1000)
"""


def lazy_imports() -> set[str]:
    """The modules that functions import.

    Not those of cli/main.py: it has to take care of Ctrl-C before it loads anything. And neither USUAL nor ELSEWHERE.
    """
    files = (path for path in (ROOT / "tunnelctl").rglob("*.py") if path.name != "main.py")
    return {name for path in files for name in _in_functions(ast.parse(path.read_text("utf-8")))} - USUAL - ELSEWHERE


def _in_functions(tree: ast.Module) -> Iterator[str]:
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom):
                    yield node.module or ""
                elif isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)


def listed() -> dict[str, float]:
    """The table: milliseconds by module."""
    lines = (line.split() for line in TABLE.read_text().splitlines() if not line.startswith("#"))
    return {module: float(cost) for cost, module in lines}


def cost(module: str) -> float:
    """The least of some rounds, each in a fresh interpreter."""
    command = [sys.executable, "-I", "-c", PROGRAM.format(module=module)]
    return min(float(subprocess.run(command, capture_output=True, check=True, text=True).stdout) for _ in range(ROUNDS))


def main() -> None:
    head = "# Milliseconds that an import inside a function costs on top of a plain `connect`; see tests/peers/imports.py.\n"
    TABLE.write_text(head + "".join(f"{cost(module):8.2f}  {module}\n" for module in sorted(lazy_imports())))


if __name__ == "__main__":
    main()
