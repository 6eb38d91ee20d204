"""The event records: each is documented, each documented one is reported, and each name has one meaning."""

import ast
from inspect import cleandoc
from pathlib import Path

import pytest

from man.source.events import EVENTS, EVERY_KIND, LOGGED, keys_of, meaning_of
from man.source.schema import TYPES
from tunnelctl import events
from tunnelctl.errors import Refused, UsageProblem
from tunnelctl.events import SIDES, Event, name_of, silent
from tunnelctl.rare_events import refusal_of

PACKAGE = Path(__file__).parents[1] / "tunnelctl"
KINDS = tuple(dict.fromkeys((*EVERY_KIND, *LOGGED)))


class Sample(Event):
    """A sample.

    one: the first key
    two: the second key
    """

    one: str
    two: int | None = None


def test_a_record_takes_its_keys_by_position_and_by_name():
    assert Sample("a", 2) == Sample(one="a", two=2) == Sample("a", two=2)
    assert Sample("a", 2) != Sample("a", 3)
    assert (Sample("a").one, Sample("a").two) == ("a", None)
    assert repr(Sample("a", 2)) == "Sample(one='a', two=2)"


@pytest.mark.parametrize(("values", "named"), [((), {}), (("a", 2, 3), {}), (("a",), {"three": 3}), ((), {"two": 2})], ids=str)
def test_a_missing_or_unknown_key_is_a_type_error(values, named):
    with pytest.raises(TypeError, match="Sample has the keys one, two"):
        Sample(*values, **named)


def test_a_record_is_immutable():
    with pytest.raises(AttributeError):
        Sample("a").one = "b"


def test_a_key_with_the_default_none_is_omitted_while_it_is_none():
    assert Sample("a").facts() == {"one": "a"}
    assert Sample("a", 0).facts() == {"one": "a", "two": 0}
    assert events.Closed(1, 2, 0.5, "client", "eof").facts()["sent"] == 1


def test_an_event_without_keys():
    class Bare(Event):
        """Nothing else."""

    assert (Bare().facts(), Bare() == Bare()) == ({}, True)
    assert silent(Bare()) is None


def test_code_and_error_of_a_refusal():
    assert refusal_of(Refused("a", "b", "refused", detail={"code": 403, "error": "x"})) == (403, "x")
    assert refusal_of(UsageProblem("a", "b", "unknown-flag")) == (None, None)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_event_documents_each_of_its_keys_in_order(kind):
    assert meaning_of(kind)[0].isupper()
    assert meaning_of(kind).endswith(".")
    described = [line.partition(":")[0].strip() for line in cleandoc(kind.__doc__ or "").split("\n\n", 1)[-1].splitlines()]
    listed = [key.name for key in keys_of(kind)]
    assert [word for word in described if word in listed] == listed
    for key in keys_of(kind):
        assert key.meaning
        assert key.type.removesuffix(" | None") in TYPES


def test_a_key_has_one_type_in_all_events_of_a_command():
    for kinds in EVENTS.values():
        types: dict[str, set[str]] = {}
        for kind in kinds:
            for key in keys_of(kind):
                types.setdefault(key.name, set()).add(str(TYPES[key.type.removesuffix(" | None")]))
        assert [name for name, found in types.items() if len(found) > 1] == []


def test_abandoned_words_are_not_used_again():
    """One name for one thing: see the table in the docstring of the module."""
    keys = {key.name for kind in KINDS for key in keys_of(kind)}
    names = {name_of(kind) for kind in KINDS}
    assert not keys & {"at", "elapsed", "reason", "ended_by", "id", "session", "head", "allowed", "forward", "backward"}
    assert not names & {"tunnel", "end", "ended", "decision", "open", "inspected"}
    assert set(SIDES.values()) == {"client", "target", "tunnelctl"}


def made() -> set[str]:
    """Returns the names of the classes whose constructors the program calls, as written in the modules."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                found.add(ast.unparse(node.func).rpartition(".")[2])
    return found


def test_every_event_is_reported():
    """Except Interim: only the access log has that record, and formats it by hand."""
    found, renamed = made(), {"Check": "CheckEvent"}
    assert {kind.__name__ for kind in KINDS if renamed.get(kind.__name__, kind.__name__) not in found} == {"Interim"}


def test_every_event_class_is_listed():
    files = [path for path in PACKAGE.rglob("*events.py") if "proto" not in path.parts]  # a protocol's events are its own
    classes = {node.name for path in files for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef)}
    assert len(files) == 8
    assert classes - {kind.__name__ for kind in KINDS} == {"Event", "Explained", "OfConnection"}
