"""The one file: started in a Debian that has python3 and nothing else, with and without a home; and by each Python here."""

import fcntl
import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.deploy.conftest import ROOT, build
from tests.peers.process import wait_until
from tests.peers.program import RUN_SECONDS, Bytes, Serve, started
from tests.peers.scripted import ScriptedServer, echo
from tunnelctl import __version__
from tunnelctl.cli.spec.commands import COMMANDS

pytestmark = [pytest.mark.artefact, pytest.mark.peer("mmdebstrap", "chroot", "unshare", "mount")]

USER, OTHER = 4242, 4243  # no account has these numbers
FILE = "/opt/tunnelctl.pyz"


class Machine:
    """A copy of the Debian, in which a user without an account starts the file. /opt is read-only."""

    def __init__(self, root: Path, pyz: Path) -> None:
        self.root = root
        shutil.copy(pyz, root / FILE[1:])

    def program(self, *words: str, **environ: str) -> tuple[str, ...]:
        """Returns the start of a command: that of the file, unless `words` name another."""
        set_up = 'mount --bind "$1/opt" "$1/opt" && mount -o remount,bind,ro "$1/opt" && shift && exec "$@"'
        user = ("chroot", f"--userspec={USER}:{USER}", str(self.root), "/usr/bin/env", "-i", "PATH=/usr/bin:/bin")
        settings = [f"{name}={value}" for name, value in environ.items()]
        return "unshare", "--mount", "sh", "-c", set_up, "sh", str(self.root), *user, *settings, *(words or (FILE,))

    def run(self, *words: str, **environ: str) -> Bytes:
        command = [*self.program(**environ), *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=RUN_SECONDS)

    def directory(self, path: str, *, owner: int = USER, mode: int = 0o755) -> Path:
        made = self.root / path.lstrip("/")
        made.mkdir(parents=True)
        os.chown(made, owner, owner)
        made.chmod(mode)
        return made

    def unpacked(self, root: str) -> list[str]:
        """Returns the names of the versions in one place, and of what else may lie there."""
        return sorted(name for name in os.listdir(self.root / root.lstrip("/")) if not name.endswith("_lock"))


@pytest.fixture(scope="module")
def debian(debian_tree: Path, tmp_path_factory: pytest.TempPathFactory, pyz: Path) -> Iterator[Machine]:
    root = tmp_path_factory.mktemp("pyz") / "root"
    subprocess.run(["cp", "-a", debian_tree, root], check=True, timeout=RUN_SECONDS)
    yield Machine(root, pyz)
    shutil.rmtree(root)


@pytest.fixture
def machine(debian: Machine, pyz: Path) -> Iterator[Machine]:
    """The Debian as it was: with the file, and nothing unpacked."""
    shutil.copy(pyz, debian.root / FILE[1:])
    yield debian
    for place in ("home", "var/tmp", "tmp"):
        for left in (debian.root / place).iterdir():
            left.unlink() if left.is_symlink() else shutil.rmtree(left)


@pytest.fixture
def home(machine: Machine) -> str:
    machine.directory("/home/user")
    return "/home/user"


@pytest.fixture(scope="module")
def name(pyz: Path) -> str:
    """The name of the directory into which the file unpacks itself."""
    with ZipFile(pyz) as file:
        found = re.search(rb'^NAME = "(\S+)"', file.read("__main__.py"), re.MULTILINE)
    return found[1].decode()


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two clones of the last commit, made with different umasks."""
    directories = [tmp_path_factory.mktemp(name) for name in ("one", "another")]
    for directory, umask in zip(directories, (0o022, 0o077), strict=True):
        subprocess.run(["git", "clone", "-q", ROOT, directory], check=True, umask=umask, timeout=RUN_SECONDS)
    return directories


@pytest.fixture(scope="module")
def next_version(clones: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a later version."""
    clone = tmp_path_factory.mktemp("next")
    shutil.copytree(clones[0], clone, dirs_exist_ok=True)
    module = clone / "tunnelctl/__init__.py"
    module.write_text(module.read_text().replace(__version__, "9.9.9"))
    build("deploy/pyz/build", cwd=clone, PYTHON=sys.executable)
    return clone / "dist/tunnelctl.pyz"


