"""V13: bytes that the target sends first arrive, through the client and the server, wherever segments are cut."""

from tests.client.harness import connect
from tests.options import connect_options
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer
from tests.server.harness import Proxy, connect_request
from tunnelctl.proto.address import Address

BANNER = b"SSH-2.0-Banner_1.0\r\n"


def test_client_delivers_the_banner_at_every_cut() -> None:
    stream = ESTABLISHED + BANNER
    for cut in range(1, len(stream)):

        def script(peer: Conversation, cut: int = cut) -> None:
            peer.read_head()
            peer.dribble(b"")
            peer.send(stream[:cut])
            peer.send(stream[cut:])
            peer.end_output()
            peer.wait_gone()

        with ScriptedServer(script) as proxy:
            assert connect(connect_options(Address("target.test", 22), (proxy.url,))).stdout == BANNER


def test_server_delivers_the_banner() -> None:
    def script(peer: Conversation) -> None:
        peer.send(BANNER)
        peer.end_output()
        peer.wait_gone()

    with ScriptedServer(script) as target, Proxy() as proxy:
        for _ in range(20):
            with proxy.client() as client:
                client.send(connect_request(target.authority))
                assert client.rest() == ESTABLISHED + BANNER
