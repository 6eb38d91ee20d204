"""Containers, clusters and what sets them up: docker, podman, kubectl, terraform."""

import json
import os
import shlex
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.peers import certificates
from tests.peers.https import web_server
from tests.peers.process import end, path_of, scratch_directory, wait_until, which
from tests.peers.tools import NAME, Route, env, in_own_mounts, install, printed, ran

pytestmark = pytest.mark.once
Web = tuple[Path, int]
CGROUPS = Path("/sys/fs/cgroup")


@pytest.mark.peer("podman")
@pytest.mark.skipif(os.geteuid() != 0, reason="without root, podman needs subordinate user ids, which this machine may not have")
def test_podman(route: Route, home: Path, web: Web) -> None:
    _, port = web
    file = install(home, "podman", route.port, ".config", "containers", "containers.conf")
    with scratch_directory() as directory:  # podman refuses a long path
        storage = [word for name in ("root", "runroot", "tmpdir") for word in (f"--{name}", str(directory / name))]
        done = ran(
            home,
            "podman",
            *storage,
            "--storage-driver",
            "vfs",
            "pull",
            "--tls-verify=false",
            f"{NAME}:{port}/image:1",
            CONTAINERS_CONF=str(file),
        )
    assert route.went_to(port), done.stderr


@pytest.mark.peer("kubectl")
def test_kubectl(route: Route, home: Path, web: Web) -> None:
    _, port = web
    if "--proxy-url" not in ran(home, "kubectl", "config", "set-cluster", "--help").stdout:
        pytest.skip("this kubectl cannot set the proxy of a cluster: it is older than version 1.24")
    (home / ".kube").mkdir()
    (home / ".kube/config").write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c c", "cluster": {"server": f"http://{NAME}:{port}"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "x",
            }
        )
    )
    assert " lacks proxy-url" in printed(home, "kubectl", route.port, "--check")
    done = ran(home, "sh", "-e", "-c", printed(home, "kubectl", route.port))
    assert done.returncode == 0, done.stderr
    assert " has these settings\n" in printed(home, "kubectl", route.port, "--check")
    ran(home, "kubectl", "get", "pods", "--request-timeout=20s")
    assert route.went_to(port)


# The daemon's files and mounts are its own; it changes neither the firewall nor the interfaces of the machine.
DOCKERD = """
mount -t tmpfs none /run
echo '{}' >"$2/daemon.json"
exec "$1" --config-file="$2/daemon.json" --data-root="$2/data" --exec-root="$2/exec" --pidfile="$2/pid" --host="unix://$2/socket" \\
    --cgroup-parent="$3" --exec-opt=native.cgroupdriver=cgroupfs --storage-driver=vfs \\
    --bridge=none --iptables=false --ip6tables=false --ip-forward=false
"""


@contextmanager
def docker(home: Path, variables: Mapping[str, str]) -> Iterator[Callable[..., "subprocess.CompletedProcess[str]"]]:
    """A daemon with these variables. Yields a function that runs the client with a user's home."""
    with scratch_directory() as directory:  # the path of a socket has to be short
        group, socket = directory.name, directory / "socket"
        command = in_own_mounts(DOCKERD, path_of("dockerd"), str(directory), f"/{group}")
        with (directory / "log").open("wb") as log:
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env(home, **variables))
        try:
            wait_until(lambda: socket.exists() or daemon.poll() is not None, what="its socket")
            assert daemon.poll() is None, (directory / "log").read_text()
            yield partial(ran, home, "docker", DOCKER_HOST=f"unix://{socket}", DOCKER_BUILDKIT="0")
        finally:
            end(daemon)
            for left in (*CGROUPS.glob(group), *CGROUPS.glob(f"*/{group}")):
                left.rmdir()


def only_busybox(directory: Path) -> Path:
    """The file system of a container: one program, linked statically."""
    archive = directory / "busybox.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(path_of("busybox"), "busybox")
    return archive


@pytest.mark.peer("docker", "dockerd", "busybox")
def test_docker(route: Route, home: Path, web: Web) -> None:
    """The daemon has the variables of its drop-in, and pulls; what runs in containers and builds has those of the client."""
    _, port = web
    install(home, "docker", route.port, ".docker", "config.json")
    wget = ["/busybox", "wget", "-q", "-O", "-", f"http://{NAME}:{port}/file"]
    (home / "build").mkdir()
    (home / "build/Dockerfile").write_text(f"FROM image\nRUN {json.dumps(wget)}\n")
    with docker(home, drop_in(printed(home, "docker-daemon", route.port))) as client:
        pulled = client("pull", f"{NAME}:{port}/image:1")
        assert route.went_to(port), pulled.stderr
        assert client("import", str(only_busybox(home)), "image").returncode == 0
        done = client("run", "--rm", "--network=host", "image", *wget)
        assert done.stdout == "through\n", done.stderr
        built = client("build", "--network=host", "--force-rm", "build")
        assert "\nthrough\n" in built.stdout, built.stdout + built.stderr


def drop_in(text: str) -> dict[str, str]:
    """The variables of a unit's drop-in, without escapes; test_services.py has systemd read one."""
    words = (word for line in text.splitlines() if line.startswith("Environment=") for word in shlex.split(line[12:]))
    return dict(word.split("=", 1) for word in words)


# Neither Debian nor a package index has it.
@pytest.mark.skipif(which("terraform") is None, reason="terraform is not installed")
def test_terraform(route: Route, home: Path, tmp_path: Path) -> None:
    certificate = certificates.issue(tmp_path, "registry", NAME)
    install(home, "terraform", route.port, ".profile")
    with web_server(tmp_path, certificate) as port:
        (home / "main.tf").write_text(
            f'terraform {{\n  required_providers {{\n    x = {{ source = "{NAME}:{port}/own/x" }}\n  }}\n}}\n'
        )
        own = {"SSL_CERT_FILE": str(certificates.authority(tmp_path)), "CHECKPOINT_DISABLE": "1"}
        done = ran(home, "sh", "-c", '. ~/.profile; exec "$0" init -no-color -input=false', path_of("terraform"), **own)
        assert "does not offer a Terraform provider registry" in " ".join(done.stderr.split()), done.stderr
        assert route.went_to(port)
