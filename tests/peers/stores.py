"""Stores of passwords, each with an own directory: pass(1) with a key of GnuPG that protects nothing, and keyring with a file."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.process import path_of, scratch_directory

SECONDS = 60.0


@contextmanager
def pass_store() -> Iterator[dict[str, str]]:
    """Creates a store; yields the variables that lead pass(1) to it. The agent of GnuPG ends with it."""
    with scratch_directory() as directory:  # GnuPG's sockets have short paths
        directory.chmod(0o700)
        variables = {"GNUPGHOME": str(directory / "gpg"), "PASSWORD_STORE_DIR": str(directory / "store")}
        (directory / "gpg").mkdir(mode=0o700)
        env = {**os.environ, **variables}
        key = ["--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", "me@example.test", "default"]
        try:
            run([path_of("gpg"), *key], env)
            run([path_of("pass"), "init", "me@example.test"], env)
            yield variables
        finally:
            run([path_of("gpgconf"), "--kill", "all"], env)


def keyring_store(directory: Path) -> dict[str, str]:
    """Returns the variables that lead the command keyring to a file below the directory."""
    return {"PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring", "XDG_DATA_HOME": str(directory)}


def run(words: list[str], env: dict[str, str], given: bytes = b"") -> bytes:
    done = subprocess.run(words, env=env, input=given, capture_output=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout
