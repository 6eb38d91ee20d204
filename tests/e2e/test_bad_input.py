"""For any bad input, the user gets one clear line, perhaps a hint, and a documented exit status; stdout stays empty.

Most tests run in this process, since starting Python is the same for all of them. A few run the program, to be sure.
"""

import _socket
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers import program
from tests.peers.scripted import Conversation, ScriptedServer, refusing_port
from tunnelctl.cli.main import run
from tunnelctl.status import ExitStatus

USAGE, SETTINGS = ExitStatus.USAGE, ExitStatus.SETTINGS
LONGEST = 1200  # characters; the longest line that a person still reads

Fails = Callable[..., str]


def one_clear_line(stderr: str) -> str:
    """Asserts the shape of the message, and returns it."""
    lines = stderr.splitlines()
    assert 1 <= len(lines) <= 2, stderr
    assert lines[0].startswith("tunnelctl: ")
    assert ": " in lines[0][len("tunnelctl: ") :], "the line must name what failed and the cause"
    assert all(line.startswith("hint: ") and len(line) > 6 for line in lines[1:])
    assert all(line.isprintable() and len(line) < LONGEST for line in lines)
    assert "Traceback" not in stderr
    assert "None" not in stderr
    assert not lines[0].endswith(".")
    return stderr


@pytest.fixture
def fails(capfd: pytest.CaptureFixture[str]) -> Fails:
    """Runs a command line that must fail with the given status. Returns its stderr."""

    def run_it(status: int, *argv: str) -> str:
        assert run(list(argv)) == status, capfd.readouterr().err
        stdout, stderr = capfd.readouterr()
        assert stdout == ""
        return one_clear_line(stderr)

    return run_it


@pytest.fixture
def _no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(_socket, "getaddrinfo", getaddrinfo)


# --- commands and flags


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["nonsense"], "unknown command"),
        (["conect", "h", "22"], "did you mean connect?"),
        (["--nonsense"], "unknown flag --nonsense"),
        (["connect"], "missing arguments HOST PORT"),
        (["connect", "a"], "port is missing"),
        (["connect", "a", "1", "b"], "takes HOST PORT, got "),
        (["connect", "proxy", "3128", "host", "22"], "in place of corkscrew: tunnelctl connect -x http://proxy:3128 host 22"),
        (["connect", "--nonsense", "a", "1"], "unknown flag --nonsense"),
        (["connect", "--timeot", "5", "a", "1"], "did you mean --timeout"),
        (["connect", "-X", "connect", "a", "1"], "-X is nc's"),
        (["connect", "a", "1", "-x"], "--proxy: the value is missing"),
        (["connect", "a", "1", "--fdpass=yes"], "--fdpass: takes no value"),
        (["connect", "a", "1", "-4", "-6"], "-4 and -6 cannot be used together"),
        (["connect", "a", "1", "-v", "-q"], "cannot be used together"),
        (["connect", "a", "1", "--users", "f"], "--users is a flag of forward and serve"),
        (["serve", "word"], "takes no arguments"),
        (["serve", "-x", "ftp://a:1"], "ftp:// is not supported"),
        (["serve", "--header", "A: b"], "--header is a flag of"),
        (["serve", "--workers", "0"], "`0` is less than 1"),
        (["serve", "--workers", "-1"], "whole number"),
        (["serve", "--max-tunnels", "many"], "whole number"),
        (["serve", "--max-per-client", "1.5"], "whole number"),
        (["completion"], "missing argument {bash|zsh|fish}"),
        (["completion", "csh"], "unknown shell"),
        (["completion", "bash", "zsh"], "got 2 arguments"),
        (["selftest", "now"], "takes no arguments"),
        (["hash-password"], "USER"),
        (["hash-password", "a", "b"], "got 2 arguments"),
        (["hash-password", "a:b"], "colon"),
        (["hash-password", ""], "must not be empty"),
        (["hash-password", "a\nb"], "control"),
    ],
)
def test_unknown_or_incomplete_commands_and_flags(argv: list[str], text: str, fails: Fails) -> None:
    assert text in fails(USAGE, *argv)


@pytest.mark.parametrize(
    "value", ["abc", "-1", "+1", "1e3", "nan", "inf", "1_0", " 1", "1 ", "0x10", "1,5", "", ".", ".5", "٣", "1" * 20, "1s"]
)
@pytest.mark.parametrize("flag", ["--timeout", "--connect-timeout", "--idle-timeout", "--keepalive"])
def test_invalid_values_of_flags_in_seconds(flag: str, value: str, fails: Fails) -> None:
    assert flag in fails(USAGE, "connect", "a", "1", f"{flag}={value}")


