"""The metrics of server.observe.metrics in the text format of Prometheus, rendered by prometheus-client."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tunnelctl.server.observe.metrics import BUCKETS, FAMILIES, Family, SharedCounters

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _Sums(Collector):
    """The sums over all processes at the moment of a scrape."""

    def __init__(self, counters: SharedCounters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            yield _histogram(family, self._counters) if family.kind == "histogram" else _plain(family, self._counters)


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


def render(counters: SharedCounters) -> bytes:
    """Renders the whole page."""
    registry = CollectorRegistry()
    registry.register(_Sums(counters))
    return generate_latest(registry)
