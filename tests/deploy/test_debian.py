"""The Debian package: how it is built, and its life in a Debian without systemd."""

import configparser
import hashlib
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from man.source.man import pages
from tests.deploy.conftest import ROOT, build
from tests.deploy.debian import ENVIRON, NEXT, STRICT, SUCCESSOR, USER, Tree, allow, copied, put
from tests.deploy.fleet.machines import documented
from tests.peers.process import end, path_of
from tests.peers.scripted import ScriptedServer, echo
from tunnelctl import __version__
from tunnelctl.cli.spec.commands import COMMANDS

SECONDS = 60.0
SOURCE = ROOT / "deploy/debian"

artefact = pytest.mark.artefact


def unit(name: str) -> configparser.ConfigParser:
    """Parses a unit as systemd does, except for repeated keys, of which only the last counts here."""
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string((SOURCE / "systemd" / name).read_text())
    return parsed


SERVICE, SOCKET = unit("tunnelctl.service")["Service"], unit("tunnelctl.socket")["Socket"]


# --- sources and documentation


@pytest.mark.parametrize("word", [f"enable --now {name}" for name in ("tunnelctl.socket", "tunnelctl-forward@work")])
def test_the_documentation_has_the_commands_that_are_tested(word: str) -> None:
    assert f"systemctl {'--user ' * ('@' in word)}{word}\n" in (ROOT / "docs/install.md").read_text()


def test_the_units_agree() -> None:
    words = shlex.split(SERVICE["ExecStart"])
    assert words[:4] == ["/usr/bin/tunnelctl", "serve", "--listen", f"fd:{SOCKET['FileDescriptorName']}"]
    assert (SERVICE["User"], SERVICE["Group"]) == (USER, USER)
    assert SOCKET["ListenStream"].startswith("127.0.0.1:")


def test_the_standalone_service_differs_only_in_its_socket() -> None:
    ours, other = ((SOURCE / "systemd" / f"{name}.service").read_text() for name in ("tunnelctl", "tunnelctl-standalone"))
    assert other.partition("[Service]")[2] == ours.partition("[Service]")[2].replace(" --listen fd:proxy", "")
    assert unit("tunnelctl-standalone.service")["Unit"]["Conflicts"].split() == ["tunnelctl.socket", "tunnelctl.service"]