@pytest.mark.parametrize("value", ["", "é", "a" * 256])
def test_invalid_protocols_for_alpn(value: str, fails: Fails) -> None:
    assert "--tls-alpn" in fails(USAGE, "connect", "-x", "http://127.0.0.1:1", "--tls", f"--tls-alpn={value}", "a", "1")


@pytest.mark.parametrize("value", ["x", "-1", "1.0", "", "1e1", "٣"])
def test_invalid_counts(value: str, fails: Fails) -> None:
    assert "--retry" in fails(USAGE, "connect", "a", "1", f"--retry={value}")


# --- hosts and ports


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "a\tb", "a\r\nX: y", "a\0b", "a\x1b[2J", "-a", "a..b", ".a", "a" * 64, "a." * 127 + "a", "a/b", "a@b",
     "u:p@a", "a_b c",
     "127.1", "0x7f.1", "2130706433", "256.1.1.1", "1.2.3.4.5", "01.2.3.4", "[a]b", "[::1", "::1]", "[]", "::g", "fe80::1%lo",
     ":::", "a%00",
     "a\udcff", "a\u202eb", "xn--\u00e9", "\u00ad", "😀" * 300],
)  # fmt: skip
def test_invalid_hosts(host: str, fails: Fails) -> None:
    fails(USAGE, "connect", "-x", "direct", "--", host, "22")


@pytest.mark.parametrize(
    "port",
    ["", "0", "65536", "-1", "+1", " 1", "1 ", "022", "no-such-service", "1e1", "٢٢", "99999999999999999999", "22\n", "0x16"],
)
def test_invalid_ports(port: str, fails: Fails) -> None:
    fails(USAGE, "connect", "-x", "direct", "--", "host.test", port)


@pytest.mark.parametrize(
    "target", ["host.test", "host.test:", "host.test:x", ":22", "::1:22", "[::1]", "[::1]22", "a:1:2", "http://a:1"]
)
def test_invalid_targets_in_one_word(target: str, fails: Fails) -> None:
    fails(USAGE, "connect", "-x", "direct", "--", target)


# --- proxies, in flags and variables

URLS = [
    "", " ", "http://", "http:// a", "http://a:0", "http://a:65536", "http://a:x", "http://a/b", "http://a?b", "http://a#b",
    "http://a b",
    "http://[::1", "http://::1:3128", "http://127.1:3128", "http://a\r\nb", "http://a\x1b]0;x\x07", "ftp://a", "https//a:1", "://a",
    "http://u:p@", "http://u:p@a:b@c/d", "http://-a", "http://a..b", "file:///etc/passwd", "a:b:c", "http://%61", "socks9://a:1",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_invalid_proxy_urls(url: str, fails: Fails) -> None:
    assert "p@" not in fails(USAGE, "connect", "-x", url, "host.test", "22").replace("***@", "")


@pytest.mark.parametrize("url", [url for url in URLS if url.strip()])
@pytest.mark.parametrize("name", ["TUNNELCTL_PROXY", "https_proxy", "ALL_PROXY"])
def test_invalid_proxy_urls_in_the_environment(name: str, url: str, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, url)
    assert name in fails(USAGE, "connect", "host.test", "22")


def test_direct_in_a_chain_is_refused(fails: Fails) -> None:
    fails(USAGE, "connect", "-x", "direct", "-x", "http://a:1", "host.test", "22")


@pytest.mark.parametrize(
    "field", ["", "x", ": y", "a b: c", "a: b\r\nc: d", "a: b\nc", "a: \0", "é: x", "a: \u009f\x7f",
    "Content-Length: 5",
              "Transfer-Encoding: chunked", "\x1b[2J: x"]
)  # fmt: skip
def test_invalid_header_fields(field: str, fails: Fails) -> None:
    fails(USAGE, "connect", "-x", "http://127.0.0.1:9", "--header", field, "host.test", "22")


def test_two_host_fields_are_refused(fails: Fails) -> None:
    fails(USAGE, "connect", "-x", "http://127.0.0.1:9", "--header", "Host: a", "--header", "host: b", "host.test", "22")


# --- files


@pytest.mark.parametrize("flag", ["--proxy-password-file", "--proxy-auth-file"])
@pytest.mark.parametrize(
    "content", [None, b"", b"\n", b"u:\xff\n", b"u:" + b"x" * 5000], ids=["missing", "empty", "blank", "binary", "long"]
)
def test_unusable_secret_files(flag: str, content: bytes | None, fails: Fails, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    said = fails(SETTINGS, "connect", "-x", "http://127.0.0.1:9", "--proxy-user", "u", flag, str(path), "host.test", "22")
    kind = {"--proxy-password-file": "password file", "--proxy-auth-file": "login file"}[flag]
    assert f"{kind} {path}" in said
    assert "xxx" not in said


def test_the_hostile_name_of_a_secret_file_is_escaped(fails: Fails, tmp_path: Path) -> None:
    fails(
        SETTINGS,
        "connect",
        "-x",
        "http://a:1",
        "--proxy-user",
        "u",
        "--proxy-password-file",
        "/no/\x1b[2J\n\udcff",
        "host.test",
        "22",
    )


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (["--proxy-user", "u"], USAGE),
        (["--proxy-password-file", "/dev/null"], USAGE),
    ],
)
def test_incomplete_credentials(more: list[str], status: int, fails: Fails, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"canary\n")
    path.chmod(0o600)
    words = [str(path) if word == "FILE" else word for word in more]
    assert "canary" not in fails(status, "connect", "-x", "http://127.0.0.1:9", *words, "host.test", "22")


