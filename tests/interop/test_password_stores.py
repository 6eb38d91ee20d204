"""The recipes of `setup keyring` and `setup pass`: what it prints is done, and `connect` then logs in to a proxy."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.program import RUN_SECONDS, SCRIPT, Serve, environment, run
from tests.peers.scripted import ScriptedServer, echo
from tests.peers.stores import keyring_store, pass_store
from tunnelctl.server.access.users import hash_password

pytestmark = pytest.mark.once

SECRET = "sword fish"
USER = "al'ice"  # a shell and TOML have to quote it


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    users = tmp_path_factory.mktemp("users") / "users"
    users.write_text(f"{hash_password(USER, SECRET)}\n")
    with Serve("--users", str(users)) as running:
        yield running


@pytest.mark.peer("pass", "gpg")
def test_pass(proxy: Serve, tmp_path: Path) -> None:
    with pass_store() as variables:
        follow("pass", proxy, tmp_path, variables, typed=2)


@pytest.mark.peer("keyring")
def test_keyring(proxy: Serve, tmp_path: Path) -> None:
    follow("keyring", proxy, tmp_path, keyring_store(tmp_path), typed=1)


def follow(store: str, proxy: Serve, home: Path, variables: dict[str, str], typed: int) -> None:
    """Does what is printed for a store. typed: how often its command asks for the password"""
    env = {**variables, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "TUNNELCTL_PROXY": proxy.url}
    env["PATH"] = f"{Path(SCRIPT).parent}:{environment()['PATH']}"
    words = ("setup", store, "--proxy-user", USER)
    printed = run(*words, env=env)
    assert printed.returncode == 0
    (command,) = re.findall(rf"^    ({store} .*)$", printed.stderr.decode(), re.MULTILINE)
    given = f"{SECRET}\n".encode() * typed
    done = subprocess.run(["sh", "-c", command], input=given, env=environment(env), capture_output=True, timeout=RUN_SECONDS)
    assert done.returncode == 0, done.stderr
    with ScriptedServer(echo) as target:
        assert run("connect", target.authority, env=env).returncode == 77, "without the lines there is no login"
        (home / "tunnelctl").mkdir()
        (home / "tunnelctl/config.toml").write_bytes(printed.stdout)
        assert run(*words, "--check", env=env).returncode == 0
        through = run("connect", target.authority, stdin=b"through", env=env)
    assert (through.returncode, through.stdout, through.stderr) == (0, b"through", b"")
