"""Checks each --json object that a test sees against the schema of the program, and each access log record against the manual."""

import json
from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import Any

from jsonschema import Draft202012Validator

from man.source.events import EVERY_KIND, LOG_KEYS, LOGGED, keys_of
from man.source.generate import ROOT, SCHEMA
from tests.peers.messages import check_messages
from tunnelctl.cli.render.console import Console
from tunnelctl.events import Event, name_of

_EVENT = b'{"event": '


# Made at the import: 80 ms within a test would be taken from the time that it gives a connection.
_SCHEMA = json.loads((ROOT / SCHEMA).read_text())
Draft202012Validator.check_schema(_SCHEMA)
_VALIDATOR = Draft202012Validator(_SCHEMA)


@cache
def _documented() -> set[str]:
    return {name_of(kind) for kind in EVERY_KIND}


def check_event(line: str | bytes) -> None:
    """Fails unless a line is an object that the schema allows, of a documented event."""
    record = json.loads(line)
    _VALIDATOR.validate(record)
    assert record["event"] in _documented(), f"an event that is not documented: {record}"


def check_events(output: bytes) -> None:
    """The same for each line of an output that is an event; lines of text may come between them."""
    if _EVENT in output:  # most outputs have no event, and some have megabytes from a tunnel
        for line in output.splitlines():
            if line.startswith(_EVENT):
                check_event(line)


def check_told(event: Event) -> None:
    """The same for an event passed to a trace, as --json would print it."""
    Console(json=True, write=check_events)(event)


def checking(communicate: Callable[..., Any]) -> Callable[..., Any]:
    """The same for all that `subprocess.Popen.communicate` returns, and with it `subprocess.run`; its errors are declared, too."""

    @wraps(communicate)
    def checked(*words: Any, **named: Any) -> Any:
        outputs = communicate(*words, **named)
        for output in filter(None, outputs):
            octets = output if isinstance(output, bytes) else output.encode("utf-8", "replace")
            check_events(octets)
            check_messages(octets)
        return outputs

    return checked


def check_record(record: Mapping[str, object]) -> None:
    """Fails unless an access log record has exactly the keys that are documented for its event, in their order."""
    kind = next((kind for kind in LOGGED if name_of(kind) == record["event"]), None)
    assert kind is not None, f"a record that is not documented: {record}"
    always, every = ([*LOG_KEYS, *(key.name for key in keys_of(kind) if not (key.sometimes and of))] for of in (True, False))
    assert list(record) in (always, every), f"a record that is not documented: {record}"
