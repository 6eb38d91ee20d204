"""V19: which credentials the proxy accepts; S17."""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Proxy, basic, connect_request, users_file

pytestmark = pytest.mark.usefixtures("http_version")

FIELD = "Proxy-Authorization: "


def token(text: str | bytes) -> str:
    return b64encode(text if isinstance(text, bytes) else text.encode()).decode()


RIGHT = token("alice:se:cret")


@pytest.fixture
def proxy(tmp_path: Path, cheap_hashes: None) -> Iterator[Proxy]:
    with Proxy(users=users_file(tmp_path, alice="se:cret", bob="ключ")) as running:
        yield running


@pytest.fixture
def target() -> Iterator[ScriptedServer]:
    with ScriptedServer(echo) as running:
        yield running


def status(proxy: Proxy, target: ScriptedServer, *fields: str, version: str = "HTTP/1.1", source: str = "") -> int:
    with proxy.client(source) as client:
        client.send(connect_request(target.authority, *fields, version=version))
        return int(client.head()[9:12])


@pytest.mark.parametrize(
    "field",
    [
        FIELD + f"Basic {RIGHT}",
        FIELD + f"basic {RIGHT}",
        FIELD + f"BASIC {RIGHT}",
        FIELD + f"Basic  {RIGHT} ",
        "pRoXy-AuThOrIzAtIoN:" + f"Basic {RIGHT}",
        basic("bob", "ключ"),
    ],
)
def test_right_credentials_are_accepted(field: str, proxy: Proxy, target: ScriptedServer) -> None:
    """The first colon ends the user name; any further colon belongs to the password."""
    assert status(proxy, target, field) == 200


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([], id="no field"),
        pytest.param([FIELD], id="empty"),
        pytest.param([FIELD + "Basic"], id="scheme alone"),
        pytest.param([FIELD + "Basic "], id="scheme and blank"),
        pytest.param([FIELD + RIGHT], id="no scheme"),
        pytest.param([FIELD + f"Bearer {RIGHT}"], id="wrong scheme"),
        pytest.param([FIELD + f"Basicx {RIGHT}"], id="longer scheme"),
        pytest.param([FIELD + f"Basic,{RIGHT}"], id="comma for blank"),
        pytest.param([FIELD + f"Basic {RIGHT}, Basic {RIGHT}"], id="a list"),
        pytest.param([FIELD + f"Basic {RIGHT[:-2]}"], id="no padding"),
        pytest.param([FIELD + f"Basic {RIGHT}==="], id="more padding"),
        pytest.param([FIELD + f"Basic {RIGHT[:4]} {RIGHT[4:]}"], id="blank in base64"),
        pytest.param([FIELD + f"Basic *{RIGHT}"], id="bad base64"),
        pytest.param([FIELD + f"Basic {RIGHT}*"], id="bad base64 at the end"),
        pytest.param([FIELD + "Basic " + token("alice")], id="no colon"),
        pytest.param([FIELD + "Basic " + token("")], id="nothing"),
        pytest.param([FIELD + "Basic " + token(":")], id="only a colon"),
        pytest.param([FIELD + "Basic " + token("alice:")], id="empty password"),
        pytest.param([FIELD + "Basic " + token(":se:cret")], id="empty user"),
        pytest.param([FIELD + "Basic " + token("alice:secret")], id="wrong password"),
        pytest.param([FIELD + "Basic " + token("alice:se:cret ")], id="blank behind the password"),
        pytest.param([FIELD + "Basic " + token("alice:se:cret\n")], id="line end behind the password"),
        pytest.param([FIELD + "Basic " + token("alice:se:cret\0")], id="NUL behind the password"),
        pytest.param([FIELD + "Basic " + token("Alice:se:cret")], id="case of the user"),
        pytest.param([FIELD + "Basic " + token("alice:SE:CRET")], id="case of the password"),
        pytest.param([FIELD + "Basic " + token("alice:se:cre")], id="shorter password"),
        pytest.param([FIELD + "Basic " + token("mallory:se:cret")], id="unknown user"),
        pytest.param([FIELD + "Basic " + token("bob:se:cret")], id="password of another"),
        pytest.param([FIELD + "Basic " + token(b"alice:\xff")], id="not UTF-8"),
        pytest.param([FIELD + "Basic " + token("bob:ключ".encode("koi8-r"))], id="another encoding"),
        pytest.param(["Authorization: Basic " + RIGHT], id="the field for origin servers"),
        pytest.param(["Proxy-Authorization-Info: Basic " + RIGHT], id="a longer name"),
        pytest.param([FIELD + f"Basic {RIGHT}".replace(" ", "\t")], id="tab for blank"),
    ],
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_wrong_credentials_get_407(fields: list[str], version: str, proxy: Proxy, target: ScriptedServer) -> None:
    answer = proxy.ask(connect_request(target.authority, *fields, version=version))
    assert answer.status == 407
    assert answer.fields["proxy-authenticate"].startswith('Basic realm="')
    assert target.conversations == []


@pytest.mark.parametrize("second", [f"Basic {RIGHT}", "Basic x", ""])
def test_two_credentials_fields_are_malformed(second: str, proxy: Proxy, target: ScriptedServer) -> None:
    """Which of them counts would depend on the parser."""
    assert status(proxy, target, FIELD + f"Basic {RIGHT}", FIELD + second) == 400
    assert status(proxy, target, FIELD + second, FIELD + f"Basic {RIGHT}") == 400


def test_http_1_0_without_fields_gets_407(proxy: Proxy, target: ScriptedServer) -> None:
    assert proxy.ask(f"CONNECT {target.authority} HTTP/1.0\r\n\r\n".encode()).status == 407


def test_each_request_is_authenticated_by_itself(proxy: Proxy, target: ScriptedServer) -> None:
    """Right after wrong credentials, and wrong after right ones, each on a connection of its own."""
    right, wrong = basic("alice", "se:cret"), basic("alice", "x")
    assert [status(proxy, target, field) for field in (wrong, right, wrong, right)] == [407, 200, 407, 200]


def test_right_credentials_pipelined_after_wrong_ones_are_ignored(proxy: Proxy, target: ScriptedServer) -> None:
    answer = proxy.ask(
        connect_request(target.authority, basic("alice", "x")) + connect_request(target.authority, basic("alice", "se:cret"))
    )
    assert answer.raw.count(b"HTTP/1.1 ") == 1
    assert target.conversations == []


def test_a_login_is_not_remembered_for_the_address(proxy: Proxy, target: ScriptedServer) -> None:
    """One client has logged in; the next one from the same address still has to."""
    with proxy.tunnel(target.authority, basic("alice", "se:cret")):
        assert status(proxy, target) == 407
        assert status(proxy, target, basic("alice", "x")) == 407
        assert status(proxy, target, source="127.0.0.2") == 407


def test_refusal_does_not_reveal_whether_the_user_exists(proxy: Proxy, target: ScriptedServer) -> None:
    """A known user with a wrong password and an unknown user get the same answer, byte for byte."""
    unknown = proxy.ask(connect_request(target.authority, basic("mallory", "x"))).raw
    known = proxy.ask(connect_request(target.authority, basic("alice", "x"))).raw
    assert unknown == known


def test_policy_is_not_revealed_without_login(proxy: Proxy) -> None:
    answers = {proxy.refusal(target).raw for target in ("10.0.0.1:1", "127.0.0.1:1", "198.41.0.4:25", "any.test:443")}
    assert len(answers) == 1
