"""Tests the sources of a proxy's credentials, the errors in them, and that no other hop receives them."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.client.harness import CANARY, TraceLog
from tests.options import reach_options
from tunnelctl.cli.render.hints import hint_of, what_of
from tunnelctl.client.auth import credentials as credentials_module
from tunnelctl.client.auth.credentials import MAX_FILE, PASSWORD_VARIABLE, CredentialSource, Secret
from tunnelctl.engine.kernel import BusyResourceError, Nursery, move_on_after, run
from tunnelctl.errors import SettingsError, TunnelctlError, Unreachable, UsageProblem
from tunnelctl.proto.proxy_url import parse_proxy_url

PLAIN = "http://proxy.test:3128"


def source(url: str = PLAIN, nearest: bool = True, **others: Any) -> CredentialSource:
    """`environ` is the password in the environment, `home` the home directory, `netrc` the variable of that name."""
    variables = {"environ": PASSWORD_VARIABLE, "home": "HOME", "netrc": "NETRC"}
    environ = {name: str(others.pop(key)) for key, name in variables.items() if key in others}
    trace = others.pop("trace", None) or TraceLog()
    return CredentialSource(parse_proxy_url(url), nearest, reach_options(**others), environ, trace)


def credentials(url: str = PLAIN, nearest: bool = True, **others: Any) -> tuple[str | None, str] | None:
    """Returns the user and password for a proxy. `prepare` reports wrong flags and files before any proxy requires the
    credentials.
    """
    asked = source(url, nearest, **others)
    asked.prepare()
    secret = run(asked.find)
    return None if secret is None else (secret.user, secret.password)


def secret_file(directory: Path, content: bytes, mode: int = 0o600) -> str:
    path = directory / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


# --- sources


def test_without_credentials_nothing_is_sent() -> None:
    assert credentials() is None


def test_user_and_password_from_the_url() -> None:
    assert credentials("http://us%40er:pa%3Ass@proxy.test") == ("us@er", "pa:ss")


def test_an_empty_password_in_the_url_counts() -> None:
    assert credentials("http://user:@proxy.test", environ="no") == ("user", "")


def test_user_from_the_url_and_password_from_a_file(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"from file\n")
    assert credentials("http://user@proxy.test", proxy_password_file=path, environ="no") == ("user", "from file")


def test_user_from_the_url_and_password_from_the_environment() -> None:
    assert credentials("http://user@proxy.test", environ="from env") == ("user", "from env")


def test_a_user_in_the_url_without_a_password_is_an_error() -> None:
    with pytest.raises(UsageProblem, match="there is no password"):
        credentials("http://user@proxy.test")
    assert credentials("http://user:@proxy.test") == ("user", "")


def test_the_url_takes_precedence_over_the_flags(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"no\n")
    assert credentials("http://user:right@proxy.test", proxy_user="no", proxy_password_file=path) == ("user", "right")


def test_user_and_password_file_from_the_flags(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"from file\n")
    assert credentials(proxy_user="user", proxy_password_file=path, environ="no") == ("user", "from file")


def test_user_from_the_flags_and_password_from_the_environment() -> None:
    assert credentials(proxy_user="user", environ="from env") == ("user", "from env")


def test_a_password_in_the_environment_without_a_user_is_not_sent() -> None:
    """It may be meant for another proxy, and there is no user."""
    assert credentials(environ="from env") is None


def test_the_auth_file_supplies_user_and_password(tmp_path: Path) -> None:
    assert credentials(proxy_auth_file=secret_file(tmp_path, b"user:pass:word \n")) == ("user", "pass:word ")


@pytest.mark.parametrize("content", [b"secret", b"secret\n", b"secret\r\n", b"secret\nsecond line\n"])
def test_the_password_is_the_first_line_without_its_line_end(tmp_path: Path, content: bytes) -> None:
    assert credentials(proxy_user="user", proxy_password_file=secret_file(tmp_path, content)) == ("user", "secret")


@pytest.mark.parametrize("password", ["two words", " leading and trailing ", "ключ 🔑", "a:b:c", '"quoted"', "#no comment"])
def test_passwords_keep_blanks_quotes_and_unicode(tmp_path: Path, password: str) -> None:
    path = secret_file(tmp_path, password.encode() + b"\n")
    assert credentials(proxy_user="user", proxy_password_file=path) == ("user", password)


def test_a_line_of_the_maximum_length_is_read(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"x" * MAX_FILE)
    assert credentials(proxy_user="user", proxy_password_file=path) == ("user", "x" * MAX_FILE)


def test_the_password_file_may_be_a_pipe() -> None:
    """As in `--proxy-password-file <(pass show proxy)`."""
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe\n")
    os.close(writer)
    try:
        assert credentials(proxy_user="user", proxy_password_file=f"/dev/fd/{reader}") == ("user", "from a pipe")
    finally:
        os.close(reader)


@pytest.mark.parametrize("flag", [{"password_command": "echo token"}, {"proxy_password_file": "FILE"}, {"environ": "token"}])
def test_a_bearer_token_needs_no_user(tmp_path: Path, flag: dict[str, str]) -> None:
    given: dict[str, Any] = {key: secret_file(tmp_path, b"token\n") if value == "FILE" else value for key, value in flag.items()}
    assert credentials(auth="bearer", **given) == (None, "token")


def test_a_password_file_takes_precedence_over_a_password_command(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"from file\n")
    assert credentials(proxy_user="user", proxy_password_file=path, password_command="echo no") == ("user", "from file")
    assert credentials(proxy_user="user", password_command="echo from command", environ="no") == ("user", "from command")
    assert credentials("http://user@proxy.test", password_command="echo from command") == ("user", "from command")


def test_user_and_password_take_precedence_over_an_auth_file(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"from:file\n")
    assert credentials(proxy_user="user", environ="secret", proxy_auth_file=path) == ("user", "secret")
    assert credentials(proxy_user="user", proxy_auth_file=path) == ("from", "file")


# --- when the sources are read


def test_the_password_command_runs_on_demand_and_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    asked = source(proxy_user="user", password_command=f"echo run >> {log}; echo secret")
    asked.prepare()
    assert not log.exists()
    assert [run(asked.find), run(asked.find)] == [Secret("user", "secret")] * 2
    assert log.read_text() == "run\n"


def test_concurrent_requests_run_the_password_command_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    asked = source(proxy_user="user", password_command=f"echo run >> {log}; echo secret")
    found: list[Secret | None] = []

    async def want() -> None:
        found.append(await asked.find())

    async def all_want() -> None:
        async with Nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(want)

    run(all_want)
    assert found == [Secret("user", "secret")] * 5
    assert log.read_text() == "run\n"


def test_a_failed_password_command_is_run_again(tmp_path: Path) -> None:
    asked = source(proxy_user="user", password_command=f"cat {tmp_path}/secret")
    with pytest.raises(SettingsError):
        run(asked.find)
    secret_file(tmp_path, b"secret\n")
    assert run(asked.find) == Secret("user", "secret")


def test_socks4a_has_users_without_passwords(tmp_path: Path) -> None:
    netrc(tmp_path, ENTRY)
    assert credentials("socks4a://proxy.test", home=tmp_path) is None
    assert credentials("socks4a://bob@proxy.test", home=tmp_path) == ("bob", "")
    assert credentials("socks4a://proxy.test", proxy_user="bob") == ("bob", "")


# --- netrc


def netrc(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / ".netrc"
    path.write_text(text)
    path.chmod(mode)
    return path


ENTRY = f"machine proxy.test login user password {CANARY}\n"


def test_netrc_is_read_from_home_or_the_netrc_variable(tmp_path: Path) -> None:
    path = netrc(tmp_path, ENTRY)
    assert credentials(home=tmp_path) == ("user", CANARY)
    assert credentials(netrc=path, home="/nonexistent") == ("user", CANARY)
    assert credentials(netrc="", home=tmp_path) == ("user", CANARY)
    assert credentials(netrc=tmp_path / "other", home=tmp_path) is None


def test_netrc_applies_to_every_hop_that_it_names(tmp_path: Path) -> None:
    netrc(tmp_path, ENTRY)
    assert credentials(nearest=False, home=tmp_path) == ("user", CANARY)
    assert credentials("http://other.test", home=tmp_path) is None


def test_the_default_entry_of_netrc_is_ignored(tmp_path: Path) -> None:
    netrc(tmp_path, f"default login user password {CANARY}\n")
    assert credentials(home=tmp_path) is None


def test_netrc_names_an_ipv6_address_without_brackets(tmp_path: Path) -> None:
    netrc(tmp_path, f"machine ::1 login user password {CANARY}\n")
    assert credentials("http://[::1]:3128", home=tmp_path) == ("user", CANARY)


def test_netrc_has_the_lowest_precedence(tmp_path: Path) -> None:
    netrc(tmp_path, ENTRY)
    assert credentials("http://a:b@proxy.test", home=tmp_path) == ("a", "b")
    assert credentials(home=tmp_path, proxy_user="a", environ="b") == ("a", "b")
    assert credentials(home=tmp_path, proxy_auth_file=secret_file(tmp_path, b"a:b\n")) == ("a", "b")


def test_netrc_supplies_the_password_of_its_own_user_only(tmp_path: Path) -> None:
    netrc(tmp_path, ENTRY)
    assert credentials("http://user@proxy.test", home=tmp_path) == ("user", CANARY)
    assert credentials(proxy_user="user", home=tmp_path) == ("user", CANARY)
    with pytest.raises(UsageProblem, match="no password for this user"):
        credentials(proxy_user="other", home=tmp_path)


@pytest.mark.parametrize(("nearest", "advice"), [(True, "--proxy-password-file FILE"), (False, "~/.netrc")])
def test_the_hint_for_a_missing_password_is_for_this_proxy(nearest: bool, advice: str) -> None:
    """The flags give a login to the nearest proxy only; a later one has its URL and netrc."""
    with pytest.raises(UsageProblem) as caught:
        credentials("http://user@proxy.test", nearest=nearest)
    assert str(caught.value) == "proxy http://user@proxy.test:80: there is no password for this user"
    assert advice in hint_of(caught.value)
    assert ("give --proxy-" in hint_of(caught.value)) is nearest


def test_a_password_given_with_the_user_flag_is_not_shown() -> None:
    """curl's --proxy-user takes USER:PASSWORD."""
    with pytest.raises(UsageProblem) as caught:
        credentials(proxy_user=f"user:{CANARY}")
    assert what_of(caught.value) == "--proxy-user user:***"
    assert CANARY not in hint_of(caught.value)


