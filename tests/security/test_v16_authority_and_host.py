"""V16: the request target decides. A Host that differs is refused, except in HTTP/1.0, which has none; S3, S4, S13."""

import pytest

from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Proxy, Trap


def ask(target: str, host: str) -> bytes:
    return f"CONNECT {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")


@pytest.mark.parametrize(
    "host",
    ["other.test:{p}", "127.0.0.2:{p}", "127.0.0.1:1", "127.0.0.1:{p},other.test", "127.0.0.1:{p}, 127.0.0.1:{p}", "127.0.0.1:{p}/",
     "user@127.0.0.1:{p}", "http://127.0.0.1:{p}", "127.0.0.1:0{p}", "[127.0.0.1]:{p}", "127.1:{p}", "", "{p}", ":{p}",
     "127.0.0.1:",
     "[::ffff:127.0.0.1]:{p}", "127.0.0.1\xa0:{p}", "other.test", "localhost"],
)  # fmt: skip
def test_a_host_that_differs_is_refused(host: str) -> None:
    with Trap() as trap, Proxy() as proxy:
        assert proxy.ask(ask(f"127.0.0.1:{trap.port}", host.replace("{p}", str(trap.port)))).status == 400


@pytest.mark.parametrize("host", ["{t}", " {t} ", "127.0.0.1", "127.0.0.1.:{p}"])
def test_an_equivalent_host_is_accepted(host: str) -> None:
    """Several clients omit the port in Host; that is no contradiction."""
    with ScriptedServer(echo) as target, Proxy() as proxy, proxy.client() as client:
        client.send(ask(target.authority, host.replace("{t}", target.authority).replace("{p}", str(target.port))))
        answer = client.head()
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "target", ["a.test,b.test:443", "a.test:443,b.test:443", "a.test:443;b.test", "a.test\\b:443", "a.test|b:443"]
)
def test_a_second_authority_in_the_target_is_malformed(target: str) -> None:
    with Proxy("*:*") as proxy:
        assert proxy.ask(ask(target, target)).status == 400


def test_policy_and_log_use_the_request_target(monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy("good.test:443") as proxy:
        assert proxy.ask(ask("bad.test:443", "good.test:443")).status == 400
        for old in (b"HTTP/1.0\r\nX-Host: good.test:443", b"HTTP/1.0\r\nHost: good.test:443", b"HTTP/1.0\nHost: good.test"):
            assert proxy.ask(b"CONNECT bad.test:443 " + old + b"\r\n\r\n").status == 403
        # proxytunnel 1.10 sends the name of its proxy as Host; the server ignores it.
        named = b"HTTP/1.1\r\nHost: good.test\r\nProxy-Connection: Keep-Alive\r\n\r\n"
        assert proxy.ask(b"CONNECT bad.test:443 " + named).status == 403
        assert [record["target"] for record in proxy.wait_for_records(5)] == ["", *["bad.test:443"] * 4]
