"""The source of the package as syntax trees, for tests that hold it against what is declared."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "tunnelctl"
BELOW = ("proto", "stream", "client", "server", "engine", "files")
TREES = {
    path.relative_to(PACKAGE): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
    if "messages" not in path.parts
}


def literals(node: ast.AST) -> set[str]:
    """The texts in an expression, but for those that something is only compared with."""
    if isinstance(node, ast.Constant):
        return {node.value} if isinstance(node.value, str) else set()
    inner = [] if isinstance(node, ast.Compare) else ast.iter_child_nodes(node)
    return {text for child in inner for text in literals(child)}


def outside_docstrings(tree: ast.Module) -> set[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    return literals(tree) - docs
