"""The page for Prometheus on the private endpoint of `serve`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tunnelctl.control.endpoint import Page
from tunnelctl.server.access.limits import Caps
from tunnelctl.server.observe.metrics import SharedCounters
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.stream.accept import ConnectionCount

if TYPE_CHECKING:
    from tunnelctl.server.observe.prometheus import Program


def metrics_page(
    counters: SharedCounters, counts: ConnectionCount, caps: Caps, recorder: Recorder, program: Callable[[], Program]
) -> Page:
    """counters: of all processes; counts: of this one; program: returns what is not counted"""
    from tunnelctl.server.observe.prometheus import CONTENT_TYPE, render

    async def show(_: str) -> tuple[int, bytes]:
        if recorder.metrics is not None:
            recorder.metrics.refresh(counts, caps.dials, recorder.open.values(), recorder.lost)
        return 200, render(counters, program())

    return Page(CONTENT_TYPE, show)
