"""The pages of the private endpoint, which are the same for `forward`, `run` and `serve`."""

from __future__ import annotations

import json
from typing import Protocol

from tunnelctl.control.endpoint import JSON, TEXT, Page
from tunnelctl.control.slices import in_slices
from tunnelctl.control.snapshot import Recent, Status, Tunnels, to_json

METRICS = "/metrics"
PROMETHEUS = "text/plain; version=1.0.0; charset=utf-8"  # of prometheus-client, which a plain start need not load
PATHS = ("/", "/status", "/tunnels", "/recent", "/healthz", "/readyz")
ANNOUNCED = ("/", METRICS, "/status", "/healthz", "/readyz")  # at the start, the most useful first


class Overview(Protocol):
    """The status of a program, as its pages need it."""

    async def status(self) -> Status:
        """Describes the program and its listeners."""
        ...

    async def tunnels(self) -> Tunnels:
        """Lists the tunnels that are open or being opened."""
        ...

    async def recent(self) -> Recent:
        """Lists what has ended and what was refused."""
        ...


class _Pages:
    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    async def page(self, query: str) -> tuple[int, bytes]:
        from tunnelctl.control.page import render

        overview = self._overview
        return 200, render(await overview.status(), await overview.tunnels(), await overview.recent(), query)

    async def status(self, _: str) -> tuple[int, bytes]:
        return 200, _dumped(await self._overview.status()) + b"\n"

    async def tunnels(self, _: str) -> tuple[int, bytes]:
        answer = await self._overview.tunnels()
        texts = await in_slices(_dumped, answer.tunnels)
        return 200, b'{"tunnels": [%b], "silent_workers": %d}\n' % (b", ".join(texts), answer.silent_workers)

    async def recent(self, _: str) -> tuple[int, bytes]:
        return 200, _dumped(await self._overview.recent()) + b"\n"

    async def metrics(self, _: str) -> tuple[int, bytes]:
        from tunnelctl.control.metrics import render

        return 200, render(await self._overview.status(), await self._overview.recent())

    async def health(self, _: str) -> tuple[int, bytes]:
        return 200, b"ok\n"

    async def readiness(self, _: str) -> tuple[int, bytes]:
        return (503, b"draining\n") if (await self._overview.status()).draining else (200, b"ready\n")


def pages_of(overview: Overview, metrics: Page | None = None) -> dict[str, Page]:
    """Returns all pages by path. metrics: the page for Prometheus, if the program counts more than its status shows"""
    from tunnelctl.control.page import HEADERS, KIND

    pages = _Pages(overview)
    several = (
        Page(KIND, pages.page, HEADERS),
        Page(JSON, pages.status),
        Page(JSON, pages.tunnels),
        Page(JSON, pages.recent),
        Page(TEXT, pages.health),
        Page(TEXT, pages.readiness),
    )
    return {**dict(zip(PATHS, several, strict=True)), METRICS: metrics or Page(PROMETHEUS, pages.metrics)}


def _dumped(facts: object) -> bytes:
    return json.dumps(to_json(facts)).encode()