# --- what is in it


def test_two_builds_of_a_commit_are_identical(clones: list[Path]) -> None:
    build("deploy/pyz/build", cwd=clones[0], PYTHON=sys.executable)
    build("sh", "-c", "umask 077 && deploy/pyz/build", cwd=clones[1], PYTHON=sys.executable, TZ="Asia/Tokyo", LC_ALL="C")
    one, another = (clone / "dist/tunnelctl.pyz" for clone in clones)
    assert filecmp.cmp(one, another, shallow=False)


def test_its_tools_are_the_pinned_ones(pyz: Path) -> None:
    """Whatever others this machine has: shiv and hatchling each leave their version in what they make."""
    text = (ROOT / "deploy/tools/requirements.txt").read_text()
    pinned = dict(re.findall(r"^(\S+)==(\S+) ", text, re.MULTILINE))
    with ZipFile(pyz) as outer, outer.open("packages.zip") as packed, ZipFile(packed) as inner:
        made = json.loads(inner.read("environment.json"))
        wheel = inner.read(f"site-packages/tunnelctl-{__version__}.dist-info/WHEEL").decode()
    assert made["shiv_version"] == pinned["shiv"]
    assert f"\nGenerator: hatchling {pinned['hatchling']}\n" in wheel


def test_an_interpreter_that_is_no_recent_python_is_refused(clones: list[Path]) -> None:
    with pytest.raises(AssertionError, match=r"^deploy/pyz/build: false is not Python 3\.11 or later; name another: PYTHON="):
        build("deploy/pyz/build", cwd=clones[0], PYTHON="false")


def test_nothing_in_it_is_compiled_or_knows_where_it_was_built(pyz: Path) -> None:
    with ZipFile(pyz) as outer, outer.open("packages.zip") as packed, ZipFile(packed) as inner:
        contents = {entry: inner.read(entry) for entry in inner.namelist()}
    assert "site-packages/tunnelctl/cli/main.py" in contents
    tags = [line for entry, text in contents.items() if entry.endswith("/WHEEL") for line in text.splitlines() if b"Tag:" in line]
    assert len(tags) > 10
    assert {tag.rpartition(b"-none-")[2] for tag in tags} == {b"any"}
    assert not [entry for entry in contents if re.search(r"\.(so|pyd|dylib|pyc)$", entry)]
    assert not [entry for entry, octets in contents.items() if octets.startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe", b"MZ"))]
    assert not [
        entry for entry, octets in contents.items() if str(ROOT).encode() in octets or b"file://" + os.fsencode(ROOT) in octets
    ]


# --- a machine with nothing but python3


def test_it_is_the_program(machine: Machine, home: str) -> None:
    done = machine.run("--version", HOME=home)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tunnelctl {__version__}\n".encode(), b"")


def test_bytes_go_through_a_serve_of_the_same_file(machine: Machine, home: str) -> None:
    program = machine.program(HOME=home)
    with ScriptedServer(echo) as target, Serve(program=program) as proxy:
        command = ["connect", "-x", proxy.url, "127.0.0.1", str(target.port)]
        with started(*command, program=program) as client:
            assert client.communicate(b"through it", timeout=RUN_SECONDS) == (b"through it", b"")
            assert client.returncode == 0


def test_it_starts_itself_again(machine: Machine, home: str) -> None:
    with ScriptedServer(echo) as target, Serve("--workers", "2", program=machine.program(HOME=home)) as proxy:
        child = machine.run("run", "-x", proxy.url, "--", FILE, "connect", "127.0.0.1", str(target.port), HOME=home)
        assert (child.returncode, child.stderr) == (0, b"")
        background = machine.run(
            "forward", "-x", proxy.url, "-L", f"0:127.0.0.1:{target.port}", "--background", HOME=home, XDG_RUNTIME_DIR=home
        )
        assert background.returncode == 0, background.stderr
        stopped = machine.run("stop", "forward", HOME=home, XDG_RUNTIME_DIR=home)
        assert stopped.returncode == 0, stopped.stderr


def test_selftest(machine: Machine, home: str) -> None:
    done = machine.run("selftest", HOME=home)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_manual_is_inside(machine: Machine, home: str) -> None:
    for words in ([], ["policy"], *([command.name] for command in COMMANDS)):
        done = machine.run("help", *words, HOME=home)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith("-".join(["TUNNELCTL", *words]).upper().encode() + b"(")


def test_what_it_prints_for_other_programs_names_the_file(machine: Machine, home: str) -> None:
    done = machine.run("ssh-config", "-x", "http://proxy:3128", "host", HOME=home)
    assert re.search(rb"ProxyCommand (\S+) connect ", done.stdout)[1] == FILE.encode()
    words = machine.program("python3", FILE, "completion", "bash", HOME=home)
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=RUN_SECONDS)
    assert b"complete " in done.stdout


