"""The README's comparison, and its clients: how each is told to open a tunnel, with its best options, and what comes of it."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pexpect

from tests.peers import certificates
from tests.peers.guards import DOMAIN
from tests.peers.process import end, path_of, started_on_a_port
from tests.peers.program import SCRIPT, environment
from tests.peers.proxies import PASSWORD, USER

README = Path(__file__).parents[2] / "README.md"
YES, NO = "✓", "–"
ATTEMPT_SECONDS = 20.0
LINE = b"typed\n"


def table(name: str) -> dict[str, dict[str, str]]:
    """The rows of a comparison in the README: what is compared, and the cell of each program."""
    text = README.read_text("utf-8").partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]
    head, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    return {line[0]: dict(zip(head[1:], line[1:], strict=True)) for line in lines}


class Asked(NamedTuple):
    """What a tool is asked for. The target echoes, or sends the line back in capitals."""

    proxy: int  # port on loopback
    directory: Path  # for its files; also its home
    target: str = "host"
    port: int = 22
    scheme: str = ""  # of the login that the proxy requires: basic, digest or ntlm
    authority: Path | None = None  # that of an https:// proxy, which is at the name `localhost`
    limit: int = 0  # seconds that opening may take
    verbose: bool = False  # all that it has to tell; tunnelctl needs no flag for that

    @property
    def host(self) -> str:
        return certificates.HOST if self.authority else "127.0.0.1"

    @property
    def user(self) -> str:
        return f"{DOMAIN}\\{USER}" if self.scheme == "ntlm" else USER


class Attempt(NamedTuple):
    """What came of it."""

    output: bytes  # of the tunnel; of a local proxy, its response as well
    said: bytes  # on stderr
    status: int | None  # None: ended by us, or a local proxy

    @property
    def worked(self) -> bool:
        return self.output.lower().endswith(LINE)


def _tunnelctl(asked: Asked) -> list[str]:
    words = ["-x", f"{'https' if asked.authority else 'http'}://{asked.host}:{asked.proxy}"]
    if asked.scheme:
        file = asked.directory / "password"
        file.write_text(PASSWORD)
        file.chmod(0o600)
        words += ["--proxy-user", asked.user, "--proxy-password-file", str(file)]
    words += ["--proxy-cacert", str(asked.authority)] if asked.authority else []
    words += ["--timeout", str(asked.limit)] if asked.limit else []
    return [SCRIPT, "connect", *words, asked.target, str(asked.port)]


def _corkscrew(asked: Asked) -> list[str]:
    login = []
    if asked.scheme:
        (asked.directory / "auth").write_text(f"{asked.user}:{PASSWORD}\n")
        login = [str(asked.directory / "auth")]
    return [path_of("corkscrew"), asked.host, str(asked.proxy), asked.target, str(asked.port), *login]


def _connect_proxy(asked: Asked) -> list[str]:
    user = f"{asked.user}@" if asked.scheme else ""
    words = ["-w", str(asked.limit)] if asked.limit else []
    words += ["-d", "-d"] if asked.verbose else []
    return [path_of("connect-proxy"), *words, "-H", f"{user}{asked.host}:{asked.proxy}", asked.target, str(asked.port)]


def _ncat(asked: Asked) -> list[str]:
    words = ["--proxy", f"{asked.host}:{asked.proxy}", "--proxy-type", "http"]
    words += ["--proxy-auth", f"{asked.user}:{PASSWORD}"] if asked.scheme else []
    words += ["--ssl"] if asked.authority else []  # the only TLS that it has; it is with the target
    words += ["-w", f"{asked.limit}s", "-i", f"{asked.limit}s"] if asked.limit else []
    words += ["-vvv"] if asked.verbose else []
    return [path_of("ncat"), *words, asked.target, str(asked.port)]


def _nc(asked: Asked) -> list[str]:
    words = ["-X", "connect", "-x", f"{asked.host}:{asked.proxy}"]
    words += ["-P", asked.user] if asked.scheme else []
    words += ["-w", str(asked.limit)] if asked.limit else []
    words += ["-v"] if asked.verbose else []
    return [path_of("nc.openbsd"), "-N", *words, asked.target, str(asked.port)]


def _proxytunnel(asked: Asked) -> list[str]:
    words = ["-p", f"{asked.host}:{asked.proxy}", "-d", f"{asked.target}:{asked.port}"]
    if asked.scheme == "ntlm":
        words += ["-N", "-t", DOMAIN, "-P", f"{USER}:{PASSWORD}"]
    elif asked.scheme:
        words += ["-P", f"{USER}:{PASSWORD}"]
    words += ["-E", "-C", str(asked.authority)] if asked.authority else []
    words += ["-v"] if asked.verbose else []
    return [path_of("proxytunnel"), *words]


def _socat(asked: Asked) -> list[str]:
    login = f",proxyauth={USER}:{PASSWORD}" if asked.scheme else ""
    limit = f",connect-timeout={asked.limit}" if asked.limit else ""
    words = ["-t", "10", *(["-T", str(asked.limit)] if asked.limit else []), *(["-dddd"] if asked.verbose else [])]
    return [path_of("socat"), *words, "-", f"PROXY:{asked.host}:{asked.target}:{asked.port},proxyport={asked.proxy}{login}{limit}"]


def _cntlm(asked: Asked, local: int) -> list[str]:
    (asked.directory / "cntlm.conf").write_text(f"Listen {local}\nUsername {USER}\nDomain {DOMAIN}\nPassword {PASSWORD}\n")
    return [path_of("cntlm"), "-f", "-c", str(asked.directory / "cntlm.conf"), asked.host, str(asked.proxy)]


def _px(asked: Asked, local: int) -> list[str]:
    scheme = "https://" if asked.authority else ""
    words = [f"--username={asked.user}"] if asked.scheme else []
    words += [f"--socktimeout={asked.limit}"] if asked.limit else []
    return [path_of("px"), f"--proxy={scheme}{asked.host}:{asked.proxy}", f"--port={local}", *words]


# The first group relays stdin and stdout; the second one is a proxy on a local port.
STDIO: dict[str, Callable[[Asked], list[str]]] = {
    "tunnelctl": _tunnelctl,
    "corkscrew": _corkscrew,
    "connect-proxy": _connect_proxy,
    "ncat": _ncat,
    "nc": _nc,
    "proxytunnel": _proxytunnel,
    "socat": _socat,
}
LOCAL: dict[str, Callable[[Asked, int], list[str]]] = {"cntlm": _cntlm, "px": _px}
TOOLS = (*STDIO, *LOCAL)


def program(tool: str) -> str:
    """The program to look for on this machine."""
    return {"tunnelctl": SCRIPT, "nc": "nc.openbsd"}.get(tool, tool)


def env(asked: Asked) -> dict[str, str]:
    """The environment of a tool: the password where it is read from there, and none of this user's files."""
    trust = {"SSL_CERT_FILE": str(asked.authority), "CURL_CA_BUNDLE": str(asked.authority)} if asked.authority else {}
    return environment({"HTTP_PROXY_PASSWORD": PASSWORD, "PX_PASSWORD": PASSWORD, "HOME": str(asked.directory), **trust})


