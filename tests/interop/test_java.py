"""`run --java`: a real JVM behind a `serve` that requires a login, whose access log shows that it went through."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.https import make_certificate, web_server
from tests.peers.process import path_of, wait_until
from tests.peers.program import MODULE, Serve, environment, patched
from tunnelctl.server.access.users import hash_password

pytestmark = [pytest.mark.once, pytest.mark.peer("keytool", "openssl")]

USER, PASSWORD = "anna", "s3cret-canary"

NAME = "java.example.test"
# serve looks the name up as this machine; no JVM can.
LOOKUP = patched(
    f"import _socket as socket; real = socket.getaddrinfo\ndef known(host, *rest):\n"
    f"    return real('127.0.0.1' if host in ({NAME!r}, {NAME.encode()!r}, {NAME.encode() + b'.'!r}) else host, *rest)\n"
    f"socket.getaddrinfo = known"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serve, Path]]:
    directory = tmp_path_factory.mktemp("serve")
    users, log = directory / "users", directory / "access"
    users.write_text(f"{hash_password(USER, PASSWORD)}\n")
    with Serve("--access-log", str(log), "--users", str(users), allow=(f"{NAME}:*",), program=LOOKUP) as serve:
        yield serve, log


def keytool(serve: Serve, port: int, **extra: str) -> "subprocess.CompletedProcess[str]":
    """keytool(1) is a Java program, and connects by the class for URLs."""
    words = [*MODULE, "run", "-x", serve.url, "--proxy-user", USER, "--java", "--", path_of("keytool")]
    env = environment({"TUNNELCTL_PROXY_PASSWORD": PASSWORD, "no_proxy": "", "NO_PROXY": "", **extra})
    command = [*words, "-printcert", "-rfc", "-sslserver", f"{NAME}:{port}"]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, stdin=subprocess.DEVNULL)


def tunnels(log: Path) -> list[tuple[str, str]]:
    """The target and the user of each record; a request that is answered with 407 has no user."""
    return [(record["target"], record["user"]) for record in map(json.loads, log.read_text().splitlines())]


def test_a_jvm_goes_through_and_sees_no_login(served: tuple[Serve, Path], tmp_path: Path) -> None:
    serve, log = served
    certificate = make_certificate(tmp_path)
    with web_server(tmp_path, certificate) as port:
        done = keytool(serve, port, JAVA_TOOL_OPTIONS="-Dmine=1")
    assert certificate[0].read_text().split()[2] in done.stdout, done.stdout + done.stderr
    wait_until(lambda: (f"{NAME}:{port}", USER) in tunnels(log))
    picked = next(line for line in done.stderr.splitlines() if line.startswith("Picked up JAVA_TOOL_OPTIONS: "))
    assert re.fullmatch(r"Picked up JAVA_TOOL_OPTIONS: -Dmine=1 (-Dhttps?\.\w+=[\w.:|*\[\]]+ ?){5}", picked)
    assert PASSWORD not in done.stdout + done.stderr
    assert "warning" not in done.stderr


def test_what_no_proxy_has_is_reached_without_the_proxy(served: tuple[Serve, Path], tmp_path: Path) -> None:
    serve, log = served
    with web_server(tmp_path, make_certificate(tmp_path)) as port:
        done = keytool(serve, port, no_proxy="example.test")
    assert done.returncode != 0
    assert "keytool' did not use the proxy" in done.stderr
    assert f"{NAME}:{port}" not in log.read_text()