# --- where it unpacks itself


def test_each_version_is_unpacked_once(machine: Machine, home: str, name: str) -> None:
    assert machine.run("--version", HOME=home).returncode == 0
    cache = machine.root / home[1:] / ".cache/tunnelctl"
    first = (cache / name).stat().st_ctime_ns
    assert [path.stat().st_mode & 0o777 for path in (cache.parent, cache, cache / name)] == [0o700, 0o755, 0o755]
    assert machine.run("--version", HOME=home).returncode == 0
    assert (cache / name).stat().st_ctime_ns == first
    assert machine.unpacked(f"{home}/.cache/tunnelctl") == [name]


def test_two_versions_side_by_side(machine: Machine, home: str, name: str, next_version: Path) -> None:
    """A new file in place of one that runs: this goes on, with its own packages."""
    with ScriptedServer(echo) as target, Serve("--admin", "127.0.0.1:0", program=machine.program(HOME=home)) as proxy:
        path = machine.root / FILE[1:]
        shutil.copy(next_version, path.with_name("new"))
        path.with_name("new").rename(path)
        assert machine.run("--version", HOME=home).stdout == b"tunnelctl 9.9.9\n"
        with started("connect", "-x", proxy.url, "127.0.0.1", str(target.port), program=machine.program(HOME=home)) as client:
            assert client.communicate(b"from a new one", timeout=RUN_SECONDS) == (b"from a new one", b"")
    old, new = machine.unpacked(f"{home}/.cache/tunnelctl")
    assert old == name
    assert new.startswith("9.9.9-")


@pytest.mark.parametrize("environ", [{}, {"HOME": "/nonexistent"}, {"HOME": "relative"}, {"HOME": "/"}, {"HOME": "/root"}], ids=str)
def test_without_a_home_it_has_a_directory_of_its_own(machine: Machine, name: str, environ: Mapping[str, str]) -> None:
    done = machine.run("--version", **environ)
    assert (done.returncode, done.stderr) == (0, b"")
    assert machine.unpacked(f"/var/tmp/tunnelctl-{USER}") == [name]


def test_a_cache_directory_is_preferred(machine: Machine, home: str, name: str) -> None:
    machine.directory("/home/cache", mode=0o700)
    assert machine.run("--version", HOME=home, XDG_CACHE_HOME="/home/cache").returncode == 0
    assert machine.unpacked("/home/cache/tunnelctl") == [name]
    assert not (machine.root / home[1:] / ".cache").exists()


def test_root_may_unpack_it_for_everybody(machine: Machine, name: str) -> None:
    machine.directory("/home/shared", owner=0)
    subprocess.run(
        ["chroot", machine.root, "/usr/bin/env", "-i", "PATH=/usr/bin", "XDG_CACHE_HOME=/home/shared", FILE, "-V"],
        stdin=subprocess.DEVNULL, check=True, timeout=RUN_SECONDS,
    )  # fmt: skip
    assert machine.run("--version", XDG_CACHE_HOME="/home/shared").returncode == 0
    assert machine.unpacked("/home/shared/tunnelctl") == [name]
    assert machine.unpacked("/var/tmp") == []


