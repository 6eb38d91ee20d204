"""`forward --users`: the users file of `serve` for local ports."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.client.harness import TraceLog
from tests.options import forward_options
from tests.server.harness import digest_users_file, users_file
from tunnelctl.cli.commands.local_logins import local_logins
from tunnelctl.engine.kernel import run
from tunnelctl.errors import SettingsError
from tunnelctl.proto.refusal import Refusal, too_many_wrong_logins
from tunnelctl.server.access import throttle

LOGINS = [("anna", "s3cret", True), ("anna", "wrong", False), ("eve", "s3cret", False), ("", "", False)]


def judged(check: Callable[[str, str, str], Awaitable[bool | Refusal]], *login: str) -> bool | Refusal:
    async def main() -> bool | Refusal:
        return await check(*login)

    return run(main)


@pytest.mark.usefixtures("cheap_hashes")
@pytest.mark.parametrize("make", [users_file, digest_users_file], ids=["scrypt", "digest"])
def test_the_users_file_decides_about_a_login(make, tmp_path: Path) -> None:
    trace = TraceLog()
    check = local_logins(forward_options(dynamic=("0",), users=make(tmp_path, anna="s3cret")), trace)
    for user, password, right in LOGINS:
        assert judged(check, user, password, "192.0.2.1") is right
    assert trace.events == []


def test_a_broken_users_file_is_reported_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("anna:s3cret\n")
    with pytest.raises(SettingsError, match="line 1"):
        local_logins(forward_options(dynamic=("0",), users=str(path)), TraceLog())


@pytest.mark.usefixtures("cheap_hashes")
def test_a_warning_if_no_port_can_require_a_login(tmp_path: Path) -> None:
    trace = TraceLog()
    local_logins(forward_options(local=("0:h:1",), users=users_file(tmp_path, anna="s3cret")), trace)
    assert trace.named("warning") == [{"text": "--users has no effect: a port that leads to one target cannot require a login"}]


@pytest.mark.usefixtures("cheap_hashes")
def test_guessed_passwords_are_throttled_per_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "LONGEST_DELAY", 0.0)
    check = local_logins(forward_options(dynamic=("0",), users=users_file(tmp_path, anna="s3cret")), TraceLog())

    async def guess(host: str) -> list[bool | Refusal]:
        return [await check("anna", f"wrong {number}", host) for number in range(throttle.BURST + 1)]

    *wrong, last = run(lambda: guess("192.0.2.1"))
    assert wrong == [False] * throttle.BURST
    assert last == too_many_wrong_logins(6)
    assert judged(check, "anna", "s3cret", "192.0.2.1") == last
    assert judged(check, "anna", "s3cret", "198.51.100.1") is True
