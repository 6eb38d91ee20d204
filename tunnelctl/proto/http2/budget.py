"""Budgets against abuse: what a peer may cost in addition to its tunnels. Each row is an attack (tests/security/THREATS.md).

A budget is a token bucket: a burst, and a rate. Whoever exceeds one is sent ENHANCE_YOUR_CALM, and loses the connection.
"""

from __future__ import annotations

MAX_BLOCK = 16384  # octets of one header block, compressed: a CONNECT with a Negotiate token has some 10 KiB
MAX_FIELDS_SIZE = 16384  # octets of the same decoded, as SETTINGS_MAX_HEADER_LIST_SIZE counts them (RFC 9113 section 6.5.2)
MAX_CONTINUATIONS = 8  # CONTINUATION frames for one block (CVE-2024-27316)
MAX_INTERIM = 16  # 1xx responses before the final one
CREDITED = 512  # octets of data that we have sent, which allow the peer one WINDOW_UPDATE: bulk provokes thousands a second
MAX_CONTROL = 64 << 10  # octets of answers that the peer does not read: some 3,800 PING acknowledgements


class Bucket:
    """A token bucket. It is refilled only when it is empty, so a token costs no look at the clock."""

    __slots__ = ("_burst", "_rate", "_tokens", "_when")

    def __init__(self, burst: int, rate: float, now: float) -> None:
        """burst: tokens at the beginning, and at most; rate: new tokens a second"""
        self._burst, self._rate, self._tokens, self._when = burst, rate, float(burst), now

    def take(self, now: float) -> bool:
        """Takes a token; False if there is none."""
        if self._tokens < 1:
            self._tokens = min(self._burst, self._tokens + (now - self._when) * self._rate)
            self._when = now
            if self._tokens < 1:
                return False
        self._tokens -= 1
        return True


class Budgets:
    """The buckets of one connection. The first two have the values that nghttp2 uses."""

    __slots__ = ("empty", "errors", "glitches", "resets", "tiny")

    def __init__(self, now: float) -> None:
        self.resets = Bucket(
            1000, 33, now
        )  # streams that the peer resets: each has cost a decision, and perhaps a dial (CVE-2023-44487)
        self.glitches = Bucket(
            10000, 330, now
        )  # WINDOW_UPDATE, SETTINGS, PING, PRIORITY, unknown frames, late ones: work without a byte moved
        self.errors = Bucket(100, 3, now)  # streams that we reset because of the peer's mistake (CVE-2025-8671)
        self.empty = Bucket(1000, 33, now)  # DATA without data and without END_STREAM
        # DATA below TINY octets. ssh sends keystrokes of 36 to 100 octets, and a person makes 10 a second; a program that writes
        # single octets as fast as it can is allowed for.
        self.tiny = Bucket(100_000, 20_000, now)


TINY = 32
