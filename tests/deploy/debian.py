"""A Debian in a directory, of which nothing is mounted when its programs have ended: by chroot, and booted with systemd."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.peers.process import path_of, wait_until
from tests.peers.tools import in_own_mounts
from tunnelctl import __version__

SECONDS = 60.0
INSTALL_SECONDS = 240.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRON = {"PATH": PATH, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}

USER = "_tunnelctl"  # of the service
NEXT = f"{__version__}.1"
# Makes /srv/new.deb, of the next version: its settings differ.
SUCCESSOR = f"""
cd /srv
dpkg-deb -R tunnelctl_*.deb new
sed -i 's/^Version: .*/Version: {NEXT}/' new/DEBIAN/control
sed -i 's/^__version__ = .*/__version__ = "{NEXT}"/' new/usr/lib/tunnelctl/tunnelctl/__init__.py
echo '# new' >>new/etc/tunnelctl/policy.toml
echo '# new' >>new/etc/tunnelctl/config.toml
dpkg-deb -Znone -b new new.deb
rm -r new
"""

Text = subprocess.CompletedProcess[str]

CHROOT = 'mount -t proc none "$1/proc"; exec chroot "$@"'
# As ProtectSystem=strict: the service may write to its logs, its runtime directory and /tmp.
STRICT = """
mount --bind "$1" "$1"
mount --bind "$1/var/log/tunnelctl" "$1/var/log/tunnelctl"
mount -o remount,bind,ro "$1"
mount -t tmpfs none "$1/run" && mount -t tmpfs none "$1/tmp"
mount -t proc none "$1/proc"
exec chroot "$@"
"""

# systemd as the first process of its own namespaces, in a control group of its own: what it finds in the root it would move.
BOOT = """
mount -t tmpfs none /run
mkdir /run/groups
mount -t cgroup2 none /run/groups
mkdir "/run/groups/$2"
echo $$ >"/run/groups/$2/cgroup.procs"
unshare --cgroup --mount --pid --uts --ipc --net --fork --kill-child sh -euc "$3" sh "$1" || true
echo $$ >/run/groups/cgroup.procs
find "/run/groups/$2" -depth -type d -exec rmdir {} +
"""
INIT = """
ip link set lo up
mount --bind "$1" "$1"
cd "$1"
mount -t proc none proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro none sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 none dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 none run
mkdir run/machine
pivot_root . run/machine
umount -l /run/machine
exec env -i container=test "PATH=$PATH" /lib/systemd/systemd --log-target=journal --show-status=false
"""


def checked(command: Sequence[str], status: int, stdin: str, seconds: float) -> Text:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, env=ENVIRON)
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done


class Tree:
    """The root directory of a Debian, whose programs run in it by chroot. root: on this machine"""

    def __init__(self, root: Path) -> None:
        self.root = root

    def command(self, *words: str, script: str = CHROOT) -> list[str]:
        """Returns the command that runs words in it, with mounts that nothing else sees, in place of itself."""
        return in_own_mounts(script, str(self.root), *words)

    def run(self, script: str, *, status: int = 0, stdin: str = "", seconds: float = SECONDS) -> Text:
        """Runs a script of the shell as root, and checks its exit status."""
        return checked(self.command("/bin/sh", "-euc", script), status, stdin, seconds)

    def install(self, *packages: str) -> None:
        """Installs packages with what they depend on: from the mirrors, or a file of the tree."""
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        get = "apt-get -qq -o APT::Sandbox::User=root"
        self.run(f"{get} update && {get} -y --no-install-recommends install {' '.join(packages)}", seconds=INSTALL_SECONDS)

    def files(self) -> set[str]:
        """Returns all paths, without what every change of packages leaves: caches, backups and logs of apt, dpkg and others."""
        found = set()
        for directory, names, others in os.walk(self.root):
            inside = directory.removeprefix(str(self.root))
            names[:] = [name for name in names if f"{inside}/{name}" not in UNSTABLE]
            found |= {f"{inside}/{name}" for name in (*names, *others)}
        return {path for path in found if path not in BACKUPS}


UNSTABLE = ("/proc", "/root", "/run", "/srv", "/tmp", "/var/cache", "/var/lib/apt", "/var/log/apt")
BACKUPS = {f"/etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")}
BACKUPS |= {f"/var/lib/dpkg/{name}" for name in ("status-old", "diversions-old", "available")}
BACKUPS |= {"/var/log/dpkg.log", "/etc/resolv.conf"}


def put(tree: Tree, deb: Path) -> None:
    (tree.root / "srv" / deb.name).write_bytes(deb.read_bytes())


def allow(tree: Tree, target: str) -> None:
    with (tree.root / "etc/tunnelctl/policy.toml").open("a") as file:
        file.write(f'\n[[allow]]\nname = "ours"\ntargets = ["{target}"]\n')


@contextmanager
def copied(tree: Path, directory: Path) -> Iterator[Tree]:
    """A copy of a tree; it has some 300 MB, so it goes afterwards."""
    root = directory / "tree"
    subprocess.run(["cp", "-a", str(tree), str(root)], check=True, timeout=SECONDS)
    (root / "etc/dpkg/dpkg.cfg.d/test").write_text("force-unsafe-io\n")  # the tree does not outlive a crash
    try:
        yield Tree(root)
    finally:
        shutil.rmtree(root)


class Machine:
    """A tree that systemd has booted. leader: its first process"""

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def run(self, script: str, *, status: int = 0, stdin: str = "", seconds: float = SECONDS) -> Text:
        """Runs a script of the shell as root, and checks its exit status."""
        enter = (path_of("nsenter"), "--target", str(self._leader), "--all")
        return checked([*enter, "/bin/sh", "-euc", script], status, stdin, seconds)


@contextmanager
def booted(tree: Tree) -> Iterator[Machine]:
    """Boots a tree that has systemd. Its only network is a loopback interface of its own."""
    command = in_own_mounts(BOOT, str(tree.root), f"tunnelctl-test-{os.getpid()}", INIT)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as started:
        leader = 0
        try:
            wait_until(lambda: _systemd_below(started.pid) or started.poll() is not None, SECONDS, "the start of systemd")
            leader = _systemd_below(started.pid)
            assert leader, started.communicate(timeout=SECONDS)[0].decode(errors="replace")
            machine = Machine(leader)
            wait_until(lambda: _is_up(machine), SECONDS)
            yield machine
        finally:
            _end(started, leader)


def _end(started: "subprocess.Popen[bytes]", leader: int) -> None:
    """Kills the leader, and with it all of its namespace. What is outside of that ends by itself, unless there was no leader."""
    if leader:
        with suppress(ProcessLookupError):
            os.kill(leader, signal.SIGKILL)
    try:
        started.wait(SECONDS if leader else 0)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)


def _systemd_below(pid: int) -> int:
    """Returns the process ID of the systemd below a process, whose scripts have one child at a time; 0 while there is none."""
    try:
        while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            pid = int(children[0])
            if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                return pid
    except FileNotFoundError:  # it has ended meanwhile
        pass
    return 0


def _is_up(machine: Machine) -> bool:
    try:
        machine.run("systemctl is-active --quiet multi-user.target")
    except AssertionError:
        return False
    return True
