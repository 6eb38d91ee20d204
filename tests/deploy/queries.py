"""Queries to Prometheus: what they ask for, and whether `serve` exports it."""

from typing import Any

import promql_parser
from promql_parser import Matcher, MatchOp, VectorSelector

from tunnelctl.server.observe.metrics import ALL, Family
from tunnelctl.server.observe.tally import VERDICTS

FROM_PROMETHEUS = {"job", "instance"}  # labels that a scrape adds
# What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "5m", "$__interval": "1m", "$job": ".*", "$instance": ".*"}


def exported() -> dict[str, tuple[Family, set[str]]]:
    """Returns the family and the labels of every name that a query can ask for."""
    found = {}
    for family in ALL:
        labels = {*family.labels, *FROM_PROMETHEUS}
        if family.kind == "histogram":
            found |= {f"{family.name}_bucket": (family, labels | {"le"})}
            found |= {f"{family.name}_{part}": (family, labels) for part in ("sum", "count")}
        else:
            found[family.name + ("_total" if family.kind == "counter" else "")] = family, labels
    return found


def values(family: Family, label: str) -> tuple[str, ...] | None:
    """Returns the values that a label can have; None if they are not known beforehand."""
    if label == "verdict":
        return VERDICTS
    return dict(zip(family.labels, family.values, strict=False)).get(label)


def parsed(query: str) -> Any:
    """Returns the outermost node of a query."""
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return promql_parser.parse(query)


def nodes(query: str) -> list[Any]:
    found: list[Any] = []
    promql_parser.walk(parsed(query), pre_visit=lambda node: found.append(node))  # type: ignore[arg-type,return-value]
    return found


def selectors(query: str) -> list[VectorSelector]:
    return [node for node in nodes(query) if isinstance(node, VectorSelector)]


def matched(matcher: Matcher, possible: tuple[str, ...] | None) -> bool:
    """Whether each alternative of a matcher is a value that occurs. `error=""` is one of them."""
    if possible is None:
        return True
    regex = matcher.op in (MatchOp.Re, MatchOp.NotRe)
    return all(alternative in possible for alternative in (matcher.value.split("|") if regex else [matcher.value]))


def assert_exported(query: str) -> None:
    """Fails unless each series that the query asks for is exported, with each label that it names, which can have that value."""
    known = exported()
    for selector in selectors(query):
        family, labels = known[selector.name]
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels, (selector.name, matcher.name)
            assert matched(matcher, values(family, matcher.name)), f"no value of {matcher.name} is like {matcher.value}"