def test_its_settings_for_a_fleet_are_the_flags_of_the_command_there() -> None:
    text = (ROOT / "docs/fleet.md").read_text()
    (block,) = re.findall(r"^```toml\n(\[defaults\]\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    settings = {"policy": "/etc/tunnelctl/policy.toml", **tomllib.loads(block)["defaults"]}
    flags = [word for name, value in settings.items() for word in (f"--{name}", *([] if value is True else [str(value)]))]
    assert sorted(flags) == sorted(documented()[2:])


def test_the_service_has_every_protection_of_the_manuals_unit() -> None:
    """Its user is one with a name, so that the users file and the log can be given to it."""
    manual = pages()["tunnelctl-serve.1"]
    lines = re.findall(r"^((?:Private|Protect|Restrict|System|Capability|Lock|Memory|NoNew|ProcSub)\w+=.*)$", manual, re.MULTILINE)
    ours = (SOURCE / "systemd/tunnelctl.service").read_text().splitlines()
    assert len(lines) > 15
    assert [line.replace("\\-", "-") for line in lines if line.replace("\\-", "-") not in ours] == []


@pytest.mark.parametrize("script", ["postinst", "postrm", "prerm", "rtupdate"])
def test_the_scripts_of_the_package_are_those_of_a_posix_shell(script: str) -> None:
    subprocess.run(["/bin/dash", "-n", SOURCE / "control" / script], check=True, timeout=SECONDS)


# --- the package


@artefact
@pytest.mark.peer("dpkg-deb")
def test_two_builds_are_the_same(deb: Path) -> None:
    before = hashlib.sha256(deb.read_bytes()).digest()
    build("/bin/sh", "-c", "umask 077; exec deploy/debian/build", TZ="Asia/Tokyo", LC_ALL="C")
    assert hashlib.sha256(deb.read_bytes()).digest() == before


@artefact
@pytest.mark.peer("dpkg-deb")
def test_it_is_built_from_the_sources_as_they_are(deb: Path, tmp_path: Path) -> None:
    """A .pyz that has been built from others is built again, even if its version is the same."""
    copy = 'cp -a deploy tunnelctl man completions docs dist LICENSE *.md pyproject.toml "$1" && cd "$1"'
    script = f"{copy} && ln -s '{sys.prefix}' .venv && echo '# changed' >>tunnelctl/status.py && deploy/debian/build"
    build("/bin/sh", "-ec", script, "sh", str(tmp_path), SOURCE_DATE_EPOCH="1700000000")
    (changed,) = (tmp_path / "dist").glob("*.deb")
    subprocess.run([path_of("dpkg-deb"), "-x", changed, tmp_path / "tree"], check=True, timeout=SECONDS)
    assert (tmp_path / "tree/usr/lib/tunnelctl/tunnelctl/status.py").read_text().endswith("# changed\n")
    pyz = (tmp_path / "dist/tunnelctl.pyz").stat()
    build("deploy/pyz/build", "--if-stale", cwd=tmp_path, SOURCE_DATE_EPOCH="1700000000")
    assert (tmp_path / "dist/tunnelctl.pyz").stat() == pyz


@pytest.mark.parametrize("script", ["pyz", "debian", "image"])
def test_without_git_a_build_says_what_it_needs(script: str, tmp_path: Path) -> None:
    build("/bin/sh", "-ec", 'cp -a deploy "$1"', "sh", str(tmp_path))
    environ = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    command = [tmp_path / "deploy" / script / "build"]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 1
    assert done.stderr.endswith(f"deploy/{script}/build: needs git and a clone, or SOURCE_DATE_EPOCH\n")
    assert not (tmp_path / "dist").exists()


@artefact
@pytest.mark.peer("lintian")
def test_lintian_has_neither_errors_nor_warnings(deb: Path) -> None:
    words = ("--fail-on", "error,warning", "--display-level", ">=warning", "--allow-root")
    done = subprocess.run([path_of("lintian"), *words, deb], capture_output=True, text=True, timeout=SECONDS * 2)
    assert (done.returncode, done.stdout) == (0, "")


@artefact
def test_everything_that_is_bundled_has_its_licence(deb: Path, tmp_path: Path) -> None:
    subprocess.run([path_of("dpkg-deb"), "-x", deb, tmp_path], check=True, timeout=SECONDS)
    text = (tmp_path / "usr/share/doc/tunnelctl/copyright").read_text("utf-8")
    library = tmp_path / "usr/lib/tunnelctl"
    missing = [entry.name for entry in library.iterdir() if f" usr/lib/tunnelctl/{entry.name}" not in text]
    ours = {"tunnelctl", "man", "__main__.py", f"tunnelctl-{__version__}.dist-info", "THIRD-PARTY-LICENSES"}
    assert set(missing) == ours


@artefact
def test_links_in_its_documentation_lead_somewhere(deb: Path, tmp_path: Path) -> None:
    subprocess.run([path_of("dpkg-deb"), "-x", deb, tmp_path], check=True, timeout=SECONDS)
    doc = tmp_path / "usr/share/doc/tunnelctl"
    pages = [*doc.glob("*.md"), doc / "README.Debian"]
    links = [link for page in pages for link in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in link]
    assert {"usage.md", "fleet.md", "check.svg"} <= {*links}
    assert [link for link in links if not (doc / link).is_file()] == []
    assert "sudo systemctl enable --now tunnelctl.socket" in (doc / "README.Debian").read_text()


# --- in a Debian without systemd


@artefact
def test_apt_installs_what_it_depends_on(installed: Tree) -> None:
    assert installed.run("tunnelctl --version").stdout == f"tunnelctl {__version__}\n"
    assert installed.run("dpkg-query -W -f '${Status}\\n' adduser python3").stdout == "install ok installed\n" * 2


@artefact
def test_the_program_runs_as_any_user(installed: Tree) -> None:
    assert "8 of 8 checks passed" in installed.run("su -s /bin/sh nobody -c 'tunnelctl selftest'").stdout


@artefact
def test_the_program_is_compiled(installed: Tree) -> None:
    """Otherwise each start of an ordinary user would compile it."""
    done = installed.run("su -s /bin/sh nobody -c 'python3 -v /usr/bin/tunnelctl --version' 2>&1")
    assert "matches /usr/lib/tunnelctl/tunnelctl/cli/main.py" in done.stdout
    assert "code object from /usr/lib/tunnelctl/tunnelctl/" not in done.stdout  # without quotes: from source


@artefact
def test_a_user_without_a_home_needs_no_place_of_its_own(installed: Tree) -> None:
    before = installed.files()
    installed.run(f"su -s /bin/sh {USER} -c 'tunnelctl --version'")
    assert installed.files() == before


@artefact
def test_the_manual_is_at_its_place(installed: Tree) -> None:
    for command in ("", *(f"-{command.name}" for command in COMMANDS if command.name != "help")):
        assert installed.run(f"man -w tunnelctl{command}").stdout.startswith("/usr/share/man/man1/tunnelctl")
    assert "run the bundled proxy" in installed.run("man tunnelctl-serve | cat").stdout
    assert "run the bundled proxy" in installed.run("tunnelctl help serve").stdout


@artefact
def test_bash_completes(installed: Tree) -> None:
    script = """
        . /usr/share/bash-completion/bash_completion
        _completion_loader tunnelctl
        COMP_WORDS=(tunnelctl check-p) COMP_CWORD=1 COMP_LINE='tunnelctl check-p' COMP_POINT=17
        function=$(complete -p tunnelctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function tunnelctl check-p tunnelctl
        echo "${COMPREPLY[@]}"
    """
    assert installed.run(f"exec bash -c {shlex.quote(script)}").stdout.split() == ["check-policy"]


@artefact
def test_settings_are_readable_by_those_who_need_them(installed: Tree) -> None:
    found = installed.run("stat -c '%A %U %G %n' /etc/tunnelctl/* /var/log/tunnelctl").stdout.splitlines()
    assert found == [
        "-rw-r--r-- root root /etc/tunnelctl/config.toml",
        "-rw-r--r-- root root /etc/tunnelctl/policy.toml",
        f"-rw-r----- root {USER} /etc/tunnelctl/users",
        f"drwxr-x--- {USER} {USER} /var/log/tunnelctl",
    ]
    assert installed.run(f"getent passwd {USER}").stdout.split(":")[5:] == ["/nonexistent", "/usr/sbin/nologin\n"]


# --- its service, started by hand

# What systemd does before ExecStart=: the socket as descriptor 3, the directories, the user and its variables.
START = """
import json, os, pwd, sys
descriptor, name, environ, words, directories = json.loads(sys.argv[1])
os.dup2(descriptor, 3)
user = pwd.getpwnam(name)
for directory in directories:
    os.makedirs(directory, 0o700, exist_ok=True)
    os.chown(directory, user.pw_uid, user.pw_gid)
os.setgroups([])
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
os.umask(0o027)
environ |= {"LISTEN_PID": str(os.getpid()), "HOME": user.pw_dir, "USER": name, "LOGNAME": name}
os.execve(words[0], words, environ)
"""


class Service(NamedTuple):
    """The service as systemd would start it. process: it has the process ID that is $MAINPID"""

    process: "subprocess.Popen[bytes]"
    port: int
    notices: socket.socket

    def wait_for(self, state: str) -> None:
        """Waits for a message of sd_notify(3)."""
        while state not in self.notices.recv(4096).decode().split("\n"):
            pass


@contextmanager
def service(tree: Tree, address: str = "127.0.0.1") -> Iterator[Service]:
    with socket.create_server((address, 0)) as listener, closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as notices:
        notices.bind("")  # the kernel chooses an abstract name, which chroot does not hide
        notices.settimeout(SECONDS)
        given = [words.replace("%t", "/run").split("=", 1) for words in SERVICE["Environment"].split()]
        environ = {**dict(given), "PATH": ENVIRON["PATH"], "LANG": "C.UTF-8"}
        environ |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": SOCKET["FileDescriptorName"]}
        environ["NOTIFY_SOCKET"] = "@" + notices.getsockname()[1:].decode()
        asked = json.dumps([listener.fileno(), USER, environ, shlex.split(SERVICE["ExecStart"]), ["/run/tunnelctl"]])
        command = tree.command("/usr/bin/python3", "-c", START, asked, script=STRICT)
        process = subprocess.Popen(
            command, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            yield Service(process, listener.getsockname()[1], notices)
        finally:
            end(process)
            process.stderr.close()


@pytest.fixture
def own(installed: Tree) -> Iterator[Tree]:
    """The tree, whose policy and log the test may change."""
    policy, log = installed.root / "etc/tunnelctl/policy.toml", installed.root / "var/log/tunnelctl/access.json"
    before = policy.read_text()
    yield installed
    policy.write_text(before)
    log.unlink(missing_ok=True)


@artefact
def test_its_service_serves_as_its_user_reloads_and_stops(own: Tree) -> None:
    with ScriptedServer(echo) as target, service(own) as started:
        started.wait_for("READY=1")
        ask = f"exec timeout 20 tunnelctl connect -x http://127.0.0.1:{started.port} 127.0.0.1 {target.port}"
        assert "403 Forbidden" in own.run(ask, status=69).stderr  # no rule names it
        allow(own, f"127.0.0.1:{target.port}")
        own.run(f"export MAINPID={started.process.pid}; exec {SERVICE['ExecReload']}")
        started.wait_for("RELOADING=1")
        started.wait_for("READY=1")
        assert own.run(ask, stdin="through the proxy").stdout == "through the proxy"
        status = Path(f"/proc/{started.process.pid}/status").read_text()
        uid = own.run(f"id -u {USER}").stdout.strip()
        assert re.search(rf"^Uid:\s+{uid}\s+{uid}\s+{uid}\s+{uid}$", status, re.MULTILINE)
        started.process.terminate()
        assert started.process.wait(SECONDS) == 0
    log = own.root / "var/log/tunnelctl/access.json"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["event"] for record in records] == ["refused", "opened", "closed"]
    assert own.run(f"stat -c '%A %U' {'/' + str(log.relative_to(own.root))}").stdout == f"-rw-r----- {USER}\n"


@artefact
def test_its_service_is_no_open_proxy(own: Tree) -> None:
    with service(own, "0.0.0.0") as started:
        assert started.process.wait(SECONDS) == 2
        assert b"it would be an open proxy" in started.process.stderr.read()


# --- upgrade, removal


@artefact
def test_it_is_upgraded_removed_and_purged(debian_tree: Path, deb: Path, tmp_path: Path) -> None:
    with copied(debian_tree, tmp_path) as tree:
        tree.install("adduser")
        put(tree, deb)
        before = tree.files()
        tree.run("dpkg -i /srv/*.deb")
        allow(tree, "127.0.0.1:1")
        changed = (tree.root / "etc/tunnelctl/policy.toml").read_text()
        (tree.root / "var/log/tunnelctl/access.json").write_text("{}\n")
        tree.run(f"chown -R {USER}: /var/log/tunnelctl")
        tree.run(SUCCESSOR)
        tree.run("dpkg --force-confdef --force-confold -i /srv/new.deb")
        assert tree.run("tunnelctl --version").stdout == f"tunnelctl {NEXT}\n"
        assert (tree.root / "etc/tunnelctl/policy.toml").read_text() == changed
        assert (tree.root / "etc/tunnelctl/config.toml").read_text().endswith("# new\n")
        assert tree.run("stat -c %G /etc/tunnelctl/users").stdout == f"{USER}\n"
        tree.run("dpkg -r tunnelctl")
        left = {path for path in tree.files() - before if not path.startswith("/var/lib/")}
        assert (tree.root / "etc/tunnelctl/policy.toml").read_text() == changed
        assert left == {
            "/etc/tunnelctl", "/etc/tunnelctl/config.toml", "/etc/tunnelctl/policy.toml", "/etc/tunnelctl/policy.toml.dpkg-dist",
            "/etc/tunnelctl/users", "/etc/logrotate.d/tunnelctl", "/var/log/tunnelctl", "/var/log/tunnelctl/access.json",
        }  # fmt: skip
        tree.run("dpkg -P tunnelctl")
        assert tree.files() - before == set()
        tree.run("dpkg -i /srv/new.deb && tunnelctl --version && dpkg -P tunnelctl")
        assert tree.files() - before == set()
        assert before - tree.files() == set()