def test_netrc_keywords_and_hosts_match_in_any_case(tmp_path: Path) -> None:
    """As curl reads it: keywords match in any case, and a backslash is literal."""
    netrc(tmp_path, f"MACHINE Proxy.Test LOGIN CORP\\user PASSWORD {CANARY}\n")
    assert credentials(home=tmp_path) == ("CORP\\user", CANARY)


def test_netrc_with_two_users_of_one_host(tmp_path: Path) -> None:
    netrc(tmp_path, "machine proxy.test login a password 1\nmachine proxy.test login b password 2\n")
    assert credentials(home=tmp_path) == ("a", "1")
    assert credentials("http://b@proxy.test", home=tmp_path) == ("b", "2")


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"\xef\xbb\xbfsecret\r\n")
    assert credentials(proxy_user="user", proxy_password_file=path) == ("user", "secret")
    assert credentials(proxy_user="user", password_command=f"cat {path}") == ("user", "secret")
    path = secret_file(tmp_path, b"\xef\xbb\xbfuser:secret\r\n")
    assert credentials(proxy_auth_file=path) == ("user", "secret")
    netrc(tmp_path, "\ufeffmachine proxy.test login user password secret\n")
    assert credentials(home=tmp_path) == ("user", "secret")
    path = secret_file(tmp_path, b"\xef\xbb\xbf\n")
    with pytest.raises(SettingsError, match="its first line is empty"):
        credentials(proxy_user="user", proxy_password_file=path)


