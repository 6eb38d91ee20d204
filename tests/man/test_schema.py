"""Tests the JSON Schema of the events: valid, strict enough to reject, and open to additions in later releases."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from jsonschema import ValidationError

from man.source.events import EVERY_KIND, keys_of
from man.source.schema import TYPES, schema, type_of
from tests.peers import program
from tests.peers.events import check_event, check_events, check_record
from tests.peers.program import RUN_SECONDS, SOON, Serve, run, started
from tunnelctl.events import name_of

SCHEMA = json.loads(schema())
RULES = {rule["if"]["properties"]["event"]["const"]: rule["then"] for rule in SCHEMA["allOf"]}
OPENED = {"event": "opened", "time": 0.1, "target": "h:22", "via": ["p:3128"], "seconds": 0.05}


def test_the_schema_has_every_event_and_every_key():
    for kind in EVERY_KIND:
        rule = RULES[name_of(kind)]
        for key in keys_of(kind):
            assert key.meaning in rule["properties"][key.name]["description"].split(" Or: ")
        assert set(rule["required"]) <= {key.name for key in keys_of(kind) if not key.sometimes}


def test_every_type_is_used():
    used = {key.type.removesuffix(" | None") for kind in EVERY_KIND for key in keys_of(kind)}
    assert used == set(TYPES)


def test_events_of_the_same_name_agree_on_the_types_of_their_keys():
    types: dict[tuple[str, str], set[str]] = {}
    for kind in EVERY_KIND:
        for key in keys_of(kind):
            types.setdefault((name_of(kind), key.name), set()).add(json.dumps(type_of(key)))
    assert [key for key, found in types.items() if len(found) > 1] == []


def test_nullable_and_optional_keys():
    assert RULES["failed"]["properties"]["code"]["type"] == ["integer", "null"]
    assert "code" in RULES["failed"]["required"]
    assert RULES["error"]["properties"]["code"]["type"] == "integer"
    assert "code" not in RULES["error"]["required"]


def test_an_event_shared_by_two_commands_requires_their_common_keys():
    assert RULES["listening"]["required"] == ["address"]
    assert set(RULES["listening"]["properties"]) >= {"address", "target", "via", "origin", "login"}


def test_valid_events_and_added_keys_are_accepted():
    check_event(json.dumps(OPENED))
    check_event(json.dumps({**OPENED, "added": "later"}))
    check_events(b'text\n{"event": "stopped", "time": 1}\n')


@pytest.mark.parametrize(
    "wrong",
    [{"via": "p:3128"}, {"seconds": "0.05"}, {"target": None}, {"time": "now"}],
    ids=str,
)
def test_wrong_types_are_rejected(wrong):
    with pytest.raises(ValidationError):
        check_event(json.dumps({**OPENED, **wrong}))


def test_a_missing_key_is_rejected():
    with pytest.raises(ValidationError, match="'target' is a required property"):
        check_events(json.dumps({key: value for key, value in OPENED.items() if key != "target"}).encode())


def test_an_undocumented_event_is_reported():
    with pytest.raises(AssertionError, match="not documented"):
        check_event('{"event": "new", "time": 1}')


# --- an invalid event fails the test, however the test reads the output

WRONG = '{"event": "opened", "time": 0.1}'
SAY_IT = f"import sys; print('text', {WRONG!r}, sep='\\n', file=sys.stderr)"


def by_line() -> None:
    with started() as process:
        assert process.stderr is not None
        assert [process.stderr.readline() for _ in range(2)] == [b"text\n", WRONG.encode() + b"\n"]


def at_once() -> None:
    with started() as process:
        assert process.stderr is not None
        process.stderr.read()


def collected() -> None:
    with started() as process:
        process.communicate(timeout=RUN_SECONDS)


def unread() -> None:
    with started() as process:
        process.wait(SOON)


def as_text() -> None:
    subprocess.run(program.MODULE, capture_output=True, text=True, timeout=RUN_SECONDS)


@pytest.mark.parametrize("reading", [by_line, at_once, collected, unread, run, as_text])
def test_an_invalid_event_is_reported_however_it_is_read(reading: Callable[[], object], monkeypatch) -> None:
    monkeypatch.setattr(program, "MODULE", (sys.executable, "-c", SAY_IT))
    with pytest.raises(ValidationError, match="'target' is a required property"):
        reading()


def test_an_invalid_event_of_a_server_is_reported(monkeypatch) -> None:
    wait = "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15])"
    code = f"{wait}; print('listening on 127.0.0.1:1', {WRONG!r}, sep='\\n', file=sys.stderr); signal.sigwait([15])"
    monkeypatch.setattr(program, "MODULE", (sys.executable, "-c", code))
    with pytest.raises(ValidationError, match="'target' is a required property"), Serve():
        pass


def test_an_invalid_access_log_record_is_reported(tmp_path, monkeypatch) -> None:
    log = tmp_path / "log"
    log.write_text('{"event":"interim","time":1}\n{"event":"en')  # and an incomplete record, which is no error
    monkeypatch.setattr(program, "MODULE", (sys.executable, "-c", ""))
    with pytest.raises(AssertionError, match="not documented"), started("--access-log", str(log)):
        pass


@pytest.mark.parametrize("record", [{"event": "interim", "time": 1}, {"event": "refused", "rules": []}], ids=str)
def test_an_undocumented_access_log_record_is_reported(record: dict[str, object]) -> None:
    with pytest.raises(AssertionError, match="not documented"):
        check_record(record)
