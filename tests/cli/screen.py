"""A console that keeps its output."""

import json

from tunnelctl.cli.render.console import Console


class Screen(Console):
    """A console that keeps its output; its clock reads 12 ms, and the time of day is 1e9."""

    def __init__(self, **options):
        self.written = b""
        times = iter([0.0])
        super().__init__(**options, write=self.keep, clock=lambda: next(times, 0.012), now=lambda: 1e9)

    def keep(self, data: bytes) -> None:
        self.written += data

    @property
    def lines(self) -> list[str]:
        return self.written.decode().splitlines()

    @property
    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.lines]
