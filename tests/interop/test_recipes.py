"""What the README and docs/recipes.md tell people to type works, with the proxy, the servers and the ports replaced by ours."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.peers import databases, gitserver
from tests.peers.openssh import sshd
from tests.peers.process import Daemon, free_port, path_of
from tests.peers.program import RUN_SECONDS, SCRIPT, Serve, environment

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RECIPES = (ROOT / "docs" / "recipes.md").read_text()
BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROXY = "http://proxy.example.net:3128"


def block(page: str, title: str) -> str:
    """The first block of a section, as a reader would copy it."""
    section = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return BLOCK.search(section)[1]


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A user with an empty home, for whom `tunnelctl` is on the path. At the end, all that runs in the background is stopped."""
    with tempfile.TemporaryDirectory(prefix="tunnelctl-run-") as runtime:
        path = f"{Path(SCRIPT).parent}{os.pathsep}{os.environ['PATH']}"
        env = environment({"PATH": path, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": runtime, "GIT_CONFIG_NOSYSTEM": "1"})
        yield env
        running = [socket.stem for socket in Path(runtime, "tunnelctl").glob("*.sock")]
        if running:
            subprocess.run([SCRIPT, "stop", *running], env=env, capture_output=True, timeout=RUN_SECONDS)


def shell(lines: str, env: Mapping[str, str], cwd: Path) -> str:
    done = subprocess.run(
        ["/bin/bash", "-ec", lines], stdin=subprocess.DEVNULL, capture_output=True, env=env, cwd=cwd, timeout=RUN_SECONDS
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture
def proxy(env: Mapping[str, str], tmp_path: Path) -> Iterator[Serve]:
    """A proxy that requires the login of the recipes."""
    hashed = subprocess.run(
        [SCRIPT, "hash-password", "alice"], input=b"swordfish\n", capture_output=True, env=env, timeout=RUN_SECONDS
    )
    (tmp_path / "users").write_bytes(hashed.stdout)
    (tmp_path / ".proxy-password").write_text("swordfish\n")
    (tmp_path / ".proxy-password").chmod(0o600)
    with Serve("--users", str(tmp_path / "users")) as serve:
        yield serve


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "data").write_text("fetched\n")

    def command(port: int) -> list[str]:
        return [path_of("python3"), "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(tmp_path / "www"), str(port)]

    with Daemon(command, tmp_path / "log") as server:
        yield server


@pytest.mark.peer("bash", "python3", "curl")
def test_the_demo_of_the_readme(env: Mapping[str, str], tmp_path: Path) -> None:
    """All of it in one shell, as pasted; between its lines, the servers get the time to start that a person would give them."""
    servers, opened, shown = block(README, "Try it on this machine").splitlines()
    web, proxy, admin, local = (str(free_port()) for _ in range(4))

    def ours(line: str) -> str:
        for port, free in {"8000": web, "9901": admin, "8080": local, "3128": proxy}.items():
            line = re.sub(rf"\b{port}\b", free, line)
        return line.replace("tunnelctl serve", f"tunnelctl serve --listen 127.0.0.1:{proxy}")

    started = "curl -sS --retry 40 --retry-connrefused --retry-delay 1 --max-time 20 -o /dev/null"
    ready = f"{started} http://127.0.0.1:{web}/; {started} http://127.0.0.1:{admin}/healthz"
    after = "tunnelctl stop demo serve >&2; kill %1; wait"
    script = "\n".join([ours(servers), ready, ours(opened), ours(shown), after])
    lines = shell(script, env, tmp_path)
    assert "HTTP/1.0 200 OK\r\n" in lines
    shown = lines.partition("\nNAME ")[2]
    assert {"demo", "serve"} <= {line.split(" ")[0] for line in shown.splitlines()}
    assert f"127.0.0.1:{local}" in shown
    assert f"127.0.0.1:{proxy}" in shown


def test_the_policy_of_the_readme(env: Mapping[str, str], tmp_path: Path) -> None:
    section = README.partition("\n## A proxy for a team\n")[2]
    policy = re.search(r"^```toml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "policy.toml").write_text(policy)
    asked = next(line for line in section.splitlines() if line.startswith("tunnelctl check-policy"))
    assert "10.1.0.0/16:22" in shell(asked, env, tmp_path)
    for others in (asked.replace("alice", "bob"), asked.replace("10.1.2.3 22", "10.2.2.3 443")):
        assert (
            subprocess.run(["/bin/sh", "-c", others], env=env, cwd=tmp_path, capture_output=True, timeout=RUN_SECONDS).returncode
            == 69
        )


@pytest.mark.peer("git", "bash", "python3")
def test_git_over_https(env: Mapping[str, str], proxy: Serve, web: Daemon, tmp_path: Path) -> None:
    """With the `forward` at the top of the page. The server speaks http://, which goes through the same port."""
    gitserver.make_repository(tmp_path / "www", b"content").rename(tmp_path / "www" / "project.git")
    port = str(free_port())
    opened = BLOCK.search(RECIPES)[1].splitlines()[0].replace(PROXY, proxy.url).replace("1080", port)
    opened = opened.replace("'pass show proxy'", f"'cat {tmp_path}/.proxy-password'")
    cloned = (
        block(RECIPES, "git over https").replace("1080", port).replace("https://git.example.com", f"http://127.0.0.1:{web.port}")
    )
    shell(f"{opened}\n{cloned}", env, tmp_path)
    assert (tmp_path / "project" / "content").read_text() == "content"


@pytest.mark.peer("curl", "bash", "python3")
def test_a_program_that_cannot_log_in(env: Mapping[str, str], proxy: Serve, web: Daemon, tmp_path: Path) -> None:
    line = block(RECIPES, "A program that cannot log in").replace(PROXY, proxy.url)
    line = line.replace("https://www.example.com", f"http://127.0.0.1:{web.port}")
    assert shell(line, env, tmp_path) == "fetched\n"


@pytest.mark.peer("redis-server", "redis-cli", "bash")
def test_databases(env: Mapping[str, str], tmp_path: Path) -> None:
    with databases.redis() as port, Serve() as proxy:
        lines = block(RECIPES, "Databases").replace(PROXY, proxy.url).replace("redis.example.com:6379", f"127.0.0.1:{port}")
        assert shell(lines.replace("6379", str(free_port())), env, tmp_path) == "PONG\n"


@pytest.mark.peer("ssh", "sshd", "ssh-keygen")
def test_ssh_on_port_443(env: Mapping[str, str], tmp_path: Path) -> None:
    """The server of the block is replaced by ours, and so is the user."""
    with sshd() as server, Serve() as proxy:
        lines = block(RECIPES, "ssh where the proxy refuses port 22").replace(PROXY, proxy.url)
        lines = lines.replace("ssh.github.com", "127.0.0.1").replace("443", str(server.port)).replace("    User git\n", "")
        (tmp_path / "config").write_text(lines + server.settings.read_text())
        command = f"ssh -F {tmp_path}/config github.com echo through"
        assert shell(command, {**env, "SHELL": "/bin/sh"}, tmp_path) == "through\n"


def test_every_marked_recipe_is_tested() -> None:
    """A recipe with the mark has its test above."""
    assert RECIPES.count(" ✓:") == 4