def test_netrc_entries_without_a_login_or_a_password(tmp_path: Path) -> None:
    netrc(tmp_path, "machine proxy.test password token\n")
    assert credentials(home=tmp_path) == (None, "token")
    assert credentials(home=tmp_path, proxy_user="user") == ("user", "token")
    netrc(tmp_path, "machine proxy.test login user\n")
    assert credentials(home=tmp_path) is None


@pytest.mark.parametrize("home", ["", "/nonexistent", "/dev/null"])
def test_a_missing_netrc_is_no_error(home: str) -> None:
    assert credentials(home=home) is None


@pytest.mark.parametrize(("text", "line"), [(f"machine proxy.test\n{CANARY}\n", ", line 2"), (f"{CANARY} x", ", line 1")])
def test_a_malformed_netrc_is_named_but_not_quoted(tmp_path: Path, text: str, line: str) -> None:
    path = netrc(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        credentials(home=tmp_path)
    error = caught.value
    assert error.what == f"netrc file {path}{line}"
    assert CANARY not in f"{error!r} {error} {hint_of(error)} {error.__cause__}"


def test_a_netrc_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    netrc(tmp_path, "").write_bytes(b"machine proxy.test password \xff\xfe\n")
    with pytest.raises(SettingsError, match="not UTF-8"):
        credentials(home=tmp_path)


def test_an_unreadable_netrc_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a directory"):
        credentials(netrc=tmp_path)


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o644, 1), (0o640, 1)])
def test_a_netrc_readable_by_others_gives_a_warning_if_used(tmp_path: Path, mode: int, count: int) -> None:
    netrc(tmp_path, ENTRY, mode)
    trace = TraceLog()
    run(source(home=tmp_path, trace=trace).find)
    run(source("http://other.test", home=tmp_path, trace=trace).find)
    assert [str(fields["text"]).partition(":")[0] for fields in trace.named("warning")] == [f"netrc file {tmp_path}/.netrc"] * count


