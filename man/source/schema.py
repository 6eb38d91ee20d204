"""The JSON Schema of the objects that --json prints, generated from the records of events.

It only grows: events and keys that it does not know are valid, so that a script that validates against the schema of an older
release keeps working.
"""

import json
from collections.abc import Iterable

from man.source.events import EVERY_KIND, Key, keys_of, meaning_of
from tunnelctl.events import Event, name_of

Schema = dict[str, object]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
PAIR: Schema = {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}

# The types of keys, by their annotation.
TYPES: dict[str, Schema] = {
    "str": TEXT,
    "bytes": TEXT,
    "int": {"type": "integer"},
    "float": NUMBER,
    "bool": {"type": "boolean"},
    "list[str]": {"type": "array", "items": TEXT},
    "tuple[str, ...]": {"type": "array", "items": TEXT},
    "list[float]": {"type": "array", "items": NUMBER},
    "dict[str, float]": {"type": "object", "additionalProperties": NUMBER},
    "dict[str, Any]": {"type": "object"},
    "Fields": {"type": "array", "items": PAIR},
}


def schema() -> str:
    """Returns the text of the schema file."""
    kinds: dict[str, list[type[Event]]] = {}
    for kind in EVERY_KIND:
        kinds.setdefault(name_of(kind), []).append(kind)
    return (
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "An event, as tunnelctl prints it with --json",
                "type": "object",
                "properties": {"event": TEXT, "time": NUMBER},
                "required": ["event"],
                "allOf": [rule(name, of_that_name) for name, of_that_name in kinds.items()],
            },
            indent=1,
        )
        + "\n"
    )


def rule(name: str, kinds: list[type[Event]]) -> Schema:
    """Returns the rule for the events of one name. If several commands have it, only the keys common to all are required."""
    always = [[key.name for key in keys_of(kind) if not key.sometimes] for kind in kinds]
    required = [key for key in always[0] if all(key in names for names in always)]
    meanings: dict[str, list[str]] = {}
    for key in (keys := [key for kind in kinds for key in keys_of(kind)]):
        meanings.setdefault(key.name, []).append(key.meaning)
    properties = {key.name: {**type_of(key), "description": either(meanings[key.name])} for key in keys}
    then: Schema = {"description": either(map(meaning_of, kinds)), "properties": properties, "required": required}
    return {"if": {"properties": {"event": {"const": name}}}, "then": then}


def either(texts: Iterable[str]) -> str:
    """Joins the descriptions that commands give to one name."""
    return " Or: ".join(dict.fromkeys(texts))


def type_of(key: Key) -> Schema:
    """Returns the type of a key. One that is left out while it is None is never null."""
    plain = key.type.removesuffix(" | None")
    known = TYPES[plain]
    return known if plain == key.type or key.sometimes else {**known, "type": [known["type"], "null"]}
