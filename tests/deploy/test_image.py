"""The image: built, started with a read-only root file system and no capability, used by a client, and stopped."""

import json
import os
import resource
import secrets
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import ROOT
from tests.peers.process import END_SECONDS, end, path_of, wait_until
from tests.peers.program import RUN_SECONDS, SCRIPT, environment
from tunnelctl.server.access.users import hash_password

pytestmark = [
    pytest.mark.artefact,
    pytest.mark.peer("buildah", "mmdebstrap", "podman", "runc", "nsenter", "socat"),
    pytest.mark.skipif(
        os.geteuid() != 0, reason="without root, podman needs subordinate user ids, which this machine may not have"
    ),
]
PASSWORD = "swordfish"
ECHO = 7000
ID = "65532"
SERVES = "listening on 0.0.0.0:3128"


def podman(*words: str) -> list[str]:
    """A command of podman, on machines without systemd as well, and with the two versions of cgroups side by side."""
    return [path_of("podman"), "--log-level=fatal", "--cgroup-manager=cgroupfs", f"--runtime={path_of('runc')}", *words]


def ran(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, stdin=subprocess.DEVNULL)


def options(*more: str) -> list[str]:
    """Nothing can be written, not even a temporary file. The limits are ours, since not every root may raise them."""
    limits = [f"--ulimit=nofile={allowed(resource.RLIMIT_NOFILE)}", f"--ulimit=nproc={allowed(resource.RLIMIT_NPROC)}"]
    sealed = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
    # Without an interval: podman has systemd repeat the check.
    return ["run", "--rm", "--network=none", "--health-interval=disable", *sealed, *limits, *more]


def allowed(number: int) -> str:
    _, hard = resource.getrlimit(number)
    limit = 1000 if hard == resource.RLIM_INFINITY else min(hard, 1000)
    return f"{limit}:{limit}"