# Prints that it has run. Another user puts it where ours is unpacked.
TRAP = "import os\ndef main():\n    os.write(1, b'another user is here')\n"


def trap(machine: Machine, root: str, name: str, owner: int = OTHER) -> None:
    package = machine.directory(f"{root}/{name}/site-packages/tunnelctl/cli", owner=owner)
    (package / "main.py").write_text(TRAP)
    (package.parent / "py.typed").touch()  # what shows that it is complete
    for path in (machine.root / root.lstrip("/"), *(machine.root / root.lstrip("/")).rglob("*")):
        os.chown(path, owner, owner)


def test_what_another_user_has_prepared_is_not_run(machine: Machine, name: str) -> None:
    trap(machine, f"/var/tmp/tunnelctl-{USER}", name)
    assert machine.run("--version").stdout == f"tunnelctl {__version__}\n".encode()
    assert machine.unpacked(f"/tmp/tunnelctl-{USER}") == [name]


@pytest.mark.parametrize(
    ("environ", "root"), [({}, f"/var/tmp/tunnelctl-{USER}"), ({"HOME": "/home/user"}, "/home/user/.cache/tunnelctl")], ids=str
)
def test_the_trap_works(machine: Machine, name: str, environ: Mapping[str, str], root: str) -> None:
    trap(machine, root, name, owner=USER)
    assert machine.run("--version", **environ).stdout == b"another user is here"


@pytest.mark.parametrize("mode", [0o775, 0o757])
@pytest.mark.parametrize("changed", ["", ".cache", ".cache/tunnelctl", ".cache/tunnelctl/NAME"])
def test_nor_what_others_can_change(machine: Machine, home: str, name: str, changed: str, mode: int) -> None:
    """Who can change a directory above can put another in the place of ours."""
    trap(machine, f"{home}/.cache/tunnelctl", name, owner=USER)
    (machine.root / home[1:] / changed.replace("NAME", name)).chmod(mode)
    assert machine.run("--version", HOME=home).stdout == f"tunnelctl {__version__}\n".encode()
    assert machine.unpacked(f"/var/tmp/tunnelctl-{USER}") == [name]


def test_nothing_unpacked_can_be_changed_by_others_whatever_the_umask(machine: Machine, home: str) -> None:
    """Some daemons start programs with a umask of 0. The modules that Python compiles count too."""
    words = machine.program("sh", "-c", f"umask 0 && exec {FILE} --version", HOME=home)
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, timeout=RUN_SECONDS)
    made = [*(machine.root / home[1:] / ".cache").rglob("*")]
    assert [path for path in made if path.suffix == ".pyc"]
    assert not [path for path in made if path.stat().st_mode & 0o022]


def test_nor_what_a_symbolic_link_leads_to(machine: Machine, home: str, name: str) -> None:
    """Whoever made the link can make it lead elsewhere, after we have looked at it."""
    trap(machine, f"{home}/mine", name, owner=USER)
    (machine.root / f"var/tmp/tunnelctl-{USER}").symlink_to(f"{home}/mine")
    assert machine.run("--version").stdout == f"tunnelctl {__version__}\n".encode()


def test_root_does_not_run_what_is_in_the_home_of_another(machine: Machine, home: str, name: str) -> None:
    """sudo may keep HOME."""
    trap(machine, f"{home}/.cache/tunnelctl", name, owner=USER)
    command = ["chroot", str(machine.root), "/usr/bin/env", "-i", "PATH=/usr/bin", f"HOME={home}", FILE, "-V"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=RUN_SECONDS)
    assert done.stdout == f"tunnelctl {__version__}\n".encode()
    assert machine.unpacked("/var/tmp/tunnelctl-0") == [name]


