"""The records of events: each is described, what is described is reported, and one name is one thing."""

import ast
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


def test_a_record_has_its_keys_by_place_and_by_name():
    assert Sample("a", 2) == Sample(one="a", two=2) == Sample("a", two=2)
    assert Sample("a", 2) != Sample("a", 3)
    assert (Sample("a").one, Sample("a").two) == ("a", None)
    assert repr(Sample("a", 2)) == "Sample(one='a', two=2)"


@pytest.mark.parametrize(("values", "named"), [((), {}), (("a", 2, 3), {}), (("a",), {"three": 3}), ((), {"two": 2})], ids=str)
def test_a_key_too_many_or_too_few_is_a_fault(values, named):
    with pytest.raises(TypeError, match="Sample has the keys one, two"):
        Sample(*values, **named)


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError):
        Sample("a").one = "b"


def test_a_key_that_defaults_to_none_is_absent_while_it_is_none():
    assert Sample("a").facts() == {"one": "a"}
    assert Sample("a", 0).facts() == {"one": "a", "two": 0}
    assert events.Closed(1, 2, 0.5, "client", "eof").facts()["sent"] == 1


def test_an_event_without_keys():
    class Bare(Event):
        """Nothing else."""

    assert (Bare().facts(), Bare() == Bare()) == ({}, True)
    assert silent(Bare()) is None


def test_the_keys_of_an_error():
    assert refusal_of(Refused("a", "b", "refused", detail={"code": 403, "error": "x"})) == (403, "x")
    assert refusal_of(UsageProblem("a", "b", "unknown-flag")) == (None, None)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_each_is_described_key_by_key_and_in_order(kind):
    assert meaning_of(kind)[0].isupper()
    assert meaning_of(kind).endswith(".")
    described = [line.partition(":")[0].strip() for line in (kind.__doc__ or "").split("\n\n", 1)[-1].splitlines()[:-1]]
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


def test_words_that_have_been_given_up_do_not_come_back():
    """One name for one thing: see the table at the head of the module."""
    keys = {key.name for kind in KINDS for key in keys_of(kind)}
    names = {name_of(kind) for kind in KINDS}
    assert not keys & {"at", "elapsed", "reason", "ended_by", "id", "session", "head", "allowed", "forward", "backward"}
    assert not names & {"tunnel", "end", "ended", "decision", "open", "inspected"}
    assert set(SIDES.values()) == {"client", "target", "tunnelctl"}


def made() -> set[str]:
    """The classes whose constructors are called anywhere in the program, as modules name them."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                found.add(ast.unparse(node.func).rpartition(".")[2])
    return found


def test_each_of_them_is_reported():
    """The interim record is the exception: the access log alone has it, and formats it by hand."""
    found, renamed = made(), {"Check": "CheckEvent"}
    assert {kind.__name__ for kind in KINDS if renamed.get(kind.__name__, kind.__name__) not in found} == {"Interim"}


def test_each_class_is_listed():
    files = list(PACKAGE.rglob("*events.py"))
    classes = {node.name for path in files for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef)}
    assert len(files) == 7
    assert classes - {kind.__name__ for kind in KINDS} == {"Event", "Explained", "OfConnection"}
