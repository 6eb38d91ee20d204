"""Containers, clusters and what sets them up: docker, podman, kubectl, terraform."""

import json
import os
from pathlib import Path

import pytest

from tests.peers.process import scratch_directory
from tests.peers.tools import NAME, Route, install, printed, ran

pytestmark = pytest.mark.once
Web = tuple[Path, int]


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
