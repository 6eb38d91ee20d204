"""Whether a half-close and a reset come through a proxy, as `check` finds out with a target of its own."""

from contextlib import suppress

from tests.client.check.findings import check, only
from tests.peers.program import Serve
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer, echo


def deaf_to_ends(peer: Conversation) -> None:
    """A proxy that answers every request with a tunnel, and passes nothing on."""
    peer.read_head()
    peer.send(ESTABLISHED)
    with suppress(OSError):
        peer.wait_gone()


def refusing_addresses(peer: Conversation) -> None:
    """A proxy that does not reach addresses."""
    named = b"target.test" in peer.read_head()
    peer.send(ESTABLISHED if named else b"HTTP/1.1 403 Forbidden\r\n\r\n")
    with suppress(OSError):
        if named:
            peer.wait_gone()
        else:
            peer.end_output()


def test_serve_passes_both_on() -> None:
    with ScriptedServer(echo) as target, Serve("--allow", "127.0.0.1:*") as proxy:
        status, found = check("-x", proxy.url, target=("127.0.0.1", str(target.port)))
    assert status == 0
    assert only("ends", found) == {"event": "ends", "half_close": True, "reset": True, "cause": ""}


def test_over_http2_as_well() -> None:
    with ScriptedServer(echo) as target, Serve("--allow", "127.0.0.1:*") as proxy:
        status, found = check("--http", "2", "-x", proxy.url, target=("127.0.0.1", str(target.port)))
    assert status == 0
    assert (only("ends", found)["half_close"], only("ends", found)["reset"]) == (True, True)


def test_a_proxy_that_does_not_reach_this_machine_says_nothing_about_it() -> None:
    with ScriptedServer(refusing_addresses) as proxy:
        status, found = check("-x", proxy.url)
    ends = only("ends", found)
    assert (status, ends["half_close"], ends["reset"]) == (0, None, None)
    assert ends["cause"].startswith("the proxy does not reach this machine: 403 Forbidden")


def test_a_proxy_that_passes_on_no_end_is_found_out() -> None:
    with ScriptedServer(deaf_to_ends) as proxy:
        _, found = check("-x", proxy.url)
    assert (only("ends", found)["half_close"], only("ends", found)["reset"]) == (False, False)
