"""A `NamedTuple` like that of typing, without importing typing.

Importing typing costs 2 to 3 ms, a quarter of what a bare interpreter takes to start, and ssh starts `connect` for every
connection. Type checkers see typing's own; at run time a class body becomes a collections.namedtuple, which functools has loaded
anyway.

    class Point(NamedTuple):
        x: int
        y: int = 0

Modules that use it start with `from __future__ import annotations`, so that their annotations cost nothing either.
"""

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class _Record(type):
        """Turns the body of a class with annotations into a named tuple with that body's methods."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            fields = list(body.get("__annotations__", ()))
            defaults = [body[field] for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            for key, value in body.items():
                if key not in fields and key not in ("__annotations__", "__module__", "__qualname__"):
                    setattr(made, key, value)
            return made

    NamedTuple = type.__new__(_Record, "NamedTuple", (), {})
