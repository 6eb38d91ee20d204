"""The rule numbers that tests cite: each is in a checklist beside the tests, and each rule of a checklist is cited."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
CONFORMANCE = (TESTS / "CONFORMANCE.md").read_text("utf-8")
THREATS = (TESTS / "security/THREATS.md").read_text("utf-8")

LISTED = {*re.findall(r"^- \*\*([CRST]\d+)\*\* ", CONFORMANCE, re.MULTILINE), *re.findall(r"^\| (V\d+) \|", THREATS, re.MULTILINE)}
RANGE = re.compile(r"\b([CRSTV])(\d{1,2})(?:-\1?(\d{1,2}))?\b")
NAME = re.compile(r"^test_(?:([cstv])|rule_)(\d{1,2})_")  # those of HTTP/2 are rules, R in the list


def cited(path: Path) -> set[str]:
    """Returns the numbers in the docstrings and comments of a file, in the names of its tests, and in its own name."""
    source = path.read_text("utf-8")
    texts = [line.partition("#")[2] for line in source.splitlines() if line.lstrip().startswith("#")]
    names = [path.stem]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            texts.append(ast.get_docstring(node) or "")
        if isinstance(node, ast.FunctionDef):
            names.append(node.name)
    return {number for text in texts for number in numbers(text)} | {
        f"{(found[1] or 'R').upper()}{int(found[2])}" for name in names if (found := NAME.match(name))
    }


def numbers(text: str) -> set[str]:
    """Returns the numbers in a text. C1-C11 is eleven of them; V8, the JavaScript engine, is none."""
    text = re.sub(r"V8's|without V8", "", text)
    return {
        f"{letter}{number}" for letter, first, last in RANGE.findall(text) for number in range(int(first), int(last or first) + 1)
    }


def all_cited() -> set[str]:
    return set().union(*map(cited, TESTS.rglob("*.py")))


def test_every_cited_rule_is_listed() -> None:
    assert {number for number in all_cited() if number not in LISTED} == set()


def test_every_listed_rule_is_cited() -> None:
    assert LISTED - all_cited() == set()


def test_rule_numbers_are_recognised() -> None:
    assert numbers("C1-C3, V15; S8") == {"C1", "C2", "C3", "V15", "S8"}
    assert {"C1", "R29", "S23", "T7", "V36"} <= LISTED
    assert NAME.match("test_v07_rules_on_names")
    assert NAME.match("test_rule_7_a_refusal")
