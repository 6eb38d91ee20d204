"""The hints for the findings of `check`."""

import ast

from tests.peers.source import TREES, literals
from tunnelctl.cli.spec.messages.findings import FINDINGS
from tunnelctl.client.check import diagnosis


def test_each_finding_has_hints_of_its_own_or_of_an_error():
    names = set(diagnosis.FINDINGS)
    assert set(FINDINGS) < names
    found = {
        text
        for path, tree in TREES.items()
        if path.parts[:2] in (("client", "check"), ("client", "discovery"))
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Diagnosis"
        if not any(word.arg == "error" for word in call.keywords)
        for text in literals(call.args[0])
    }
    assert found == set(FINDINGS)
