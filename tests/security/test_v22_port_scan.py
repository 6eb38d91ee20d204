"""V22: for a denied address the answer is the same, byte for byte, whether the port is open or not."""

import pytest

from tests.peers.scripted import refusing_port
from tests.server.harness import Names, Proxy, Trap

pytestmark = pytest.mark.usefixtures("http_version")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "scanned.test"])
def test_open_and_closed_ports_get_the_same_answer(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, scanned_test=[["127.0.0.1"]])
    held, closed = refusing_port()
    with held, Trap() as trap, Proxy("*:*") as proxy:
        assert proxy.refusal(f"{host}:{trap.port}").raw == proxy.refusal(f"{host}:{closed}").raw


def test_denied_addresses_get_the_same_answer_whatever_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Internal, denied by a rule, or allowed by none: only the log has the reason."""
    with Proxy("127.0.0.0/8:*", "9.9.9.0/24:*", deny=("127.0.0.9:*",)) as proxy:
        answers = {proxy.refusal(host).raw for host in ("10.0.0.1:1", "127.0.0.9:1", "198.41.0.4:1", "[::1]:1")}
        assert len(answers) == 1
        rules = {record["rule"] for record in proxy.wait_for_records(4)}
    assert rules == {"deny 127.0.0.9:*", "internal address", "no allow rule"}


def test_an_answer_contains_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the one that the target's name resolves to nor the proxy's own."""
    Names(monkeypatch, inner_test=[["10.1.2.3"]])
    with Proxy("*:*", "127.0.0.1:*") as proxy:
        for target in ("inner.test:443", "127.0.0.1:1", proxy.authority):
            assert b"10.1.2.3" not in proxy.refusal(target).raw
            assert b"127.0.0.1" not in proxy.refusal(target).raw