def attempt(tool: str, asked: Asked, seconds: float = ATTEMPT_SECONDS) -> Attempt:
    """Opens a tunnel with the tool, sends a line through it, and reads until that has come back, all has ended or time is up."""
    if tool in LOCAL:
        with local_proxy(tool, asked) as port:
            return _through(port, asked, seconds)
    if tool == "nc" and asked.scheme:
        return _prompted(asked)
    with started(tool, asked, seconds) as process:
        with suppress(BrokenPipeError):
            process.stdin.write(LINE)
        output = b""
        while not output.lower().endswith(LINE) and (piece := process.stdout.read(4096)):
            output += piece
        working = output.lower().endswith(LINE)
        if working:
            end(process)
        said, status = process.stderr.read(), process.wait(ATTEMPT_SECONDS)
        return Attempt(output, said, None if working or status == -signal.SIGKILL else status)


@contextmanager
def started(tool: str, asked: Asked, seconds: float = ATTEMPT_SECONDS) -> "Iterator[subprocess.Popen[bytes]]":
    """Runs a tool with pipes, for no longer than `seconds`."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(STDIO[tool](asked), env=env(asked), bufsize=0, **pipes) as process:
        watchdog = threading.Timer(seconds, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            end(process)


def _prompted(asked: Asked) -> Attempt:
    """nc asks for the password on the terminal, up to three times."""
    command, *words = _nc(asked)
    child = pexpect.spawn(command, words, env=env(asked), echo=False, timeout=ATTEMPT_SECONDS)
    output = b""
    with suppress(pexpect.EOF, pexpect.TIMEOUT):
        child.expect("assword")
        child.sendline(PASSWORD)
        child.sendline(LINE.decode().strip())
        child.expect(["(?i)typed\r\n", "assword"])
        output = LINE if child.match.group().lower().startswith(b"typed") else b""
    child.close(force=True)
    return Attempt(output, child.before if isinstance(child.before, bytes) else b"", None)


@contextmanager
def local_proxy(tool: str, asked: Asked) -> Iterator[int]:
    """Runs a tool that is a proxy itself; yields its port."""
    command = LOCAL[tool]
    log = (asked.directory / "log").open("wb")

    def start(port: int) -> "subprocess.Popen[bytes]":
        words = command(asked, port)
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env(asked), start_new_session=True)

    with log:
        process, port = started_on_a_port(start)
        try:
            yield port
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its children; at SIGTERM, cntlm waits for its tunnels
            end(process)


def _through(port: int, asked: Asked, seconds: float) -> Attempt:
    """A CONNECT of a client that knows no login."""
    authority = f"{asked.target}:{asked.port}"
    output = b""
    with socket.create_connection(("127.0.0.1", port), ATTEMPT_SECONDS) as client, suppress(TimeoutError, ConnectionError):
        client.settimeout(seconds)
        client.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        while b"\r\n\r\n" not in output and (piece := client.recv(4096)):
            output += piece
        client.sendall(LINE)
        while not output.lower().endswith(LINE) and (piece := client.recv(4096)):
            output += piece
    return Attempt(output, b"", None)
