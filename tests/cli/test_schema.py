"""The JSON Schema of the events: right in form, able to refuse, and open to what later releases add."""

import json

import pytest
from jsonschema import ValidationError

from tests.peers.events import check_event, check_events
from tunnelctl.cli.man import BOTH_EVENTS, EVENTS
from tunnelctl.cli.schema import SOMETIMES, TYPES, schema

SCHEMA = json.loads(schema())
RULES = {rule["if"]["properties"]["event"]["const"]: rule["then"] for rule in SCHEMA["allOf"]}
TUNNEL = {"event": "tunnel", "at": 0.1, "target": "h:22", "via": ["p:3128"], "elapsed": 0.05}


def test_every_event_and_every_key_is_in_it():
    for listed in (BOTH_EVENTS, *EVENTS.values()):
        for event in listed:
            assert set(event.keys) <= set(RULES[event.name]["properties"])


def test_no_type_and_no_exception_without_a_key():
    keys = {key for rule in RULES.values() for key in rule["properties"]}
    assert set(TYPES) - keys == {"at"}
    assert all(key in RULES[name]["properties"] for name, key in SOMETIMES)


def test_an_event_of_two_commands_requires_what_both_have():
    assert RULES["listening"]["required"] == ["address"]
    assert set(RULES["listening"]["properties"]) == {"address", "target"}


def test_what_it_takes():
    check_event(json.dumps(TUNNEL))
    check_event(json.dumps({**TUNNEL, "added": "later"}))
    check_events(b'text\n{"event": "stopped", "at": 1}\n')


@pytest.mark.parametrize(
    "wrong",
    [{"via": "p:3128"}, {"elapsed": "0.05"}, {"target": None}, {"at": "now"}],
    ids=str,
)
def test_what_it_refuses(wrong):
    with pytest.raises(ValidationError):
        check_event(json.dumps({**TUNNEL, **wrong}))


def test_a_key_that_is_missing_is_seen():
    with pytest.raises(ValidationError, match="'elapsed' is a required property"):
        check_events(json.dumps({key: value for key, value in TUNNEL.items() if key != "elapsed"}).encode())


def test_an_unknown_event_is_valid_and_yet_no_event_of_ours():
    with pytest.raises(AssertionError, match="not documented"):
        check_event('{"event": "new", "at": 1}')
