"""Fixtures of the tests of `serve`."""

from tests.server.harness import http_version

__all__ = ["http_version"]