# --- serve


@pytest.mark.parametrize(
    "listen",
    ["", "x", "3128", ":3128", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:65536", "localhost:3128",
     "*:3128",
     "example.test:3128", "[::1]", "[::1", "[::1]3128", "::1", "unix:", "127.1:3128", "256.0.0.1:1", "a b:1", "127.0.0.1:00", "http://127.0.0.1:1",
     "\x1b[2J:1", "fe80::1%lo:1"],
)  # fmt: skip
def test_invalid_listening_addresses(listen: str, fails: Fails) -> None:
    fails(USAGE, "serve", "--listen", listen)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:3128", "[2001:db8::1]:3128"])
def test_an_open_proxy_does_not_start(listen: str, fails: Fails) -> None:
    said = fails(USAGE, "serve", "--listen", listen)
    assert "open proxy" in said
    assert "listening on" not in said, "the line that reports that it accepts connections"
    assert "hint: " in said
    assert "--users" in said


@pytest.mark.parametrize("flag", ["--allow", "--deny"])
@pytest.mark.parametrize(
    "rule",
    ["", "x", ":443", "a:", "a:0", "a:65536", "a:x", "a:1-", "a:-1", "a:2-1", "a:1-2-3", "*", "*:*:*", "*a:1", "*.:1",
     "*.10.0.0.1:1", "a*b:1",
     "10.0.0.0/33:1", "10.0.0.1/8:1", "10.0.0.0/x:1", "10.0.0.0/:1", "10.0.0/8:1", "127.1:1", "::1:443", "[::1:443", "[::1]",
     "[10.0.0.1]:1",
     "[2001:db8::]/32:1", "[fe80::1%lo]:1", "a b:1", "a..b:1", "-a:1", "a:1,b:2", "http://a:1", "\x1b[2J:1", "é\u202e:1"],
)  # fmt: skip
def test_invalid_rules(flag: str, rule: str, fails: Fails) -> None:
    fails(USAGE, "serve", "--listen", "127.0.0.1:0", flag, rule)


@pytest.mark.parametrize(
    "content", [None, "alice", "alice:secret-canary", "# ok\n\nalice:scrypt:3:8:1:c2FsdA==:AAAA\n", b"\xff\xfe"], ids=range(5)
)
def test_invalid_users_files(content: str | bytes | None, fails: Fails, tmp_path: Path) -> None:
    path = tmp_path / "users"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = fails(SETTINGS, "serve", "--listen", "127.0.0.1:0", "--users", str(path))
    assert str(path) in said
    assert "canary" not in said


@pytest.mark.parametrize("path", ["/", "/nonexistent/log", "/proc/log", ""])
def test_access_logs_that_cannot_be_opened(path: str, fails: Fails) -> None:
    fails(SETTINGS if path else USAGE, "serve", "--listen", "127.0.0.1:0", "--access-log", path)


def test_listening_on_a_port_in_use(fails: Fails) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"127.0.0.1:{other.getsockname()[1]}"
        assert f"cannot listen on {where}" in fails(ExitStatus.CANNOT_LISTEN, "serve", "--listen", where)


