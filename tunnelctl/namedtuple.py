"""A `NamedTuple` like that of typing, without importing typing, or collections.

ssh starts `connect` for every connection, and its start defines some twenty records. Importing typing takes 2 to 3 ms, a quarter of
what a bare interpreter takes to start. collections.namedtuple takes 6 % of the instructions of a start to import, and another 8 %
to compile a constructor for each record (callgrind). So here a record is compiled when its fourth object is made: few records of
`connect` have as many. From then on it is as quick as a named tuple.

    class Point(NamedTuple):
        x: int
        y: int = 0

Modules that use it start with `from __future__ import annotations`, so that their annotations cost nothing either. Type checkers
see typing's own.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]

FEW = 3  # objects of a record that are made before its constructor is compiled, which costs as much as a dozen of them

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Self
    from typing import NamedTuple as NamedTuple
else:

    class _Record(type):
        """Turns the body of a class with annotations into a named tuple with that body's methods."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            fields = tuple(body.pop("__annotations__", ()))
            defaults = {field: body[field] for field in fields if field in body}
            for place, field in enumerate(fields):
                body[field] = _tuplegetter(place, None)
            body.update(__slots__=(), _fields=fields, _field_defaults=defaults, __match_args__=fields)
            made = type(name, (_NamedTuple,), body)
            made.__new__ = _first_constructor(made)
            return made

    NamedTuple = type.__new__(_Record, "NamedTuple", (), {})


class _NamedTuple(tuple):  # type: ignore[type-arg]
    """What all records have, under the names of collections.namedtuple."""

    __slots__ = ()
    _fields: tuple[str, ...]

    @classmethod
    def _make(cls, values: Iterable[Any]) -> Self:
        return cls(*values)

    def _replace(self, /, **changes: object) -> Self:
        made = tuple.__new__(type(self), map(changes.pop, self._fields, self))
        if changes:
            raise ValueError(f"Got unexpected field names: {list(changes)!r}")
        return made

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{field}={value!r}' for field, value in self._asdict().items())})"

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)


def _first_constructor(record: Any) -> Callable[..., Any]:
    """Returns a constructor that makes FEW objects, and leaves all others to the compiled one."""
    fields, defaults, make = record._fields, record._field_defaults, tuple.__new__
    left = FEW

    def construct(cls: type, /, *values: object, **named: object) -> Any:
        nonlocal left
        rest = fields[len(values) :]
        found = {**defaults, **named}
        if not left or len(values) > len(fields) or not found.keys() >= set(rest) or not named.keys() <= set(rest):
            record.__new__ = compiled = _compiled_constructor(fields, defaults)
            return compiled(cls, *values, **named)
        left -= 1
        return make(cls, (*values, *[found[field] for field in rest]))

    return construct


def _compiled_constructor(fields: tuple[str, ...], defaults: dict[str, object]) -> Callable[..., Any]:
    """Compiles a function whose parameters are the fields."""
    names = ", ".join(fields)
    source = f"lambda cls, /, {names}: make(cls, ({names}{',' * bool(fields)}))"
    construct: Any = eval(source, {"make": tuple.__new__, "__builtins__": {}})
    construct.__name__ = "__new__"  # as a TypeError shows it
    construct.__defaults__ = tuple(defaults.values())
    return construct  # type: ignore[no-any-return]
