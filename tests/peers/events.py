"""The objects of --json: each that a test sees is held against the schema that the program comes with."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tunnelctl.cli.console import Console
from tunnelctl.cli.man import BOTH_EVENTS, EVENTS
from tunnelctl.cli.reference import ROOT, SCHEMA


@cache
def _validator() -> Any:
    schema = json.loads((ROOT / SCHEMA).read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@cache
def _documented() -> set[str]:
    return {event.name for listed in (BOTH_EVENTS, *EVENTS.values()) for event in listed}


def check_event(line: str | bytes) -> None:
    """Fail unless a line is an object that the schema allows, of an event that it knows."""
    record = json.loads(line)
    _validator().validate(record)
    assert record["event"] in _documented(), f"an event that is not documented: {record}"


def check_events(output: bytes) -> None:
    """The same for each line of an output that is an event; a line of text may stand between them."""
    for line in output.splitlines():
        if line.startswith(b'{"event": '):
            check_event(line)


def check_told(event: str, fields: Mapping[str, object]) -> None:
    """The same for what a trace was told, as --json would print it."""
    Console(json=True, write=check_events)(event, **fields)