@pytest.mark.parametrize("listen", ["unix:/nonexistent/proxy", "unix:/" + "x" * 200, "192.0.2.1:0"])
def test_addresses_that_cannot_be_bound(listen: str, fails: Fails) -> None:
    fails(ExitStatus.CANNOT_LISTEN, "serve", "--open-proxy", "--listen", listen)


# --- missing names, listeners and sockets


@pytest.mark.usefixtures("_no_names")
def test_names_without_an_address(fails: Fails) -> None:
    assert "proxy.test" in fails(ExitStatus.NAME_NOT_FOUND, "connect", "-x", "http://proxy.test:1", "host.test", "22")
    assert "host.test" in fails(ExitStatus.NAME_NOT_FOUND, "connect", "-x", "direct", "host.test", "22")


def test_a_proxy_port_on_which_nothing_listens(fails: Fails) -> None:
    held, port = refusing_port()
    with held:
        said = fails(ExitStatus.UNREACHABLE, "connect", "-x", f"http://127.0.0.1:{port}", "host.test", "22")
    assert f"proxy 127.0.0.1:{port}: connection refused" in said


def test_fdpass_without_a_socket(fails: Fails) -> None:
    assert "ProxyUseFdpass" in fails(USAGE, "connect", "--fdpass", "-x", "http://127.0.0.1:9", "host.test", "22")


# --- responses of proxies

REFUSED, MALFORMED, UNREACHABLE = ExitStatus.REFUSED, ExitStatus.MALFORMED, ExitStatus.UNREACHABLE
ANSWERS: list[tuple[bytes, int]] = [
    (b"", MALFORMED),
    (b"\r\n", MALFORMED),
    (b"\0" * 100, MALFORMED),
    (b"HTTP", MALFORMED),
    (b"HTTP/1.1", MALFORMED),
    (b"HTTP/1.1 \r\n\r\n", MALFORMED),
    (b"HTTP/1.1 abc\r\n\r\n", MALFORMED),
    (b"HTTP/1.1 20\r\n\r\n", MALFORMED),
    (b"HTTP/1.1 200", MALFORMED),
    (b"HTTP/1.1 200 OK\r\nA", MALFORMED),
    (b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", MALFORMED),
    (b"HTTP/2 200\r\n\r\n", MALFORMED),
    (b"ICY 200 OK\r\n\r\n", MALFORMED),
    (b"\x16\x03\x01\x02\x00", ExitStatus.AUTHENTICATION),
    (b"\x1b[2J\x1b]0;owned\x07", MALFORMED),
    (b"SSH-2.0-OpenSSH_9.2\r\n", MALFORMED),
    (b"220 mail ESMTP\r\n", MALFORMED),
    (b"HTTP/1.1 101 Switching\r\n\r\n", MALFORMED),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 50, MALFORMED),
    (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000, MALFORMED),
    (b"HTTP/1.1 400 \x1b[2J\r\n\r\n\x1b[2J", REFUSED),
    (b"HTTP/1.1 403\r\n\r\n", REFUSED),
    (b"HTTP/1.1 403 \xff\xfe\r\n\r\n\xff\xfe", REFUSED),
    (b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n<html>" + b"<p>x" * 5000, REFUSED),
    (b"HTTP/1.1 405 No\r\nAllow: GET\r\n\r\n", REFUSED),
    (b"HTTP/1.1 500 Oops\r\nContent-Length: -1\r\n\r\nx", REFUSED),
    (b"HTTP/1.1 502 Bad\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", REFUSED),
    (b'HTTP/1.1 502 Bad\r\nProxy-Status: x; error="\x1b"; details=;;;\r\n\r\n', REFUSED),
    (b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\n\r\n", REFUSED),
    (b"HTTP/1.1 999 " + b"x" * 5000 + b"\r\n\r\n", REFUSED),
    (b"HTTP/1.1 502 Bad\r\nProxy-Status: x; error=dns_error\r\n\r\n", ExitStatus.NAME_NOT_FOUND),
    (b"HTTP/1.1 504 Slow\r\nProxy-Status: x; error=connection_timeout\r\n\r\n", UNREACHABLE),
    (b"HTTP/1.1 407 No\r\n\r\n", ExitStatus.AUTHENTICATION),
    (b"HTTP/1.1 407 No\r\nProxy-Authenticate: \x1b[2J realm=\x07\r\n\r\n", ExitStatus.AUTHENTICATION),
    (b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\n\r\n", ExitStatus.AUTHENTICATION),
]


@pytest.mark.parametrize(("answer", "status"), ANSWERS)
def test_malformed_responses_and_refusals(answer: bytes, status: int, fails: Fails) -> None:
    def script(peer: Conversation) -> None:
        peer.read_head()
        try:
            peer.send(answer)
        except ConnectionError:  # the client has seen enough and has closed
            pass

    with ScriptedServer(script) as proxy:
        assert proxy.authority in fails(status, "connect", "-x", proxy.url, "host.test", "22")


def test_a_proxy_that_does_not_respond(fails: Fails) -> None:
    def script(peer: Conversation) -> None:
        peer.wait_gone()

    with ScriptedServer(script) as proxy:
        said = fails(UNREACHABLE, "connect", "-x", proxy.url, "--timeout", "0.2", "host.test", "22")
    assert "no answer within 0.2 s" in said


# --- as a program


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["connect", "-x", "ftp://u:canary@a", "host.test", "22"], 2),
        (["connect", "-x", "http://127.0.0.1:9", "--proxy-auth-file", "/nonexistent", "host.test", "22"], 78),
        (["connect", "-x", "http://127.0.0.1:9", "--", "-host", "22"], 2),
        (["serve", "--listen", "0.0.0.0:3128"], 2),
        (["serve", "--allow", "*:canary\x1b"], 2),
        (["serve", "--users", "/nonexistent"], 78),
        (["nonsense", os.fsdecode(b"\xff\xfe")], 2),
    ],
)
def test_bad_input_to_the_program(argv: list[str], status: int) -> None:
    done = program.run(*argv)
    assert (done.returncode, done.stdout) == (status, b"")
    one_clear_line(done.stderr.decode())


