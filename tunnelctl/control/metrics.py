"""The metrics of a program that counts no more than its status shows: of `forward` and `run`, and of `serve` without --admin.

Their names are those that `serve --admin` gives to the same numbers; its metrics are in server.observe.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from tunnelctl.control.snapshot import Recent, Status

KIND = CONTENT_TYPE_LATEST


class _Facts(Collector):
    def __init__(self, status: Status, recent: Recent) -> None:
        self._status, self._recent = status, recent

    def collect(self) -> Iterator[Metric]:
        status, recent = self._status, self._recent
        yield GaugeMetricFamily("tunnelctl_connections", "Connections from clients that are open.", status.connections)
        yield GaugeMetricFamily("tunnelctl_tunnels", "Tunnels that are open or being opened.", status.tunnels)
        moved = CounterMetricFamily("tunnelctl_bytes", "Bytes moved: sent is from client to target.", labels=("direction",))
        moved.add_metric(("sent",), status.sent)
        moved.add_metric(("received",), status.received)
        yield moved
        failures = CounterMetricFamily("tunnelctl_failures", "Requests that were refused or failed.", labels=("status", "error"))
        for (code, error), number in _failures(recent).items():
            failures.add_metric((str(code or ""), error), number)
        yield failures
        yield CounterMetricFamily("tunnelctl_failed_logins", "Requests with wrong credentials.", recent.failed_logins)
        build = GaugeMetricFamily("tunnelctl_build_info", "1; the labels have the versions.", labels=("version", "python"))
        build.add_metric((status.version, platform.python_version()), 1)
        yield build
        yield GaugeMetricFamily(
            "process_start_time_seconds", "When the program was started, in seconds since 1970.", status.started
        )


def _failures(recent: Recent) -> dict[tuple[int, str], int]:
    """Sums them over the rules."""
    sums: dict[tuple[int, str], int] = {}
    for one in recent.refusals:
        sums[one.status, one.error] = sums.get((one.status, one.error), 0) + one.number
    return sums


def render(status: Status, recent: Recent) -> bytes:
    """Renders the whole page in the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Facts(status, recent))
    return generate_latest(registry)
