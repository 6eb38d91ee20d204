"""V31: a head is limited in octets and fields, and a large one does not cost disproportionate time; S8."""

import time

import pytest

from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Proxy, connect_request

OCTETS, FIELDS, LINE = 16384, 100, 8192


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"CONNECT " + b"a" * LINE + b":443 HTTP/1.1\r\n", 414),
        (b"a" * (LINE + 2), 414),
        (connect_request("a.test:1", "X: " + "x" * OCTETS), 431),
        (connect_request("a.test:1", *["X: y"] * FIELDS), 431),
        (connect_request("a.test:1", *(f"X{number}: y" for number in range(1000))), 431),
        (connect_request("a.test:1", *["a:"] * 4000), 431),
        (b"CONNECT a.test:1 HTTP/1.1\r\n" + b"x" * OCTETS, 431),
        (b"CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n" + b"X: y\r\n" * 100_000, 431),
    ],
    ids=["line", "line without an end", "octets", "fields", "different fields", "empty fields", "no end", "endless"],
)
def test_too_large_heads_are_refused(request_head: bytes, status: int) -> None:
    with Proxy() as proxy, proxy.client() as client:
        try:
            client.send(request_head)
        except ConnectionError:
            pass
        assert client.head().startswith(f"HTTP/1.1 {status} ".encode())


def test_heads_just_within_the_limits_are_accepted() -> None:
    with ScriptedServer(echo) as target, Proxy() as proxy:
        for fields in (["X: y"] * (FIELDS - 1), ["X: " + "x" * (OCTETS - 200)]):
            with proxy.tunnel(target.authority, *fields) as client:
                assert client.echoes()


def test_many_similar_field_names_cost_little_time() -> None:
    """As many fields as allowed, with names that differ in case and number only."""
    with Proxy() as proxy:
        begun = time.monotonic()
        for _ in range(50):
            fields = [f"{'xX'[number % 2] * 30}{number}: y" for number in range(99)]
            assert proxy.refusal("127.0.0.1:1", *fields).status == 502
        assert time.monotonic() - begun < 5
