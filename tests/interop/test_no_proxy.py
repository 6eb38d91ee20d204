"""curl and we read NO_PROXY alike in the forms that both know; for the forms only we accept see client/route/test_no_proxy.py."""

import os
import subprocess

import pytest

from tests.peers.scripted import ScriptedServer
from tunnelctl.client.route.selection import select_proxies
from tunnelctl.proto.address import Address, parse_host

TARGET = "www.example.test"


def asked_by_curl(host: str, environ: dict[str, str], target: ScriptedServer) -> None:
    """Sends one request, which fails at either server."""
    url = f"https://{host}:{target.port}/"
    command = ["curl", "-s", "--max-time", "10", "--resolve", f"{host}:{target.port}:{target.host}", url]
    assert subprocess.run(command, env={"PATH": os.environ["PATH"], **environ}, timeout=20).returncode != 0


@pytest.mark.peer("curl")
@pytest.mark.parametrize(
    ("host", "variables"),
    [
        (TARGET, {}),
        (TARGET, {"no_proxy": TARGET}),
        (TARGET, {"NO_PROXY": TARGET}),
        (TARGET, {"no_proxy": "other.test", "NO_PROXY": TARGET}),
        (TARGET, {"no_proxy": "", "NO_PROXY": TARGET}),
        (TARGET, {"no_proxy": "example.test"}),
        (TARGET, {"no_proxy": ".example.test"}),
        (TARGET, {"no_proxy": "EXAMPLE.test."}),
        (TARGET, {"no_proxy": "ample.test"}),
        (TARGET, {"no_proxy": "a.www.example.test"}),
        (TARGET, {"no_proxy": "a b, www.example.test ,c"}),
        (TARGET, {"no_proxy": "*"}),
        (TARGET, {"no_proxy": "127.0.0.0/8"}),
        ("127.0.0.1", {"no_proxy": "127.0.0.1"}),
        ("127.0.0.1", {"no_proxy": "127.9.9.9/8"}),
        ("127.0.0.1", {"no_proxy": "127.0.0.0/31,x"}),
        ("127.0.0.1", {"no_proxy": "128.0.0.0/8"}),
        ("127.0.0.1", {"no_proxy": "0.0.1"}),
    ],
    ids=str,
)
def test_curl_chooses_the_same_route(host: str, variables: dict[str, str]) -> None:
    with ScriptedServer(lambda peer: None) as proxy, ScriptedServer(lambda peer: None) as target:
        environ = {"https_proxy": proxy.url, **variables}
        asked_by_curl(host, environ, target)
        assert len(proxy.conversations) + len(target.conversations) == 1
        ours = select_proxies(Address(parse_host(host), target.port), (), environ)
    assert bool(ours.chains[0]) == bool(proxy.conversations)
