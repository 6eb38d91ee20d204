"""The options of `connect` carry what the user typed, secrets included; their repr must not."""

from tests.client.harness import CANARY, TARGET
from tunnelctl.client.options import ConnectOptions


def test_repr_shows_no_secret() -> None:
    options = ConnectOptions(
        TARGET, proxy=(f"http://u:{CANARY}@proxy:1",), header=(f"Proxy-Authorization: Bearer {CANARY}", f"X-Key: {CANARY}")
    )
    assert CANARY not in f"{options!r} {options}"
    assert str(TARGET) in repr(options)
