"""V6: one lookup per request, whose result is both judged and dialled; a later change of the answer has no effect."""

import _socket

import pytest

from tests.peers.scripted import ScriptedServer, echo
from tests.security import everywhere
from tests.server.harness import Names, Proxy, Trap, dialled

pytestmark = pytest.mark.usefixtures("http_version")

PUBLIC = "198.41.0.4"


def test_a_second_rebinding_answer_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answer would be the attack; the proxy does not look the name up again within a request."""
    noted = dialled(monkeypatch)
    names = Names(monkeypatch, rebind_test=[[PUBLIC], ["127.0.0.1"]])
    with Trap() as trap, Proxy("*:*") as proxy:
        assert proxy.refusal(f"rebind.test:{trap.port}").error == "connection_refused"
        assert names.asked == ["rebind.test"]
        assert noted == [PUBLIC]
        assert proxy.refusal(f"rebind.test:{trap.port}").error == "destination_ip_prohibited"
    assert names.asked == ["rebind.test"] * 2
    assert noted == [PUBLIC]


def test_an_established_tunnel_took_one_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(echo) as target, Proxy("loop.test:*") as proxy:
        names = Names(monkeypatch, loop_test=[["127.0.0.1"], ["127.0.0.9"]])
        with proxy.tunnel(f"loop.test:{target.port}") as client:
            assert client.echoes()
        assert proxy.wait_for_records(1)[0]["address"] == f"127.0.0.1:{target.port}"
    assert names.asked == ["loop.test"]


@pytest.mark.peer("unshare", "ip")
def test_rebinding_and_mixed_answers_over_real_sockets() -> None:
    """The name service changes its answer or gives several addresses; only the judged and allowed address is ever reached."""
    names = {
        "rebind_test": [[PUBLIC], ["127.0.0.1"], ["169.254.169.254"], ["::ffff:10.0.0.1"]],
        "mixed_test": [["10.0.0.1", "2606:4700::1", "::1", "127.0.0.1"], [PUBLIC, "10.0.0.1"], ["198.51.100.7", "fd00::1"]],
        "denied_test": [["9.9.9.9", PUBLIC, "9.9.9.10"]],
    }
    hosts = ["rebind.test"] * 4 + ["mixed.test"] * 3 + ["denied.test"]
    outcome = everywhere.ask(hosts, deny=["9.9.9.0/24:*"], names=names)
    refused = (403, "destination_ip_prohibited")
    assert outcome.answers == {
        "rebind.test": [(200, ""), refused, refused, refused],
        "mixed.test": [(200, ""), (200, ""), refused],
        "denied.test": [(200, "")],
    }
    assert outcome.reached == [PUBLIC, "2606:4700::1", PUBLIC, PUBLIC]


@pytest.mark.parametrize(
    "answer",
    [
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        ["::1", "127.0.0.1", PUBLIC, "10.0.0.1", "::ffff:127.0.0.1"],
        [PUBLIC, "::ffff:169.254.169.254", "64:ff9b::7f00:1", "fe80::1"],
    ],
)
def test_denied_addresses_of_a_mixed_answer_are_never_dialled(answer: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if the allowed address fails."""
    noted = dialled(monkeypatch)
    Names(monkeypatch, mixed_test=[answer])
    with Trap() as trap, Proxy("*:*") as proxy:
        assert proxy.refusal(f"mixed.test:{trap.port}").error == "connection_refused"
    assert noted == [PUBLIC]


def test_denied_addresses_of_a_mixed_answer_over_real_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens on the allowed address; a trap listens on the denied one, on the same port."""
    with Trap("127.0.0.5") as trap, Proxy("127.0.0.0/8:*", deny=("127.0.0.5:*",)) as proxy:
        Names(monkeypatch, mixed_test=[["127.0.0.5", "127.0.0.6", "127.0.0.5"]])
        assert proxy.refusal(f"mixed.test:{trap.port}").error == "connection_refused"


def test_a_name_with_only_denied_addresses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = dialled(monkeypatch)
    Names(monkeypatch, all_test=[["127.0.0.1", "10.0.0.1", "::1"]])
    with Proxy("*:*") as proxy:
        assert proxy.refusal("all.test:443").error == "destination_ip_prohibited"
        assert proxy.wait_for_records(1)[0]["rule"] == "internal address"
    assert noted == []


def test_a_name_that_no_rule_can_allow_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lookups must not become a channel to the outside, nor reveal which names exist."""
    names = Names(monkeypatch)
    with Proxy("good.test:443", "*.fine.test:22", "192.0.2.0/24:99", deny=("bad.good.test:443",)) as proxy:
        for target in ("other.test:443", "good.test:22", "fine.test:22", "a.fine.test:443", "bad.good.test:443"):
            assert proxy.refusal(target).error == "http_request_denied"
    assert names.asked == []


def test_an_address_is_never_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    dialled(monkeypatch)
    with Proxy("*:*") as proxy:
        proxy.refusal("198.41.0.4:443")
        proxy.refusal("[2606:4700::1]:443")
    assert names.asked == []
    assert _socket.getaddrinfo is names
