"""V9: nobody starts an open proxy by accident."""

from pathlib import Path

import pytest

from tests.options import serve_options
from tests.server.harness import Proxy, users_file
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.errors import UsageProblem


def test_listens_on_loopback_by_default() -> None:
    assert serve_options().listen == ("127.0.0.1:3128",)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:127.0.0.1]:0", "[2001:db8::1]:0"])
@pytest.mark.parametrize("others", [(), ("127.0.0.1:0",)])
def test_does_not_start_beyond_loopback_without_users(listen: str, others: tuple[str, ...]) -> None:
    with pytest.raises(UsageProblem) as caught, Proxy(listen=(*others, listen)):
        raise AssertionError("the proxy started")
    assert "open proxy" in str(caught.value)
    assert all(flag in hint_of(caught.value) for flag in ("--users", "--client-ca", "127.0.0.1", "--open-proxy"))


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.9.10:0", "[::1]:0"])
def test_starts_on_loopback_without_users(listen: str) -> None:
    with Proxy(listen=(listen,)) as proxy:
        assert proxy.addresses


def test_starts_beyond_loopback_with_the_open_proxy_option() -> None:
    with Proxy(listen=("0.0.0.0:0",), open_proxy=True) as proxy:
        assert proxy.authority.startswith("0.0.0.0:")


@pytest.mark.usefixtures("cheap_hashes")
def test_starts_beyond_loopback_with_users_and_requires_login(tmp_path: object) -> None:
    with Proxy(listen=("0.0.0.0:0",), users=users_file(tmp_path, alice="secret")) as proxy:  # type: ignore[arg-type]
        assert proxy.refusal("127.0.0.1:1").status == 407


@pytest.mark.parametrize(
    ("clients", "starts"),
    [
        (['["192.0.2.0/24"]'], True),
        (['["192.0.2.0/24", "2001:db8::/32"]', '["10.0.0.1"]'], True),
        (['["0.0.0.0/0"]'], False),
        (['["192.0.2.0/24", "::/0"]'], False),
        (['["192.0.2.0/24"]', ""], False),
        ([], False),
    ],
)
def test_starts_beyond_loopback_if_each_allow_rule_names_clients(clients: list[str], starts: bool, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    allowed = "".join(f'[[allow]]\ntargets = ["*:443"]\n{who and "clients = " + who}\n' for who in clients)
    path.write_text(f'{allowed}[[deny]]\ntargets = ["evil.test:*"]\n')
    proxy = Proxy(listen=("0.0.0.0:0",), allow=(), policy=str(path))
    if starts:
        with proxy:
            assert proxy.refusal("198.41.0.4:443").status == 403, "no rule names this client"
    else:
        with pytest.raises(UsageProblem, match="open proxy"), proxy:
            raise AssertionError("the proxy started")


@pytest.mark.parametrize("name", ["localhost:0", "example.com:0", "*:0", "a:0"])
def test_a_name_is_rejected_as_listening_address(name: str) -> None:
    """It could resolve to an outside address from one day to the next."""
    with pytest.raises(UsageProblem), Proxy(listen=(name,)):
        raise AssertionError("the proxy started")
