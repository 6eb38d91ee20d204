"""Counts per rule: how many tunnels each has granted and refused, or would have refused.

The counts are in memory that all processes share, as those of `metrics` are. But a rule is a text that a reload may change, so it
has no place known beforehand: a row has a fixed number of slots, and its process gives one to each rule that it meets. Only that
process writes there, and the text before the first count, so there is no lock. Whoever answers a scrape adds up the rows by their
texts. A worker that replaces a dead one finds the rules in the row, and continues.

The alternative was to ask the workers at each scrape. Then the counts of a dead worker are lost, and those of a slow one are
missing once: sums would fall, which Prometheus takes for a restart of the server.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import TypeAlias

from tunnelctl.control.snapshot import RuleCount
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.server.policy.rules import INTERNAL, NO_ALLOW

VERDICTS = ("granted", "refused", "reported")

SLOTS = 512  # rules of one process; all others share the last slot. The kernel provides only the pages in use
WIDTH = 256  # octets of a text; a longer one is cut
OTHER = "other"
_LAST = SLOTS - 1

_KINDS = ("allow ", "deny ", "report ")
_GRANTED, _REFUSED, _REPORTED = range(len(VERDICTS))
_Counts = tuple[int, int, int]


Numbers: TypeAlias = "memoryview[float] | list[float]"


def shared_numbers(rows: int, width: int) -> list[Numbers]:
    """Returns a row of zeros for each process. A single process shares with nobody: a list spares 20 ns each time."""
    if rows == 1:
        return [[0.0] * width]
    return [memoryview(mmap.mmap(-1, width * 8)).cast("d") for _ in range(rows)]


class RuleCounters:
    """A row of slots for each process, shared with every process forked from this one."""

    def __init__(self, rows: int) -> None:
        self._texts = [memoryview(mmap.mmap(-1, SLOTS * WIDTH)) for _ in range(rows)]
        self._counts = shared_numbers(rows, SLOTS * len(VERDICTS))

    def tally(self, number: int) -> RuleTally:
        """Returns the tally of one process. It continues that of a predecessor."""
        return RuleTally(self._texts[number], self._counts[number])

    def totals(self) -> Mapping[str, _Counts]:
        """Returns the counts of each rule over all processes."""
        sums: dict[str, _Counts] = {}
        for texts, counts in zip(self._texts, self._counts, strict=True):
            for rule, (granted, refused, reported) in _read(texts, counts):
                before = sums.get(rule, (0, 0, 0))
                sums[rule] = before[0] + granted, before[1] + refused, before[2] + reported
        return sums


class RuleTally:
    """One process's row. A decision costs 0.2 µs."""

    def __init__(self, texts: memoryview, counts: Numbers) -> None:
        self._texts, self._counts = texts, counts
        known = [rule for rule, _ in _read(texts, counts)][:_LAST]
        self._places = {rule: slot * len(VERDICTS) for slot, rule in enumerate(known)}  # of a rule's first count
        self._used = len(known)  # slots

    def on_decision(self, record: TunnelRecord, status: int) -> None:
        """Counts the response to a request, if a rule has decided on it: not a failure to reach the target."""
        if record.rule:
            self._count(record.rule, _GRANTED if status == 200 else _REFUSED)
        for report in record.reports:
            self._count(report, _REPORTED)

    def on_end(self, record: TunnelRecord) -> None:
        """Counts the rules on what a tunnel carries, which decide after it was granted."""
        if record.seen is not None:
            if record.seen.cut_by:
                self._count(record.seen.cut_by, _REFUSED)
            for report in record.seen.reports:
                self._count(report, _REPORTED)

    def counts(self) -> list[RuleCount]:
        """Returns the rules that have granted or refused."""
        found = ((rule, granted, refused) for rule, (granted, refused, _) in _read(self._texts, self._counts))
        return [RuleCount(rule, granted, refused) for rule, granted, refused in found if granted or refused]

    def _count(self, rule: str, verdict: int) -> None:
        place = self._places.get(rule)
        if place is None:
            if not is_rule(rule):
                return
            place = self._place(rule)
        self._counts[place + verdict] += 1

    def _place(self, rule: str) -> int:
        """Gives a slot to a rule: the last one, if no other is free."""
        text = rule.encode("utf-8", "backslashreplace")[: WIDTH - 1]
        shown = _decoded(text)
        if shown in self._places:  # it is longer than a slot
            return self._places[shown]
        if self._used == _LAST:
            self._write(_LAST, OTHER.encode())
            return _LAST * len(VERDICTS)
        self._write(self._used, text)
        self._places[shown] = place = self._used * len(VERDICTS)
        self._used += 1
        return place

    def _write(self, slot: int, text: bytes) -> None:
        self._texts[slot * WIDTH : slot * WIDTH + len(text)] = text


def is_rule(rule: str) -> bool:
    """Whether the reason for a decision is a rule, or the lack of one: other reasons are texts of any number."""
    return rule.startswith(_KINDS) or rule in (NO_ALLOW, INTERNAL)


def _read(texts: memoryview, counts: Numbers) -> list[tuple[str, _Counts]]:
    """Returns the slots in use, which are the first ones, and possibly the last."""
    found: list[tuple[str, _Counts]] = []
    for number in range(SLOTS):
        start = number * WIDTH
        if not texts[start]:
            continue
        granted, refused, reported = counts[number * len(VERDICTS) : (number + 1) * len(VERDICTS)]
        found.append((_decoded(bytes(texts[start : start + WIDTH])), (int(granted), int(refused), int(reported))))
    return found


def _decoded(text: bytes) -> str:
    return text.rstrip(b"\0").decode("utf-8", "ignore")
