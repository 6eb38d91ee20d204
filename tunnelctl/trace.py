"""How the layers below the command line report what they do, without knowing who prints it."""

from collections.abc import Callable

# Called once a stage, as trace(event, **fields): `event` is one of the names in the manual's list of events, and the fields are
# str, int, float, bytes or lists of str. Text and heads that came from a peer are passed raw: whoever prints them escapes them.
# Secrets are masked before they get here, so that no renderer can leak one.
Trace = Callable[..., None]


def silent(event: str, /, **fields: object) -> None:
    """The trace that nobody looks at."""