def test_with_no_place_it_says_what_to_do(machine: Machine, tmp_path: Path) -> None:
    for directory in ("/var/tmp", "/tmp"):
        machine.directory(f"{directory}/tunnelctl-{USER}", owner=OTHER)
    machine.directory("/home/full", owner=0)
    said = tmp_path / "stderr"
    with said.open("wb") as stderr:  # no pipe: what comes in one must be in the table of messages, which is still packed
        done = subprocess.run(machine.program(HOME="/home/full"), stdin=subprocess.DEVNULL, stderr=stderr, timeout=RUN_SECONDS)
    assert done.returncode == 78
    error, hint = said.read_text().splitlines()
    assert error.startswith("tunnelctl: cannot unpack itself: /home/full/.cache/tunnelctl: Permission denied; ")
    assert error.endswith(f"/tmp/tunnelctl-{USER}: another user can change it")
    assert "XDG_CACHE_HOME" in hint
    machine.directory("/home/mine")
    assert machine.run("--version", HOME="/home/full", XDG_CACHE_HOME="/home/mine").returncode == 0


def test_ten_that_start_at_once(machine: Machine, home: str, name: str) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(started("--version", program=machine.program(HOME=home))) for _ in range(10)]
        outputs = [process.communicate(timeout=RUN_SECONDS) for process in processes]
    assert outputs == [(f"tunnelctl {__version__}\n".encode(), b"")] * 10
    assert machine.unpacked(f"{home}/.cache/tunnelctl") == [name]


def test_one_that_was_killed_while_it_unpacked(machine: Machine, home: str, name: str, pyz: Path) -> None:
    assert machine.run("--version", HOME=home).returncode == 0
    cache = machine.root / home[1:] / ".cache/tunnelctl"
    half = (cache / name).rename(cache / f"{name}.tmp") / "site-packages/tunnelctl"
    os.truncate(half / "cli/main.py", 99)
    shutil.rmtree(half / "client")
    done = machine.run("--version", HOME=home)
    assert (done.returncode, done.stdout) == (0, f"tunnelctl {__version__}\n".encode())
    with ZipFile(pyz) as outer, outer.open("packages.zip") as packed, ZipFile(packed) as inner:
        for entry in inner.infolist():
            if entry.filename.startswith("site-packages/"):
                assert (cache / name / entry.filename).stat().st_size == entry.file_size
    assert machine.unpacked(f"{home}/.cache/tunnelctl") == [name]


@pytest.mark.parametrize("read", ["**/*.pyc", "tunnelctl/cli/**/*.py"])
def test_what_a_cleaner_has_deleted_is_unpacked_again(machine: Machine, home: str, name: str, read: str) -> None:
    """read: what Python reads at each start, so that it stays: compiled modules, or their sources where it could not compile."""
    assert machine.run("--version", HOME=home).returncode == 0
    packages = machine.root / home[1:] / ".cache/tunnelctl" / name / "site-packages"
    kept = set(packages.glob(read))
    assert kept
    for path in packages.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
    with ExitStack() as stack:
        processes = [stack.enter_context(started("--version", program=machine.program(HOME=home))) for _ in range(3)]
        outputs = [process.communicate(timeout=RUN_SECONDS) for process in processes]
    assert outputs == [(f"tunnelctl {__version__}\n".encode(), b"")] * 3
    assert machine.run("selftest", HOME=home).returncode == 0
    assert machine.unpacked(f"{home}/.cache/tunnelctl") == [name]


