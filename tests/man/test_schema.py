"""The JSON Schema of the events: right in form, able to refuse, and open to what later releases add."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from jsonschema import ValidationError

from man.source.man import BOTH_EVENTS, EVENTS
from man.source.schema import SOMETIMES, TYPES, schema
from tests.peers import program
from tests.peers.events import check_event, check_events, check_record
from tests.peers.program import RUN_SECONDS, SOON, Serve, run, started

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
    assert set(RULES["listening"]["properties"]) >= {"address", "target", "via", "origin", "login"}


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


# --- that a wrong event is seen, however a test reads it

WRONG = '{"event": "tunnel", "at": 0.1}'
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
def test_a_wrong_event_is_seen(reading: Callable[[], object], monkeypatch) -> None:
    monkeypatch.setattr(program, "MODULE", (sys.executable, "-c", SAY_IT))
    with pytest.raises(ValidationError, match="'target' is a required property"):
        reading()


def test_a_wrong_event_of_a_server_is_seen(monkeypatch) -> None:
    wait = "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15])"
    code = f"{wait}; print('listening on 127.0.0.1:1', {WRONG!r}, sep='\\n', file=sys.stderr); signal.sigwait([15])"
    monkeypatch.setattr(program, "MODULE", (sys.executable, "-c", code))
    with pytest.raises(ValidationError, match="'target' is a required property"), Serve():
        pass


def test_a_wrong_record_of_an_access_log_is_seen(tmp_path, monkeypatch) -> None:
    log = tmp_path / "log"
    log.write_text('{"event":"open","time":1}\n{"event":"en')  # and one that is not there yet, which is no fault
    monkeypatch.setattr(program, "MODULE", (sys.executable, "-c", ""))
    with pytest.raises(AssertionError, match="not documented"), started("--access-log", str(log)):
        pass


@pytest.mark.parametrize("record", [{"event": "open", "time": 1}, {"event": "decision", "rules": []}], ids=str)
def test_a_wrong_record_is_seen(record: dict[str, object]) -> None:
    with pytest.raises(AssertionError, match="not documented"):
        check_record(record)
