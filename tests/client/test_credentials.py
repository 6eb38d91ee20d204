"""Where the credentials for a proxy come from, what is wrong with them, and that nobody else gets to see them."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.client.harness import CANARY, TARGET, Recorder
from tunnelctl.client.credentials import MAX_FILE, PASSWORD_VARIABLE, authorization
from tunnelctl.client.options import ConnectOptions
from tunnelctl.errors import AuthenticationFailed, SettingsError, TunnelctlError, UsageProblem
from tunnelctl.proto.basic import decode_basic
from tunnelctl.proto.proxy_url import parse_proxy_url

PLAIN = "http://proxy.test:3128"


def credentials(url: str = PLAIN, nearest: bool = True, **others: Any) -> tuple[str, str] | None:
    """What a proxy is sent as user and password; `environ` is the password in the environment."""
    environ = {PASSWORD_VARIABLE: others.pop("environ")} if "environ" in others else {}
    chosen = ConnectOptions(TARGET, **others)
    value = authorization(parse_proxy_url(url), nearest, chosen, environ, Recorder())
    return None if value is None else decode_basic(value)


def secret_file(directory: Path, content: bytes, mode: int = 0o600) -> str:
    path = directory / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


# --- where from


def test_nothing_is_given_nothing_is_sent() -> None:
    assert credentials() is None


def test_the_url_has_both() -> None:
    assert credentials("http://us%40er:pa%3Ass@proxy.test") == ("us@er", "pa:ss")


def test_the_url_has_an_empty_password() -> None:
    assert credentials("http://user:@proxy.test", environ="no") == ("user", "")


def test_the_url_has_a_user_and_the_file_the_password(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"from file\n")
    assert credentials("http://user@proxy.test", proxy_password_file=path, environ="no") == ("user", "from file")


def test_the_url_has_a_user_and_the_environment_the_password() -> None:
    assert credentials("http://user@proxy.test", environ="from env") == ("user", "from env")


def test_the_url_has_a_user_and_there_is_no_password() -> None:
    with pytest.raises(UsageProblem, match="there is no password"):
        credentials("http://user@proxy.test")
    assert credentials("http://user:@proxy.test") == ("user", "")


def test_the_url_overrules_the_flags(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"no\n")
    assert credentials("http://user:right@proxy.test", proxy_user="no", proxy_password_file=path) == ("user", "right")


def test_flags(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"from file\n")
    assert credentials(proxy_user="user", proxy_password_file=path, environ="no") == ("user", "from file")


def test_a_user_from_the_flags_and_a_password_from_the_environment() -> None:
    assert credentials(proxy_user="user", environ="from env") == ("user", "from env")


def test_a_password_in_the_environment_alone_is_sent_to_nobody() -> None:
    """It may be meant for another proxy, and there is no user."""
    assert credentials(environ="from env") is None


def test_auth_file(tmp_path: Path) -> None:
    assert credentials(proxy_auth_file=secret_file(tmp_path, b"user:pass:word \n")) == ("user", "pass:word ")


@pytest.mark.parametrize("content", [b"secret", b"secret\n", b"secret\r\n", b"secret\nsecond line\n"])
def test_the_first_line_without_its_end(tmp_path: Path, content: bytes) -> None:
    assert credentials(proxy_user="user", proxy_password_file=secret_file(tmp_path, content)) == ("user", "secret")


@pytest.mark.parametrize("password", ["two words", " leading and trailing ", "ключ 🔑", "a:b:c", '"quoted"', "#no comment"])
def test_passwords_come_whole(tmp_path: Path, password: str) -> None:
    path = secret_file(tmp_path, password.encode() + b"\n")
    assert credentials(proxy_user="user", proxy_password_file=path) == ("user", password)


def test_a_line_of_just_the_most_bytes_is_read(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"x" * MAX_FILE)
    assert credentials(proxy_user="user", proxy_password_file=path) == ("user", "x" * MAX_FILE)


def test_a_pipe_serves_as_a_file() -> None:
    """As in `--proxy-password-file <(pass show proxy)`."""
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe\n")
    os.close(writer)
    try:
        assert credentials(proxy_user="user", proxy_password_file=f"/dev/fd/{reader}") == ("user", "from a pipe")
    finally:
        os.close(reader)


# --- for whom


def test_only_the_nearest_gets_what_flags_and_environment_have(tmp_path: Path) -> None:
    password = secret_file(tmp_path, f"u:{CANARY}\n".encode())
    assert credentials(nearest=False, proxy_user="user", proxy_password_file=password) is None
    assert credentials(nearest=False, proxy_auth_file=password) is None
    with pytest.raises(UsageProblem, match="there is no password"):
        credentials("http://user@proxy.test", nearest=False, environ=CANARY, proxy_password_file=password)


def test_another_proxy_gets_what_its_url_has() -> None:
    assert credentials("http://user:own@proxy.test", nearest=False, proxy_user="no") == ("user", "own")


# --- what is wrong with it


def options(flag: str, path: str) -> dict[str, Any]:
    return {flag: path}


def wrong(path: str, flag: str = "proxy_password_file") -> str:
    with pytest.raises(SettingsError) as caught:
        credentials(proxy_user="user", **options(flag, path))
    assert caught.value.what == f"--{flag.replace('_', '-')} {path}"
    return caught.value.cause.lower()


FLAGS = pytest.mark.parametrize("flag", ["proxy_password_file", "proxy_auth_file"])


@FLAGS
def test_missing_file(tmp_path: Path, flag: str) -> None:
    assert wrong(str(tmp_path / "none"), flag) == "no such file or directory"


@FLAGS
def test_directory(tmp_path: Path, flag: str) -> None:
    assert wrong(str(tmp_path), flag) == "is a directory"


@FLAGS
def test_unreadable_file(flag: str) -> None:
    """Its first page is never mapped, so even root cannot read it."""
    assert wrong("/proc/self/mem", flag) == "input/output error"


def test_forbidden_file(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"x\n", mode=0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may read everything
    try:
        assert wrong(path) == "permission denied"
    finally:
        os.seteuid(user)


@FLAGS
def test_too_long_a_line(tmp_path: Path, flag: str) -> None:
    assert "longer than 4096 bytes" in wrong(secret_file(tmp_path, b"u:" + b"x" * MAX_FILE), flag)


@FLAGS
def test_endless_file(flag: str) -> None:
    assert "longer than 4096 bytes" in wrong("/dev/zero", flag)


@FLAGS
def test_not_utf_8(tmp_path: Path, flag: str) -> None:
    assert "not utf-8" in wrong(secret_file(tmp_path, b"u:\xff\n"), flag)


@FLAGS
@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\nsecret on the second line\n"])
def test_empty_first_line(tmp_path: Path, flag: str, content: bytes) -> None:
    """Whatever was to write it has failed. An empty password that is meant stands in the URL."""
    assert "empty" in wrong(secret_file(tmp_path, content), flag)


def test_auth_file_without_a_colon(tmp_path: Path) -> None:
    path = secret_file(tmp_path, f"{CANARY}\n".encode())
    assert "user:password" in wrong(path, "proxy_auth_file")


def test_user_without_password() -> None:
    with pytest.raises(UsageProblem, match="no password") as caught:
        credentials(proxy_user="user")
    assert PASSWORD_VARIABLE in caught.value.hint


def test_password_without_user(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem) as caught:
        credentials(proxy_password_file=secret_file(tmp_path, b"x\n"))
    assert "--proxy-user" in caught.value.hint


@pytest.mark.parametrize(
    "url", [PLAIN, "http://us%0Aer:x@proxy.test", "http://us%3Aer:x@proxy.test", "http://user:%0D%0AX@proxy.test"]
)
def test_what_basic_cannot_carry(url: str) -> None:
    """A colon in the user would move the border; a line end would add a header field."""
    with pytest.raises(AuthenticationFailed):
        credentials(url, proxy_user="us:er", environ="x")


def test_no_error_repeats_the_password(tmp_path: Path) -> None:
    canary = CANARY.encode()
    for content in (canary + b"\0\n", canary * 500, canary + b"\n", b"u:" + canary + b"\x7f\n", b"u:" + canary + b"\xff\n"):
        path = secret_file(tmp_path, content)
        for flag in ("proxy_password_file", "proxy_auth_file"):
            shown = ""
            try:
                credentials(proxy_user="user", **options(flag, path))
            except TunnelctlError as error:
                shown = f"{error!r} {error} {error.hint} {error.detail} {error.__cause__} {error.__context__}"
            assert CANARY not in shown


# --- warnings


def warnings(path: str) -> list[object]:
    trace = Recorder()
    authorization(parse_proxy_url(PLAIN), True, ConnectOptions(TARGET, proxy_auth_file=path), {}, trace)
    return [fields["text"] for fields in trace.named("warning")]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_a_file_that_others_can_read_is_warned_about_once(tmp_path: Path, mode: int) -> None:
    (text,) = warnings(secret_file(tmp_path, f"u:{CANARY}\n".encode(), mode))
    assert "others can read it" in str(text)
    assert CANARY not in str(text)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_ones_own_is_fine(tmp_path: Path, mode: int) -> None:
    assert warnings(secret_file(tmp_path, b"u:p\n", mode)) == []


def test_a_fifo_is_not_warned_about(tmp_path: Path) -> None:
    """What its mode says matters to nobody once it has been read."""
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o644)
    assert stat.S_IMODE(path.stat().st_mode) & 0o044
    writer = os.open(path, os.O_RDWR)
    os.write(writer, b"u:p\n")
    try:
        assert warnings(str(path)) == []
    finally:
        os.close(writer)
