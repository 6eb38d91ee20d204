"""`hash-password` with the password from a pipe; tests/tty/test_hash_password.py has the tests on a terminal."""

import hashlib
import os
import subprocess
import sys
import types
from typing import Any

import pexpect
import pytest

from tests.client.harness import descriptor_is
from tests.peers.program import MODULE, environment, run
from tunnelctl.cli.commands import hash_password as module
from tunnelctl.cli.commands.hash_password import LineOptions
from tunnelctl.errors import UsageProblem


@pytest.fixture
def hashed(monkeypatch):
    """Replaces scrypt: the line shows the text that would have been hashed."""
    users: Any = types.ModuleType("tunnelctl.server.access.users")
    users.hash_password = lambda user, password: f"{user}:scrypt:{password}"
    users.digest_line = lambda user, realm, password: f"{user}:digest:{realm}:{password}"
    monkeypatch.setitem(sys.modules, users.__name__, users)
    return users


def piped(monkeypatch, text: str | None) -> None:
    if text is not None:
        monkeypatch.setattr(module, "read_line", lambda: text)


def test_a_byte_order_mark_is_not_part_of_the_password():
    reader, writer = os.pipe()
    os.write(writer, b"\xef\xbb\xbfsecret\n")
    os.close(writer)
    try:
        with descriptor_is(0, reader):
            assert module.read_line() == "secret"
    finally:
        os.close(reader)


def test_the_output_is_a_line_for_the_users_file(hashed, monkeypatch):
    piped(monkeypatch, "pass wörd:@")
    monkeypatch.setattr(sys, "__stdin__", None)
    assert module.users_line("alice", LineOptions()) == "alice:scrypt:pass wörd:@\n"


@pytest.mark.parametrize("user", ["", "#a", "a:b", "a\n", "a\x7f", "\udcff", "a\u202eb"])
def test_an_invalid_user_name_is_a_usage_error(hashed, user):
    with pytest.raises(UsageProblem, match="user name"):
        module.users_line(user, LineOptions())


@pytest.mark.parametrize(("password", "cause"), [("", "empty"), ("a\tb", "control"), ("a\x7f", "control"), ("a\x00", "control")])
def test_an_invalid_password_is_a_usage_error(hashed, monkeypatch, password, cause):
    piped(monkeypatch, password)
    monkeypatch.setattr(sys, "__stdin__", None)
    with pytest.raises(UsageProblem, match=cause):
        module.users_line("alice", LineOptions())


@pytest.mark.parametrize(
    ("stdin", "cause"),
    [
        (b"", b"the password is empty"),
        (b"\n", b"the password is empty"),
        (b"\r\n", b"the password is empty"),
        (b"\xff\n", b"the password is not UTF-8"),
        (b"x" * 1025, b"the password is longer than 1024 bytes"),
        (b"a\x1bb\n", b"the password has control characters"),
    ],
)
def test_an_invalid_password_from_a_pipe_is_reported(stdin, cause):
    done = run("hash-password", "alice", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"tunnelctl: hash-password: " + cause + b"\n"


@pytest.mark.parametrize("stdin", [b"swordfish\n", b"swordfish", b"swordfish\r\n", b"swordfish\nmore\n"])
def test_the_first_line_of_a_pipe_is_the_password(stdin):
    from tunnelctl.server.access import users

    assert callable(users.hash_password)
    done = run("hash-password", "alice", stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"alice:scrypt:")
    assert done.stdout.count(b"\n") == 1
    assert b"swordfish" not in done.stdout


@pytest.mark.parametrize(("realm", "named"), [(None, "tunnelctl"), ("our proxy", "our proxy")])
def test_a_digest_line_names_its_realm(hashed, monkeypatch, realm, named):
    piped(monkeypatch, "x")
    monkeypatch.setattr(sys, "__stdin__", None)
    assert module.users_line("alice", LineOptions(True, realm)) == f"alice:digest:{named}:x\n"


def test_a_digest_line_has_the_hashes_that_digest_uses():
    done = run("hash-password", "--digest", "--realm=our proxy", "alice", stdin=b"swordfish\n")
    hashes = [hashlib.new(name, b"alice:our proxy:swordfish").hexdigest() for name in ("sha256", "md5")]
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"alice:digest:our proxy:{':'.join(hashes)}\n"


@pytest.mark.parametrize(
    ("digest", "realm", "cause"), [(False, "x", "only a digest line"), (True, "", "at most"), (True, "a:b", "at most")]
)
def test_an_invalid_realm_is_a_usage_error(hashed, digest, realm, cause):
    with pytest.raises(UsageProblem, match=f"--realm: .*{cause}"):
        module.users_line("alice", LineOptions(digest, realm))


def test_a_system_without_md5_is_reported(hashed, monkeypatch):
    def refuse(*_: str) -> str:
        raise ValueError("unsupported hash type")

    hashed.digest_line = refuse
    piped(monkeypatch, "x")
    monkeypatch.setattr(sys, "__stdin__", None)
    with pytest.raises(UsageProblem, match="refuses MD5"):
        module.users_line("alice", LineOptions(True))


@pytest.mark.parametrize(
    ("before", "between"),
    [("", ""), ("bob:scrypt:x\n", ""), ("bob:scrypt:x", "\n"), ("\n", ""), ("# the end", "\n")],
)
def test_the_output_can_be_appended_to_a_users_file(tmp_path, before, between):
    """Appended to an incomplete last line, the new line would merge two users into one, and serve would refuse the file."""
    file = tmp_path / "users"
    file.write_text(before)
    with file.open("ab") as end:
        words = [*MODULE, "hash-password", "alice"]
        done = subprocess.run(words, input=b"x\n", stdout=end, stderr=subprocess.PIPE, env=environment(), timeout=20)
    assert (done.returncode, done.stderr) == (0, b"")
    assert file.read_text().startswith(f"{before}{between}alice:scrypt:")
    assert file.read_text().count("\n") == (before + between).count("\n") + 1


def test_no_line_break_precedes_output_that_is_not_appended(tmp_path):
    """Only appended output follows another line; overwriting a part of a file is the caller's own responsibility."""
    file = tmp_path / "users"
    file.write_text("bob")
    with file.open("r+b") as start:
        words = [*MODULE, "hash-password", "alice"]
        subprocess.run(words, input=b"x\n", stdout=start, check=True, env=environment(), timeout=20)
    assert file.read_text().startswith("alice:scrypt:")


def test_a_file_that_cannot_be_read_gets_an_extra_line_break(monkeypatch, tmp_path):
    (tmp_path / "users").write_text("bob\n")
    with (tmp_path / "users").open("ab") as end:
        assert module.separator(end.fileno()) == ""
        monkeypatch.setattr(module, "open", lambda *_: os.open("/nowhere", os.O_RDONLY), raising=False)
        assert module.separator(end.fileno()) == "\n"


def test_ctrl_c_at_the_prompt_restores_the_echo():
    """getpass switches it off, and restores it only if it gets that far."""
    script = f"trap : INT; {' '.join(MODULE)} hash-password alice; stty -a; echo the end"
    child = pexpect.spawn("/bin/sh", ["-c", script], env=environment(), timeout=20, encoding="utf-8")
    try:
        child.expect_exact("password for alice: ")
        child.sendintr()
        child.expect_exact("the end")
        assert " echo " in child.before
        assert " -echo " not in child.before
        assert "Traceback" not in child.before
    finally:
        child.close(force=True)
