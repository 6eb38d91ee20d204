"""Code shared by both ends of SOCKS; the ends themselves are in test_client.py and test_server.py."""

import pytest

from tunnelctl.proto.socks import wire as socks
from tunnelctl.proto.socks.wire import Speaker, error_type


def dialogue():
    first = yield 2
    second = yield 3
    return first + second


class Listener(Speaker):
    __slots__ = ()

    def feed(self, data):
        try:
            self._advance(data)
        except StopIteration as end:
            return end.value, self._buffer
        return None


def test_a_dialogue_gets_the_octets_it_waits_for_and_reports_how_many():
    listener = Listener(dialogue())
    assert listener.wanted == 2
    assert listener.feed(b"a") is None
    assert listener.wanted == 1
    assert listener.feed(b"bc") is None
    assert listener.wanted == 2
    assert listener.feed(b"") is None
    assert listener.feed(b"de") == (b"abcde", b"")


def test_trailing_octets_stay_in_the_buffer():
    assert Listener(dialogue()).feed(b"abcdefg") == (b"abcde", b"fg")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (socks.NOT_ACCEPTED, "connection_refused"),
        (socks.NO_HOST, "destination_unavailable"),
        (socks.NO_NETWORK, "destination_ip_unroutable"),
        (socks.NOT_ALLOWED, "http_request_denied"),
        (socks.EXPIRED, "connection_timeout"),
        (socks.FAILED, None),
        (socks.NO_COMMAND, None),
        (99, None),
    ],
)
def test_a_reply_maps_to_the_least_specific_error_type(reply, kind):
    assert error_type(reply) == kind
