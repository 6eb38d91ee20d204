"""Tests what two processes must have in common for their tunnels to be alike."""

from pathlib import Path
from typing import Any

import pytest

from tests.options import fields_of, reach_options
from tunnelctl.client.route import fingerprint as module
from tunnelctl.client.route.fingerprint import fingerprint
from tunnelctl.options import ReachOptions

PROXY = ("https://alice@proxy.test:3128",)


def of(environ: dict[str, str] | None = None, **fields: Any) -> str:
    return fingerprint(reach_options(**fields), environ or {})


@pytest.mark.parametrize(
    "fields",
    [
        {"proxy": ("HTTPS://alice@Proxy.test:3128/",)},
        {"proxy": ("https://alice:secret@proxy.test:3128",)},
        {"proxy_password_file": "/p"},
        {"password_command": "pass"},
        {"ask_password": True},
        {"timeout": 1.0, "connect_timeout": 1.0, "retry": 5, "keepalive": 0.0, "proxy_origin": "profile work"},
    ],
)
def test_spelling_passwords_and_limits_make_no_difference(fields: dict[str, Any]) -> None:
    assert of(**{"proxy": PROXY, **fields}) == of(proxy=PROXY)


@pytest.mark.parametrize(
    "fields",
    [
        {"proxy": ("https://proxy.test:3128",)},
        {"proxy": ("https://bob@proxy.test:3128",)},
        {"proxy": ("http://alice@proxy.test:3128",)},
        {"proxy": (*PROXY, "http://inner.test:1")},
        {"proxy": (f"{PROXY[0]},http://other.test:1",)},
        {"proxy": ("direct",)},
        {"proxy_user": "bob"},
        {"proxy_auth_file": "/login"},
        {"auth": "basic"},
        {"proxy_cacert": "/ca"},
        {"proxy_cert": "/c"},
        {"proxy_key": "/k"},
        {"proxy_pin": "ab"},
        {"proxy_insecure": True},
        {"header": ("X-A: b",)},
        {"family": 4},
        {"proxy": (), "pac": "/x.pac"},
    ],
)
def test_what_decides_where_a_tunnel_leads_makes_a_difference(fields: dict[str, Any]) -> None:
    assert of(**{"proxy": PROXY, **fields}) != of(proxy=PROXY)


def test_every_option_is_in_one_of_the_two_tests_above() -> None:
    """A new option counts, until it is left out on purpose."""
    assert set(module._LEFT_OUT) <= set(dict(fields_of(ReachOptions)))
    assert set(module._FILES) <= set(dict(fields_of(ReachOptions)))


def test_the_environment_counts_only_where_it_names_the_proxies() -> None:
    environ = {"https_proxy": "http://proxy.test:1", "no_proxy": "a.test"}
    assert of(environ) == of({**environ, "all_proxy": "http://other.test:1"})
    assert of(environ) != of({**environ, "no_proxy": "b.test"})
    assert of(environ) != of({"https_proxy": "http://other.test:1", "no_proxy": "a.test"})
    assert of(environ) != of()
    assert of(environ, proxy=PROXY) == of(proxy=PROXY)
    assert of(environ, pac="/x") == of(pac="/x")


def test_files_are_those_of_the_directory_where_the_process_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert of(proxy_cacert="ca") == of(proxy_cacert=f"{tmp_path}/ca")
    assert of(pac="https://pac.test/x") != of(pac=f"{tmp_path}/x")


@pytest.mark.parametrize(
    "fields",
    [
        {"proxy": ("https://alice:canary@proxy.test",)},
        {"proxy_user": "alice:canary"},
        {"pac": "https://alice:canary@pac.test/x"},
        {"header": ("Proxy-Authorization: Basic canary",)},
    ],
)
def test_no_password_is_in_it(fields: dict[str, Any]) -> None:
    assert "canary" not in of(**fields)


def test_a_secret_field_equals_nothing() -> None:
    assert of(header=("proxy-authorization: Basic x",)) == ""
