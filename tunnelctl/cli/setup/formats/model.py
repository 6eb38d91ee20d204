"""The interface of a format: renders settings, each identified by its path in the file, and reads them back.

`read(render(settings)) == settings` for each format: a test draws such settings at random. So `--check` finds what was printed,
however the file is laid out, and no value can end its quotes and begin a line of its own.
"""

from collections.abc import Mapping
from typing import Protocol

Path = tuple[str, ...]  # of a setting: the tables around it, then its key
Value = str | bool | tuple[str, ...]
Settings = Mapping[Path, Value]


class Unwritable(ValueError):
    """The format has no notation for this value."""


class Format(Protocol):
    """A format of a configuration file."""

    @property
    def comment(self) -> str:
        """The start of a comment; "" if the format has none."""

    @property
    def appendable(self) -> bool:
        """Whether lines can be appended to a file, whatever is in it: a table that occurs twice is an error in some formats."""

    def render(self, settings: Settings) -> str:
        """Returns the lines. Raises Unwritable."""

    def read(self, text: str) -> Settings:
        """Returns what a file has, as far as it is understood. Raises ValueError for a file that the tool itself would refuse."""


def text_of(value: Value) -> str:
    """Returns a value that has to be a text of printable characters: a control character could begin a line."""
    if not isinstance(value, str) or not value.isprintable():
        raise Unwritable(f"not a printable text: {value!a}")
    return value
