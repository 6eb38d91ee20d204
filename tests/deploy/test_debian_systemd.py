"""The Debian package on a machine with systemd: its units."""

from collections.abc import Iterator

import pytest

from tests.deploy.debian import SUCCESSOR, USER, Machine, Tree, allow, booted, copied

SECONDS = 60.0
SYSTEMD = ("systemd-sysv", "dbus", "libpam-systemd")
EXPOSURE = 20  # tenths of the scale of systemd-analyze: 0 is full protection

pytestmark = pytest.mark.artefact


@pytest.fixture(scope="module")
def machine(installed: Tree, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the package, and with a target on port 7 that echoes. Tests leave its units stopped."""
    with copied(installed.root, tmp_path_factory.mktemp("machine")) as tree:
        tree.install(*SYSTEMD)
        allow(tree, "127.0.0.1:7")
        units = tree.root / "etc/systemd/system"
        (units / "echo.socket").write_text("[Socket]\nListenStream=127.0.0.1:7\nAccept=yes\n[Install]\nWantedBy=sockets.target\n")
        (units / "echo@.service").write_text("[Service]\nExecStart=/bin/cat\nStandardInput=socket\n")
        tree.run("systemctl enable echo.socket")
        with booted(tree) as machine:
            yield machine


# A client of the local port of the profile below.
THROUGH = """
import socket
with socket.create_connection(("127.0.0.1", 8007)) as client:
    client.sendall(b"x")
    print(client.recv(9).decode(), end="")
"""
ASK = "exec timeout 20 tunnelctl connect -x http://127.0.0.1:3128 127.0.0.1 7"
ACTIVE = "systemctl is-active tunnelctl.socket tunnelctl.service || true"
MAIN = "systemctl show -p MainPID --value tunnelctl"


def test_systemd_accepts_the_units_and_rates_the_service_as_protected(machine: Machine) -> None:
    done = machine.run("systemd-analyze verify --man=no tunnelctl.socket tunnelctl.service tunnelctl-standalone.service")
    assert (done.stdout, done.stderr) == ("", "")
    done = machine.run("XDG_RUNTIME_DIR=/run HOME=/root systemd-analyze verify --user --man=no tunnelctl-forward@work.service")
    assert "tunnelctl" not in done.stderr
    machine.run(f"systemd-analyze security --threshold={EXPOSURE} tunnelctl.service")
    machine.run(f"systemd-analyze security --threshold={EXPOSURE} systemd-logind.service", status=1)  # shows that it can fail


def test_systemd_starts_the_service_on_the_first_connection_reloads_and_stops_it(machine: Machine) -> None:
    assert machine.run(ACTIVE).stdout.split() == ["inactive", "inactive"]  # as it was installed
    machine.run("systemctl enable --now tunnelctl.socket")
    assert machine.run(ACTIVE).stdout.split() == ["active", "inactive"]
    assert machine.run(ASK, stdin="through the proxy").stdout == "through the proxy"
    before = machine.run(MAIN).stdout
    machine.run("systemctl reload tunnelctl")
    assert (machine.run(MAIN).stdout, machine.run(ACTIVE).stdout.split()) == (before, ["active", "active"])
    assert "the policy was read again: 2 rules" in machine.run("journalctl --no-pager -u tunnelctl").stdout
    status = f"su -s /bin/sh {USER} -c 'XDG_RUNTIME_DIR=/run/tunnelctl tunnelctl status'"
    assert "serve  serve" in machine.run(status).stdout
    assert machine.run("exec timeout 20 python3 -", stdin=HEALTH).stdout == "HTTP/1.1 200\n"
    machine.run("systemctl stop tunnelctl.socket tunnelctl.service")
    assert machine.run("systemctl show -p Result --value tunnelctl.service").stdout == "success\n"


def test_the_standalone_service_opens_the_port_itself(machine: Machine) -> None:
    """In place of the socket, which it closes."""
    units = "tunnelctl.socket tunnelctl.service tunnelctl-standalone.service"
    machine.run("systemctl restart tunnelctl.socket")
    machine.run(ASK, stdin="1")
    machine.run("systemctl enable --now tunnelctl-standalone")
    assert machine.run(f"systemctl is-active {units} || true").stdout.split() == ["inactive", "inactive", "active"]
    assert machine.run(ASK, stdin="through the proxy").stdout == "through the proxy"
    machine.run("systemctl reload tunnelctl-standalone")
    machine.run("systemctl disable --now tunnelctl-standalone")
    assert machine.run("systemctl show -p Result --value tunnelctl-standalone").stdout == "success\n"


# What curl would do.
HEALTH = """
import socket
with socket.socket(socket.AF_UNIX) as client:
    client.connect("/run/tunnelctl/admin")
    client.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    print(client.recv(12).decode())
"""


def test_the_log_is_rotated(machine: Machine) -> None:
    machine.run("systemctl restart tunnelctl.socket")
    machine.run(ASK, stdin="1")
    machine.run("logrotate --force /etc/logrotate.d/tunnelctl")
    machine.run(ASK, stdin="2")
    machine.run("systemctl stop tunnelctl.socket tunnelctl.service")
    opened = machine.run("cd /var/log/tunnelctl && grep -c opened access.json.1 access.json").stdout.split()
    assert opened[-1] == "access.json:1"
    assert machine.run("stat -c '%A %U' /var/log/tunnelctl/access.json").stdout == f"-rw-r----- {USER}\n"


def test_the_unit_of_a_user_opens_the_ports_of_a_profile(machine: Machine) -> None:
    machine.run("systemctl restart tunnelctl.socket && useradd -m -s /bin/sh bob && loginctl enable-linger bob")
    settings = '[profiles.work]\nproxy = "http://127.0.0.1:3128"\nlocal = "8007:127.0.0.1:7"\n'
    machine.run("su bob -c 'mkdir -p ~/.config/tunnelctl && cat >~/.config/tunnelctl/config.toml'", stdin=settings)

    def of_bob(*words: str) -> str:
        return machine.run(f"su bob -c 'XDG_RUNTIME_DIR=/run/user/$(id -u) {' '.join(words)}'").stdout

    machine.run("systemctl start user@$(id -u bob)")
    of_bob("systemctl --user enable --now tunnelctl-forward@work")
    assert machine.run("exec timeout 20 python3 -", stdin=THROUGH).stdout == "x"
    of_bob("systemctl --user reload tunnelctl-forward@work")
    assert "work  forward" in of_bob("tunnelctl status")
    of_bob("systemctl --user disable --now tunnelctl-forward@work")
    machine.run("systemctl stop tunnelctl.socket tunnelctl.service")


def test_an_upgrade_restarts_what_runs_and_a_removal_stops_it(machine: Machine) -> None:
    """The socket stays open meanwhile, and who was enabled stays so."""
    machine.run("systemctl enable --now tunnelctl.socket")
    machine.run(ASK, stdin="before")
    before = machine.run(MAIN).stdout
    machine.run(SUCCESSOR)
    machine.run("dpkg --force-confold -i /srv/new.deb", seconds=SECONDS * 2)
    assert machine.run(MAIN).stdout not in (before, "0\n")
    assert machine.run("systemctl is-enabled tunnelctl.socket").stdout == "enabled\n"
    assert machine.run(ASK, stdin="after").stdout == "after"
    machine.run("dpkg -r tunnelctl")
    assert machine.run(ACTIVE).stdout.split() == ["inactive", "inactive"]
    machine.run("dpkg -P tunnelctl")
    assert machine.run("find /etc/systemd /var/lib/systemd -name 'tunnelctl*'").stdout == ""
