"""The JSON Schema of the objects that --json prints, generated from the manual's lists of events.

It only grows: events and keys that it does not know are valid, so that a script that validates against the schema of an older
release keeps working.
"""

import json

from man.source.man import BOTH_EVENTS, EVENTS, Event

Schema = dict[str, object]

NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
TEXT: Schema = {"type": "string"}
FIGURE: Schema = {"type": ["number", "null"]}
TEXTS: Schema = {"type": "array", "items": TEXT}
TRUTH: Schema = {"type": "boolean"}

# The types of keys; a key means the same in every event. All others are texts.
TYPES: dict[str, Schema] = {
    **dict.fromkeys(("at", "begin", "delay", "elapsed", "receiving", "seconds", "sending"), NUMBER),
    **dict.fromkeys(("attempt", "checks", "connection", "connections", "count", "failed", "held", "received", "sent"), WHOLE),
    **dict.fromkeys(("allow", "connections", "deny", "report", "size", "status", "tunnels", "workers"), WHOLE),
    **dict.fromkeys(("addresses", "chain", "pages", "proxies", "reports", "via"), TEXTS),
    **dict.fromkeys(("login", "ok", "personal", "public", "trusted"), TRUTH),
    **dict.fromkeys(("max", "median", "min", "p99"), FIGURE),
    "times": {"type": "array", "items": NUMBER},
    "expected": {"type": ["boolean", "null"]},
    "code": {"type": ["integer", "null"]},
    "users": {"type": ["integer", "null"]},
    "error": {"type": ["string", "null"]},
}

# Keys that are present only if their values are known.
SOMETIMES = {("error", "code"), ("error", "error"), ("failed", "target"), ("failed", "code"), ("failed", "error")}


def schema() -> str:
    """Returns the text of the schema file."""
    names: dict[str, list[Event]] = {}
    for event in (*BOTH_EVENTS, *(event for listed in EVENTS.values() for event in listed)):
        names.setdefault(event.name, []).append(event)
    return (
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "An event, as tunnelctl prints it with --json",
                "type": "object",
                "properties": {"event": TEXT, "at": NUMBER},
                "required": ["event"],
                "allOf": [rule(name, events) for name, events in names.items()],
            },
            indent=1,
        )
        + "\n"
    )


def rule(name: str, events: list[Event]) -> Schema:
    """Returns the rule for the events of one name. If several commands have it, only the keys common to all are required."""
    keys = list(dict.fromkeys(key for event in events for key in event.keys))
    required = [key for key in keys if all(key in event.keys for event in events) and (name, key) not in SOMETIMES]
    properties = {key: TYPES.get(key, TEXT) for key in keys}
    description = "; or ".join(dict.fromkeys(event.meaning for event in events))
    then: Schema = {"description": description, "properties": properties, "required": required}
    return {"if": {"properties": {"event": {"const": name}}}, "then": then}