# --- which hop they apply to


def test_flags_and_environment_apply_to_the_nearest_hop_only(tmp_path: Path) -> None:
    password = secret_file(tmp_path, f"u:{CANARY}\n".encode())
    assert credentials(nearest=False, proxy_user="user", proxy_password_file=password) is None
    assert credentials(nearest=False, proxy_auth_file=password) is None
    assert credentials(nearest=False, proxy_user="user", password_command=f"echo {CANARY}") is None
    assert credentials(nearest=False, ask_password=True) is None
    with pytest.raises(UsageProblem, match="there is no password"):
        credentials("http://user@proxy.test", nearest=False, environ=CANARY, proxy_password_file=password)


def test_a_later_hop_gets_the_credentials_of_its_url() -> None:
    assert credentials("http://user:own@proxy.test", nearest=False, proxy_user="no") == ("user", "own")


# --- errors


def options(flag: str, path: str) -> dict[str, Any]:
    return {flag: path}


def wrong(path: str, flag: str = "proxy_password_file") -> str:
    with pytest.raises(SettingsError) as caught:
        credentials(proxy_user="user", **options(flag, path))
    kind = {"proxy_password_file": "password file", "proxy_auth_file": "login file"}[flag]
    assert caught.value.what == f"{kind} {path}"
    return caught.value.cause.lower()


FLAGS = pytest.mark.parametrize("flag", ["proxy_password_file", "proxy_auth_file"])


@FLAGS
def test_a_missing_file_is_an_error(tmp_path: Path, flag: str) -> None:
    assert wrong(str(tmp_path / "none"), flag) == "no such file or directory"


@FLAGS
def test_a_directory_is_an_error(tmp_path: Path, flag: str) -> None:
    assert wrong(str(tmp_path), flag) == "is a directory"


@pytest.mark.linux("/proc")
@FLAGS
def test_an_unreadable_file_is_an_error(flag: str) -> None:
    """Its first page is never mapped, so even root cannot read it."""
    assert wrong("/proc/self/mem", flag) == "input/output error"


