"""What is started by others than a shell: systemd's services, cron's jobs, GNOME; and the lines for a shell's profile."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.peers.process import end, path_of, wait_until
from tests.peers.program import RUN_SECONDS, SCRIPT
from tests.peers.tools import NAME, SECONDS, Route, env, in_own_mounts, install, lines, printed, ran

pytestmark = pytest.mark.once
Web = tuple[Path, int]


@pytest.mark.peer("gsettings")
def test_gnome(route: Route, home: Path) -> None:
    """The settings are kept in a file; gsettings reads them back as --check does."""
    backend: Any = {"GSETTINGS_BACKEND": "keyfile", "XDG_CONFIG_HOME": str(home / ".config")}
    done = ran(home, "sh", "-e", "-c", printed(home, "gnome", route.port), **backend)
    assert (done.returncode, done.stderr) == (0, "")
    check = [SCRIPT, "setup", "gnome", "-D", str(route.port), "--check"]
    checked = subprocess.run(check, capture_output=True, text=True, env=env(home, **backend), timeout=RUN_SECONDS)
    assert (checked.returncode, checked.stdout) == (0, "gnome: it has these settings\n")


@pytest.mark.peer("systemd-analyze")
def test_systemd_accepts_the_drop_in(home: Path) -> None:
    """With a scope id in the address, whose % is a specifier to systemd."""
    (home / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    (home / "docker.service.d").mkdir()
    verify = ("systemd-analyze", "verify", "--man=no", str(home / "docker.service"))
    drop_in = home / "docker.service.d" / "proxy.conf"
    drop_in.write_text(lines(home, "docker-daemon", "-x", "http://[fe80::1%25eth0]:3128"))
    assert "fe80" in drop_in.read_text()
    assert "proxy.conf" not in ran(home, *verify).stderr
    drop_in.write_text(drop_in.read_text().replace('"\n', "\n"))
    assert "proxy.conf" in ran(home, *verify).stderr, "the check can fail"


@pytest.mark.parametrize("tool", ["go", "terraform"])
@pytest.mark.peer("curl")
def test_a_shell_exports_the_variables(route: Route, home: Path, web: Web, tool: str) -> None:
    install(home, tool, route.port, ".profile")
    done = ran(home, "sh", "-c", f". ~/.profile; exec curl -sS http://{NAME}:{web[1]}/file")
    assert done.stdout == "through\n", done.stderr
    assert route.went_to(web[1])


# An own instance of systemd(1) runs one unit in a control group of its own, since it puts whatever it finds in the root of its
# groups into others. It is that of a user: user.conf.d has the format of system.conf.d, and nothing of the machine is set up anew.
# Its mount of /run says that systemd has booted the machine, without which it does not start.
SYSTEMD = """
mount -t tmpfs none /run
mkdir -p -m 700 /run/systemd/system /run/own /run/groups
mount -t tmpfs none /sys/fs/cgroup
mount -t cgroup2 none /run/groups
mkdir "/run/groups/$1"
echo $$ >"/run/groups/$1/cgroup.procs"
own='mount -t cgroup2 none /sys/fs/cgroup; exec "$0" --user --unit=tool.service'
unshare --cgroup --mount sh -euc "$own" "$2" || status=$?
echo $$ >/run/groups/cgroup.procs
find "/run/groups/$1" -depth -type d -exec rmdir {} +
exit "${status:-0}"
"""
UNIT = """[Unit]
DefaultDependencies=no
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
ExecStart={}
StandardOutput=file:{}
StandardError=inherit
"""


def in_a_service(home: Path, command: str) -> str:
    """The output of a command that systemd runs as the service `tool`."""
    units, output = home / "systemd/user", home / "output"
    units.mkdir(parents=True, exist_ok=True)
    (units / "tool.service").write_text(UNIT.format(command, output))
    own = {"XDG_CONFIG_HOME": str(home), "XDG_RUNTIME_DIR": "/run/own"}
    words = in_own_mounts(SYSTEMD, f"tunnelctl-test-{os.getpid()}", "/lib/systemd/systemd")
    done = subprocess.run(words, capture_output=True, text=True, env=env(home, **own), timeout=SECONDS, stdin=subprocess.DEVNULL)
    assert output.exists(), done.stderr
    return output.read_text()


@pytest.mark.peer("systemd-analyze", "curl")
@pytest.mark.parametrize(
    ("tool", "place"), [("systemd", "systemd/user.conf.d/proxy.conf"), ("docker-daemon", "systemd/user/tool.service.d/proxy.conf")]
)
def test_systemd(route: Route, home: Path, web: Web, tool: str, place: str) -> None:
    file = home / place
    file.parent.mkdir(parents=True)
    file.write_text(printed(home, tool, route.port))
    assert in_a_service(home, f"{path_of('curl')} -sS http://{NAME}:{web[1]}/file") == "through\n"
    assert route.went_to(web[1])


@pytest.mark.peer("systemd-analyze")
def test_systemd_expands_no_percent_sign(home: Path) -> None:
    drop_in = home / "systemd/user/tool.service.d/proxy.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(lines(home, "docker-daemon", "-x", "http://[fe80::1%25eth0]:3128"))
    assert "\nhttps_proxy=http://[fe80::1%25eth0]:3128\n" in in_a_service(home, "/usr/bin/env")


# cron runs a job @reboot if it starts for the first time since a boot: it notes that in /run. It sees no job of the machine.
CRON = """
mount -t tmpfs none /run
mount -t tmpfs none /etc/cron.d
mount --bind /dev/null /etc/crontab
mount -t tmpfs none /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
"$1" setup cron -D "$2" --check || :
crontab "$3"
"$1" setup cron -D "$2" --check
exec cron -f
"""


@pytest.mark.peer("cron", "crontab", "curl")
def test_cron(route: Route, home: Path, web: Web) -> None:
    """cron takes the lines of the crontab for variables, and gives them to a job below."""
    output, said = home / "output", home / "said"
    job = f"@reboot {path_of('curl')} -sS http://{NAME}:{web[1]}/file >{output} 2>&1 && mv {output} {output}.complete\n"
    (home / "crontab").write_text(printed(home, "cron", route.port) + job)
    words = in_own_mounts(CRON, SCRIPT, str(route.port), str(home / "crontab"))
    with said.open("wb") as log:
        cron = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env(home))
    try:
        wait_until(Path(f"{output}.complete").exists, what="the job's output")
    finally:
        end(cron)
    assert Path(f"{output}.complete").read_text() == "through\n"
    assert re.search(r" lacks .*\n.* has the lines\n", said.read_text(), re.DOTALL), said.read_text()
    assert route.went_to(web[1])
