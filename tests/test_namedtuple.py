"""The light NamedTuple behaves as typing.NamedTuple does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tunnelctl.namedtuple import FEW, NamedTuple


class Point(NamedTuple):
    """A point."""

    x: int
    y: int = 2

    def __str__(self) -> str:
        return f"({self.x}|{self.y})"

    @property
    def sum(self) -> int:
        return self.x + self.y


def test_fields_defaults_and_methods():
    point = Point(1)
    assert point == (1, 2) == Point(y=2, x=1)
    assert (point.x, point.y, point.sum, str(point)) == (1, 2, 3, "(1|2)")
    assert point._replace(y=5) == (1, 5)
    assert Point._fields == ("x", "y")


def test_every_object_is_alike_whichever_constructor_made_it():
    class Line(NamedTuple):
        start: Point
        end: Point
        width: int = 1

    for number in range(2 * FEW + 1):
        assert Line(Point(number), end=Point(2)) == (Point(number), Point(2), 1)
    with pytest.raises(TypeError):
        Line(Point(1), Point(2), end=Point(3))  # type: ignore[misc]


def test_it_is_an_immutable_tuple():
    with pytest.raises(AttributeError):
        Point(1).x = 2
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]


def test_name_module_docstring_and_repr():
    assert (Point.__name__, Point.__module__, Point.__doc__) == ("Point", __name__, "A point.")
    assert repr(Point(1)) == "Point(x=1, y=2)"


def test_typing_is_not_imported():
    code = "import sys; before = 'typing' in sys.modules; import tunnelctl.namedtuple; print(before, 'typing' in sys.modules)"
    code = f"import sys; sys.path[:0] = {sys.path!r}; {code}"
    said = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, timeout=30)
    assert said.stdout.split() == [b"False", b"False"]