@pytest.mark.parametrize(("before", "status"), [("trap '' INT", 0), ("true", -signal.SIGINT)], ids=["ignored", "default"])
def test_an_interrupt_ends_the_unpacking_unless_it_is_ignored(
    machine: Machine, home: str, name: str, before: str, status: int
) -> None:
    """A shell ignores it for `forward … &` in a script."""
    lock = machine.directory(f"{home}/.cache/tunnelctl") / f".{name}_lock"
    with lock.open("w") as held:
        os.chown(lock, USER, USER)
        fcntl.flock(held, fcntl.LOCK_EX)
        with started(program=machine.program("sh", "-c", f"{before}; exec {FILE} --version", HOME=home)) as process:
            wait_until(lambda: _catches(process.pid, signal.SIGALRM), what="the wait for the lock")
            process.send_signal(signal.SIGINT)
            fcntl.flock(held, fcntl.LOCK_UN)
            version, errors = process.communicate(timeout=RUN_SECONDS)
    assert (process.returncode, errors) == (status, b"")
    assert version == (b"" if status else f"tunnelctl {__version__}\n".encode())


def _catches(pid: int, number: int) -> bool:
    caught = re.search(r"^SigCgt:\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught[1], 16) >> (number - 1) & 1)


def test_a_directory_that_cannot_be_written_is_used_as_it_is(machine: Machine, home: str, name: str) -> None:
    assert machine.run("--version", HOME=home).returncode == 0
    directory = machine.root / home[1:] / ".cache/tunnelctl"
    for path in (directory, *directory.rglob("*")):
        os.chown(path, 0, 0)
    assert machine.run("--version", HOME=home).stdout == f"tunnelctl {__version__}\n".encode()
    assert machine.unpacked("/var/tmp") == []


# --- the Pythons of this machine


@cache
def interpreter(version: str) -> str | None:
    """Returns a working Python of a version: from the path, or from those that pyenv has installed, as in .ci/run."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for candidate in (f"python{version}", *map(str, versions.glob(f"{version}.*/bin/python{version}"))):
        if (
            shutil.which(candidate)
            and subprocess.run([candidate, "-c", "pass"], capture_output=True, timeout=RUN_SECONDS).returncode == 0
        ):
            return candidate
    return None


def started_by(version: str, pyz: Path, cache_home: Path, *words: str) -> Bytes:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    environ = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(cache_home), "PYTHONWARNINGS": "error"}
    return subprocess.run([python, pyz, *words], stdin=subprocess.DEVNULL, capture_output=True, env=environ, timeout=RUN_SECONDS)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_each_python_can_start_it(pyz: Path, tmp_path: Path, version: str) -> None:
    for words in (("--version",), ("selftest",), ("connect", "-xhttp://127.0.0.1:1")):
        done = started_by(version, pyz, tmp_path, *words)
        assert done.returncode == (2 if words[0] == "connect" else 0), done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("version", ["3.6", "3.8", "3.10"])
def test_an_older_python_is_told_so(pyz: Path, tmp_path: Path, version: str) -> None:
    done = started_by(version, pyz, tmp_path, "--version")
    assert done.returncode == 78
    assert re.fullmatch(rb"tunnelctl: cannot run with \S+, which is Python 3\.\d+: it needs 3\.11 or later\n", done.stderr)
    assert os.listdir(tmp_path) == []


def test_another_interpreter_line(machine: Machine, home: str, pyz: Path, tmp_path: Path) -> None:
    """By the command of docs/install.md."""
    other = tmp_path / "tunnelctl.pyz"
    build(sys.executable, "-m", "zipapp", str(pyz), "-p", "/usr/bin/python3", "-o", str(other))
    assert other.read_bytes().startswith(b"#!/usr/bin/python3\n")
    build("install", "-m", "755", str(other), str(machine.root / FILE[1:]))
    assert machine.run("--version", HOME=home).stdout == f"tunnelctl {__version__}\n".encode()


@pytest.mark.parametrize("flags", [(), ("-I",), ("-P",), ("-OO",), ("-B",)], ids=str)
def test_flags_of_python_change_nothing(pyz: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    environ = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *flags, pyz, "-V"], stdin=subprocess.DEVNULL, capture_output=True, env=environ, timeout=RUN_SECONDS
    )
    assert (done.returncode, done.stdout) == (0, f"tunnelctl {__version__}\n".encode()), done.stderr
    assert list(tmp_path.rglob("*.pyc")), "compiled once, even with -B"
