"""Tests that the repr of options hides the secrets that the user typed."""

from typing import Any

import pytest

from tests.client.harness import CANARY, TARGET
from tests.options import check_options, connect_options, forward_options, serve_options
from tunnelctl.client.options import ConnectOptions
from tunnelctl.options import ReachOptions

SECRETS: dict[str, Any] = {
    "proxy": (f"http://u:{CANARY}@proxy:1",),
    "header": (f"Proxy-Authorization: Bearer {CANARY}", f"X-Key: {CANARY}"),
    "pac": f"http://u:{CANARY}@wpad/proxy.pac",
    "proxy_user": f"u:{CANARY}",
    "password_command": f"echo {CANARY}",
}


@pytest.mark.parametrize(
    "options",
    [
        connect_options(TARGET, **SECRETS),
        check_options(TARGET, **SECRETS),
        forward_options(**SECRETS),
        serve_options(**SECRETS),
        ReachOptions(**SECRETS),
    ],
    ids=lambda options: type(options).__name__,
)
def test_the_repr_of_options_shows_no_secret(options: Any) -> None:
    assert CANARY in str([*options]) or CANARY in str([*options.reach]), "the secret is not in the options"
    assert CANARY not in f"{options!r} {options}"


def test_the_repr_of_options_names_the_target() -> None:
    options: ConnectOptions = connect_options(TARGET)
    assert str(TARGET) in repr(options)
