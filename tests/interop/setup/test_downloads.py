"""Programs that download: curl, wget, git."""

import subprocess
from pathlib import Path

import pytest

from tests.peers import gitserver
from tests.peers.program import RUN_SECONDS, SCRIPT
from tests.peers.tools import NAME, Route, env, install, ran

pytestmark = pytest.mark.once
Web = tuple[Path, int]


@pytest.mark.peer("curl")
def test_curl(route: Route, home: Path, web: Web) -> None:
    install(home, "curl", route.port, ".curlrc")
    assert ran(home, "curl", "-sS", f"http://{NAME}:{web[1]}/file").stdout == "through\n"
    assert route.went_to(web[1])


@pytest.mark.peer("curl", "git")
def test_libcurl_leaves_the_lookup_to_a_socks_proxy(route: Route, home: Path, web: Web) -> None:
    """The port of the forward speaks SOCKS too; with socks5:// in place of socks5h://, libcurl would look the name up itself."""
    root, port = web
    gitserver.make_repository(root, b"content")
    for tool, file in (("curl", ".curlrc"), ("git", ".gitconfig")):
        words = [SCRIPT, "setup", tool, "-x", f"socks5://127.0.0.1:{route.port}"]
        (home / file).write_bytes(subprocess.run(words, capture_output=True, env=env(home), timeout=RUN_SECONDS).stdout)
    assert ran(home, "curl", "-sS", f"http://{NAME}:{port}/file").stdout == "through\n"
    assert "refs/heads/main" in ran(home, "git", "ls-remote", f"http://{NAME}:{port}/repo.git", GIT_CONFIG_NOSYSTEM="1").stdout
    assert route.went_to(port)


@pytest.mark.peer("wget")
def test_wget(route: Route, home: Path, web: Web) -> None:
    install(home, "wget", route.port, ".wgetrc")
    assert ran(home, "wget", "-q", "-O", "-", "--tries=1", f"http://{NAME}:{web[1]}/file").stdout == "through\n"
    assert route.went_to(web[1])


@pytest.mark.peer("git")
def test_git(route: Route, home: Path, web: Web) -> None:
    root, port = web
    gitserver.make_repository(root, b"content")
    install(home, "git", route.port, ".gitconfig")
    done = ran(home, "git", "clone", "-q", f"http://{NAME}:{port}/repo.git", "clone", GIT_CONFIG_NOSYSTEM="1")
    assert (home / "clone" / "content").read_bytes() == b"content", done.stderr
    assert route.went_to(port)