def test_a_file_without_read_permission_is_an_error(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"x\n", mode=0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may read everything
    try:
        assert wrong(path) == "permission denied"
    finally:
        os.seteuid(user)


@FLAGS
def test_a_line_over_the_maximum_length_is_an_error(tmp_path: Path, flag: str) -> None:
    assert "longer than 4096 bytes" in wrong(secret_file(tmp_path, b"u:" + b"x" * MAX_FILE), flag)


@FLAGS
def test_an_endless_file_is_an_error(flag: str) -> None:
    assert "longer than 4096 bytes" in wrong("/dev/zero", flag)


@FLAGS
def test_a_file_that_is_not_utf_8_is_an_error(tmp_path: Path, flag: str) -> None:
    assert "not utf-8" in wrong(secret_file(tmp_path, b"u:\xff\n"), flag)


@FLAGS
@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\nsecret on the second line\n"])
def test_an_empty_first_line_is_an_error(tmp_path: Path, flag: str, content: bytes) -> None:
    """The program that should have written the file failed. An intentionally empty password belongs in the URL."""
    assert "empty" in wrong(secret_file(tmp_path, content), flag)


def test_an_auth_file_without_a_colon_is_an_error(tmp_path: Path) -> None:
    path = secret_file(tmp_path, f"{CANARY}\n".encode())
    assert "user:password" in wrong(path, "proxy_auth_file")


def test_a_user_without_a_password_is_a_usage_error() -> None:
    with pytest.raises(UsageProblem, match="no password") as caught:
        credentials(proxy_user="user")
    assert PASSWORD_VARIABLE in hint_of(caught.value)


@pytest.mark.parametrize("flag", [{"proxy_password_file": "x"}, {"password_command": "x"}, {"ask_password": True}])
def test_a_password_source_without_a_user_is_a_usage_error(flag: dict[str, Any]) -> None:
    with pytest.raises(UsageProblem) as caught:
        source(**flag)
    assert "--proxy-user" in hint_of(caught.value)


def test_no_error_shows_the_password(tmp_path: Path) -> None:
    canary = CANARY.encode()
    for content in (canary + b"\0\n", canary * 500, canary + b"\n", b"u:" + canary + b"\x7f\n", b"u:" + canary + b"\xff\n"):
        path = secret_file(tmp_path, content)
        for flag in ("proxy_password_file", "proxy_auth_file"):
            shown = ""
            try:
                credentials(proxy_user="user", **options(flag, path))
            except TunnelctlError as error:
                shown = f"{error!r} {error} {hint_of(error)} {error.detail} {error.__cause__} {error.__context__}"
            assert CANARY not in shown


def test_no_repr_shows_the_password() -> None:
    secret = Secret("user", CANARY)
    assert CANARY not in f"{secret} {secret!r} {[secret]}"
    asked = source(f"http://user:{CANARY}@proxy.test", environ=CANARY)
    run(asked.find)
    assert CANARY not in f"{asked} {asked!r}"


# --- warnings


def warnings(path: str) -> list[object]:
    trace = TraceLog()
    credentials(proxy_auth_file=path, trace=trace)
    return [fields["text"] for fields in trace.named("warning")]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_a_file_readable_by_others_gives_one_warning(tmp_path: Path, mode: int) -> None:
    (text,) = warnings(secret_file(tmp_path, f"u:{CANARY}\n".encode(), mode))
    assert "others can read it" in str(text)
    assert CANARY not in str(text)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_private_file_gives_no_warning(tmp_path: Path, mode: int) -> None:
    assert warnings(secret_file(tmp_path, b"u:p\n", mode)) == []


def test_a_fifo_gives_no_warning(tmp_path: Path) -> None:
    """Its mode no longer matters once it has been read."""
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o644)
    assert stat.S_IMODE(path.stat().st_mode) & 0o044
    writer = os.open(path, os.O_RDWR)
    os.write(writer, b"u:p\n")
    try:
        assert warnings(str(path)) == []
    finally:
        os.close(writer)


def test_a_file_that_hangs_does_not_block_the_event_loop(tmp_path: Path) -> None:
    """As in a home directory whose server is gone: `serve -x` and `forward` read it when a proxy first requires a login."""
    path = tmp_path / ".netrc"
    os.mkfifo(path)
    asked = source(home=tmp_path)

    async def main() -> bool:
        with move_on_after(0.1) as scope:
            await asked.find()
        return scope.cancelled_caught

    try:
        assert run(main)
    finally:
        os.close(os.open(path, os.O_RDWR))  # lets the thread continue
    path.unlink()
    netrc(tmp_path, ENTRY)
    assert run(asked.find) == Secret("user", CANARY)


def test_without_a_thread_finding_the_login_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_thread(*_: object) -> None:
        raise BusyResourceError("the system grants no further thread")

    monkeypatch.setattr(credentials_module, "to_thread", no_thread)
    with pytest.raises(Unreachable, match="the system grants no further thread"):
        run(source().find)
