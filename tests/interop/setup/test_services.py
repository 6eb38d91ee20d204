"""What is started by others than a shell: systemd's services, cron's jobs, GNOME; and the lines for a shell's profile."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.peers.program import RUN_SECONDS, SCRIPT
from tests.peers.tools import NAME, Route, env, install, printed, ran

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
    """With a scope id in the address, whose % is a specifier to systemd; a test of the formats reads the value back."""
    (home / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    (home / "docker.service.d").mkdir()
    verify = ("systemd-analyze", "verify", "--man=no", str(home / "docker.service"))
    drop_in = home / "docker.service.d" / "proxy.conf"
    words = [SCRIPT, "setup", "docker-daemon", "-x", "http://[fe80::1%25eth0]:3128"]
    drop_in.write_text(subprocess.run(words, capture_output=True, text=True, env=env(home), timeout=RUN_SECONDS).stdout)
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