class Container:
    """A container that serves, in a network of its own that has only a loopback interface, with an echo service beside it."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name, self.process, self._log = name, process, log
        self._network = f"/proc/{self.inspected('{{.State.Pid}}')}/ns/net"

    def inspected(self, template: str) -> str:
        return ran(*podman("inspect", "--format", template, self.name)).stdout.strip()

    def inside(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return ran(*podman("exec", self.name, *command))

    def healthy(self) -> bool:
        return ran(*podman("healthcheck", "run", self.name)).returncode == 0

    def ready(self) -> bool:
        return self.inside("/usr/bin/python3", "-I", "/usr/lib/tunnelctl/healthcheck.py", "/readyz").returncode == 0

    def signal(self, name: str) -> None:
        assert ran(*podman("kill", f"--signal={name}", self.name)).returncode == 0

    def beside(self, *command: str) -> "subprocess.Popen[bytes]":
        """Starts a program of this machine in the network of the container."""
        words = [path_of("nsenter"), f"--net={self._network}", *command]
        env = environment({"TUNNELCTL_PROXY_PASSWORD": PASSWORD})
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)

    def connect(self, target: str) -> "subprocess.Popen[bytes]":
        return self.beside(SCRIPT, "connect", "-x", "http://127.0.0.1:3128", "--proxy-user", "alice", target)

    @property
    def records(self) -> list[dict[str, object]]:
        """The access log, which is what the container has written to stdout."""
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]


@pytest.fixture
def serving(image: str, tmp_path: Path) -> Iterator[Container]:
    users = tmp_path / "users"
    users.write_text(hash_password("alice", PASSWORD) + "\n")
    for directory in (*list(tmp_path.parents)[:2], tmp_path):
        directory.chmod(0o755)  # the user of the container has to reach the file
    command = ["serve", "--users", "/users", "--allow", f"127.0.0.1:{ECHO}"]
    with started(tmp_path / "log", f"--volume={users}:/users:ro", image, *command) as container:
        with echo(container):
            yield container


@contextmanager
def started(log: Path, *words: str) -> Iterator[Container]:
    name = f"tunnelctl-test-{secrets.token_hex(4)}"
    with log.open("wb") as out:
        process = subprocess.Popen(podman(*options(f"--name={name}", *words)), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        wait_until(lambda: SERVES in log.read_text() or process.poll() is not None, what=SERVES)
        assert process.poll() is None, log.read_text()
        yield Container(name, process, log)
    finally:
        ran(*podman("kill", "--signal=CONT", name))
        end(process)


@contextmanager
def echo(container: Container) -> Iterator[None]:
    process = container.beside(path_of("socat"), f"TCP-LISTEN:{ECHO},bind=127.0.0.1,fork,reuseaddr", "EXEC:cat")
    try:
        wait_until(lambda: answers(container), what="the echo service")
        yield
    finally:
        end(process)
        process.communicate()


def answers(container: Container) -> bool:
    code = f"import socket; socket.create_connection(('127.0.0.1', {ECHO}))"
    return container.inside("/usr/bin/python3", "-Ic", code).returncode == 0


def test_a_client_uses_it(serving: Container) -> None:
    client = serving.connect(f"127.0.0.1:{ECHO}")
    assert client.communicate(b"through the container", RUN_SECONDS) == (b"through the container", b"")
    wait_until(lambda: serving.records[-1]["event"] == "closed", what="the record of the end")
    # The client sends no login before the proxy requires one.
    shown = [(record["event"], record["user"]) for record in serving.records]
    assert shown == [("refused", ""), ("opened", "alice"), ("closed", "alice")]


def test_what_no_rule_allows_is_refused(serving: Container) -> None:
    """Its own admin port among it, which listens in the same network."""
    client = serving.connect("127.0.0.1:9128")
    _, error = client.communicate(timeout=RUN_SECONDS)
    assert client.returncode == 69, error
    assert b"403 Forbidden" in error or b"502 Bad Gateway" in error


def test_a_login_is_required(serving: Container) -> None:
    client = serving.beside(SCRIPT, "connect", "-x", "http://127.0.0.1:3128", f"127.0.0.1:{ECHO}")
    _, error = client.communicate(timeout=RUN_SECONDS)
    assert client.returncode == 77, error


def test_it_does_not_become_an_open_proxy(image: str) -> None:
    done = ran(*podman(*options(image)))
    assert done.returncode == 2
    assert "cannot listen on 0.0.0.0:3128: no login is required there" in done.stderr
    assert "\nhint: give --users FILE" in done.stderr


def test_its_health_is_that_of_serve(serving: Container) -> None:
    assert serving.healthy()
    serving.signal("STOP")
    assert not serving.healthy()
    serving.signal("CONT")
    assert serving.healthy()


def test_sigterm_lets_tunnels_end(serving: Container) -> None:
    client = serving.connect(f"127.0.0.1:{ECHO}")
    assert client.stdin
    assert client.stdout
    client.stdin.write(b"before")
    client.stdin.flush()
    assert client.stdout.read(6) == b"before"
    assert serving.ready()
    serving.signal("TERM")
    wait_until(lambda: not serving.ready(), what="the drain")
    client.stdin.write(b"after")
    client.stdin.flush()
    assert client.stdout.read(5) == b"after"
    assert client.communicate(timeout=RUN_SECONDS) == (b"", b"")
    assert serving.process.wait(END_SECONDS) == 0


def test_nobody_is_root_in_it(serving: Container) -> None:
    code = "import os, pathlib; print(os.getuid(), os.getgid(), pathlib.Path('/proc/1/status').read_text())"
    shown = serving.inside("/usr/bin/python3", "-Ic", code).stdout
    assert shown.startswith(f"{ID} {ID} ")
    assert "\nCapEff:\t0000000000000000\n" in shown
    assert "\nNoNewPrivs:\t1\n" in shown


def test_all_of_it_works_there(image: str) -> None:
    """`selftest` opens tunnels over both versions of HTTP; TLS, the interpreter's modules and the certificates are in the image.

    The user may be another one: some clusters give each project a range of numbers.
    """
    assert ran(*podman(*options("--user=1000680000:0", image, "selftest"))).returncode == 0
    code = "import ssl, sqlite3, zoneinfo; print(len(ssl.create_default_context().get_ca_certs()))"
    done = ran(*podman(*options("--entrypoint=/usr/bin/python3", image, "-Ic", code)))
    assert int(done.stdout) > 100, done.stderr


def members(image: str, where: Callable[[tarfile.TarInfo], bool]) -> list[str]:
    """The paths in the layers of dist/tunnelctl-image.tar for which that holds."""
    with tarfile.open(ROOT / "dist/tunnelctl-image.tar") as archive:
        [manifest] = json.load(archive.extractfile("manifest.json"))
        assert manifest["RepoTags"] == [f"docker.io/library/{image}"]  # the full name of what `docker run` knows by the short one
        return [
            member.name
            for name in manifest["Layers"]
            for member in tarfile.open(fileobj=archive.extractfile(name))
            if where(member)
        ]


def test_no_program_but_python_is_in_it(image: str) -> None:
    programs = members(image, lambda member: not member.isdir() and "bin" in Path(member.name).parts[:-1])
    assert {Path(name).name.rstrip("0123456789.") for name in programs} == {"python", "tunnelctl"}


def test_no_file_gives_privileges(image: str) -> None:
    assert members(image, lambda member: member.mode & 0o6000 != 0) == []
    assert members(image, lambda member: any("capability" in key for key in member.pax_headers)) == []
    # The sticky bit of /tmp keeps what one user writes there from the others.
    assert members(image, lambda member: member.mode & 0o2 != 0 and not member.issym()) == ["tmp"]


def test_licences_are_in_it(image: str) -> None:
    """Each of Debian's packages has its copyright there, or shares that of another; a scanner finds it in dpkg's list."""
    packages = members(image, lambda member: member.name.startswith("var/lib/dpkg/status.d/") and member.isfile())
    documented = members(image, lambda member: member.name.endswith("/copyright") or member.issym())
    names = [name for name in documented if name.startswith("usr/share/doc/")]
    assert len(packages) > 20
    assert {Path(name).name for name in packages} <= {name.split("/")[3] for name in names}
    assert members(image, lambda member: member.name == "usr/lib/python3/dist-packages/THIRD-PARTY-LICENSES")


def inspected(image: str) -> dict[str, Any]:
    return json.loads(ran(path_of("podman"), "image", "inspect", image).stdout)[0]


def test_its_labels_say_what_it_is(image: str) -> None:
    commit = ran(path_of("git"), "-C", str(ROOT), "rev-parse", "HEAD").stdout.strip()
    described = inspected(image)
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in described["Labels"].items()}
    assert f"tunnelctl:{labels['version']}" == image
    assert (labels["title"], labels["licenses"], labels["revision"]) == ("tunnelctl", "MIT", commit)
    assert described["User"] == f"{ID}:{ID}"
