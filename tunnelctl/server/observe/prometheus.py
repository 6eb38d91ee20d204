"""The metrics of server.observe.metrics in the text format of Prometheus, rendered by prometheus-client."""

import platform
from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tunnelctl import __version__
from tunnelctl.server.observe.metrics import (
    BUCKETS,
    BUILD,
    CERTIFICATE,
    DRAINING,
    FAMILIES,
    MOST_TUNNELS,
    RELOADED,
    RULES,
    STARTED,
    Family,
    SharedCounters,
)
from tunnelctl.server.observe.tally import VERDICTS

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Program(NamedTuple):
    """Facts that are not counts, as the process that answers knows them.

    started, certificate: the start of the program, and the expiry of its certificate, in seconds since 1970
    certificate: None without TLS, or if the file could not be decoded
    most_tunnels: 0 without a cap
    reloaded: whether the last reading of each file succeeded
    """

    started: float
    certificate: float | None = None
    most_tunnels: int = 0
    draining: bool = False
    reloaded: bool = True


class _Sums(Collector):
    """The sums over all processes at the moment of a scrape."""

    def __init__(self, counters: SharedCounters, program: Program) -> None:
        self._counters, self._program = counters, program

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            yield _histogram(family, self._counters) if family.kind == "histogram" else _plain(family, self._counters)
        yield _rules(self._counters)
        yield _gauge(BUILD, 1, __version__, platform.python_version())
        program = self._program
        yield _gauge(STARTED, program.started)
        yield _gauge(DRAINING, program.draining)
        yield _gauge(RELOADED, program.reloaded)
        if program.certificate is not None:
            yield _gauge(CERTIFICATE, program.certificate)
        if program.most_tunnels:
            yield _gauge(MOST_TUNNELS, program.most_tunnels)


def _plain(family: Family, counters: SharedCounters) -> Metric:
    kind = GaugeMetricFamily if family.kind == "gauge" else CounterMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, (value,) in counters.samples(family):
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, counters: SharedCounters) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, (*counts, total) in counters.samples(family):
        reached, buckets = 0.0, []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            reached += count
            buckets.append((bound, reached))
        metric.add_metric(labels, buckets, total)
    return metric


def _rules(counters: SharedCounters) -> Metric:
    metric = CounterMetricFamily(RULES.name, RULES.help, labels=RULES.labels)
    for rule, numbers in counters.rules.totals().items():
        for verdict, number in zip(VERDICTS, numbers, strict=True):
            if number:
                metric.add_metric((rule, verdict), number)
    return metric


def _gauge(family: Family, value: float, *labels: str) -> Metric:
    metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    metric.add_metric(labels, value)
    return metric


def render(counters: SharedCounters, program: Program) -> bytes:
    """Renders the whole page."""
    registry = CollectorRegistry()
    registry.register(_Sums(counters, program))
    return generate_latest(registry)
