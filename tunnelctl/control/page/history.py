"""The tables of refusals, by reason and by rule, and of ended tunnels."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from tunnelctl.control.page.markup import moment, text
from tunnelctl.control.page.table import Column, table
from tunnelctl.control.page.view import View, matches
from tunnelctl.control.snapshot import EndedFacts, Recent, RefusalCount, RefusedFacts
from tunnelctl.control.units import size, span
from tunnelctl.control.words import end_in_words, refusal_in_words

ROWS = 50  # of one table
UNMATCHED = "None matches the filter."
RULE, REASON = 60, 160  # characters


def sections(recent: Recent, view: View, now: float, ruled: bool = True) -> str:
    """Returns the tables. The filter chooses among requests and tunnels; the counts are of all. ruled: whether there are rules"""
    refused = [one for one in recent.refused if matches(view, one)][: -ROWS - 1 : -1]
    ended = [one for one in recent.ended if matches(view, one)][: -ROWS - 1 : -1]
    refusals = sorted(recent.refusals, key=attrgetter("number"), reverse=True)[:ROWS]
    rules = sorted(recent.rules, key=lambda one: one.granted + one.refused, reverse=True)[:ROWS]
    return (
        '<div class="pair">\n'
        + _section("refusals", "Refusals by reason", _refusals(now), refusals, "Nothing was refused.")
        + (_section("rules", "Tunnels by rule", _RULES, rules, "No rule has decided yet.") if ruled else "")
        + "</div>\n"
        + _section("refused", "Latest refusals", _refused(now), refused, UNMATCHED if recent.refused else "No request was refused.")
        + _section("ended", "Recently ended", _ended(now), ended, UNMATCHED if recent.ended else "No tunnel has ended.")
    )


def _section(name: str, heading: str, columns: Sequence[Column], rows: Sequence[object], none: str) -> str:
    content = table(name, columns, rows) if rows else f'<p class="none">{none}</p>'
    return f'<section aria-labelledby="{name}-title"><h2 id="{name}-title">{heading}</h2>\n{content}</section>\n'


def _reason(one: RefusalCount | RefusedFacts) -> str:
    """Returns the reason in words, then the codes that the client was told."""
    codes = " ".join([*([str(one.status)] if one.status else []), text(one.error)])
    return f"{text(refusal_in_words(one.status, one.error), REASON)} <small>{codes}</small>"


def _details(one: RefusedFacts) -> str:
    """Returns what the client was told, which says more than the type alone."""
    if not one.details:
        return _reason(one)
    codes = " ".join([*([str(one.status)] if one.status else []), text(one.error)])
    return f"{text(one.details, REASON)} <small>{codes}</small>"


def _refusals(now: float) -> tuple[Column, ...]:
    return (
        Column("Reason", _reason),
        Column("Rule", lambda one: text(one.rule, RULE)),
        Column("Count", lambda one: f"{one.number:,}"),
        Column("Last", lambda one: moment(one.last, now)),
    )


_RULES = (
    Column("Rule", lambda one: text(one.rule, RULE)),
    Column("Granted", lambda one: f"{one.granted:,}"),
    Column("Refused", lambda one: f"{one.refused:,}"),
)


def _refused(now: float) -> tuple[Column, ...]:
    return (
        Column("Target", lambda one: text(one.target)),
        Column("User", lambda one: text(one.user, 24)),
        Column("Client", lambda one: text(one.client)),
        Column("Reason", _details),
        Column("Rule", lambda one: text(one.rule, RULE)),
        Column("When", lambda one: moment(one.when, now)),
    )


def _end(one: EndedFacts) -> str:
    return f"{text(end_in_words(one.closed_by, one.cause))}{f' <small>{text(one.error)}</small>' if one.error else ''}"


def _ended(now: float) -> tuple[Column, ...]:
    return (
        Column("Target", lambda one: text(one.target)),
        Column("User", lambda one: text(one.user, 24)),
        Column("Client", lambda one: text(one.client)),
        Column("End", _end),
        Column("Age", lambda one: span(one.seconds)),
        Column("Sent", lambda one: size(one.sent)),
        Column("Received", lambda one: size(one.received)),
        Column("When", lambda one: moment(one.when, now)),
    )