# --- local ports


def forwarding(*argv: str) -> list[str]:
    return ["forward", "-x", "http://127.0.0.1:9", *argv]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["-L", "8022"], "-L '8022': the local port or the target is missing"),
        (["-L", "8022:host"], "the local port or the target is missing"),
        (["-L", "70000:host:22"], "not a number from 1 to 65535"),
        (["-L", "8022:host:0"], "not a number from 1 to 65535"),
        (["-L", "8022:ho st:22"], "it contains a blank or a control character"),
        (["-L", "localhost:8022:host:22"], "it must be an address, not a name"),
        (["-L", "::1:8022:host:22"], "an IPv6 address needs brackets"),
        (["-L", ""], "the value is empty"),
        (["-D", "x"], "-D 'x': listening address `x`: it is not ADDRESS:PORT"),
        (["-D", "1080:host:22"], "an IPv6 address needs brackets"),
        (["-D", "1080", "-L", "1080:host:22"], "the same local port is named twice"),
        (["-D", "0", "--warm", "x"], "not a whole number"),
        (["-D", "0", "--max-connections", "-1"], "not a whole number"),
        (["-D", "0", "host"], "takes no arguments, got 1"),
        (["-R", "8022:host:22"], "unknown flag -R"),
        ([], "no local port is named"),
    ],
)
def test_invalid_local_ports(argv: list[str], text: str, fails: Fails) -> None:
    assert text in fails(USAGE, *forwarding(*argv))


def test_local_ports_that_cannot_be_bound(fails: Fails, tmp_path: Path) -> None:
    cannot = ExitStatus.CANNOT_LISTEN
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = fails(cannot, *forwarding("-D", str(taken.getsockname()[1])))
    assert "address already in use" in text
    assert "no such file or directory" in fails(cannot, *forwarding("-D", f"{tmp_path}/none/s"))
    (tmp_path / "file").write_text("")
    assert "address already in use" in fails(cannot, *forwarding("-D", f"{tmp_path}/file"))
    assert "none was passed" in fails(cannot, *forwarding("-D", "fd:3"))
    assert "cannot assign requested address" in fails(cannot, *forwarding("-D", "192.0.2.1:8022"))
    assert "path too long" in fails(cannot, *forwarding("-D", "/" + "x" * 200))


def test_a_privileged_port_and_an_unwritable_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    # Root must be refused as well: without these two capabilities it is an ordinary user.
    drop = ["setpriv", "--bounding-set=-net_bind_service,-dac_override"] if os.getuid() == 0 else []
    for place in ("1", f"{tmp_path}/s"):
        command = [*drop, *program.MODULE, *forwarding("-D", place)]
        done = subprocess.run(command, capture_output=True, timeout=20, env=program.environment())
        assert done.returncode == ExitStatus.CANNOT_LISTEN, done.stderr
        assert "permission denied" in one_clear_line(done.stderr.decode())
        assert ("ports below 1024 need a privilege" in done.stderr.decode()) is (place == "1")
