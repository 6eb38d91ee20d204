"""Tracing: the layers below the command line report events without knowing what prints them."""

from collections.abc import Callable

# Called once per stage, as trace(event, **fields): `event` is one of the names in the manual's list of events, and the fields are
# str, int, float, bytes or lists of str. Text and heads from a peer are passed raw: the renderer escapes them. Secrets are masked
# before they get here, so that no renderer can leak one.
Trace = Callable[..., None]


def silent(event: str, /, **fields: object) -> None:
    """A trace that discards every event."""
