"""A fleet of three machines behind each balancer, with the files and the command of docs/fleet.md.

Under load, machines are restarted and killed: no new tunnel is lost, and Prometheus counts what the clients have counted. What
happens is in tests.deploy.fleet.scenes. The rates are shown, and never judged.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.fleet import network
from tests.deploy.fleet.load import CLIENTS

pytestmark = [
    pytest.mark.artefact,
    pytest.mark.linux("network namespaces"),
    pytest.mark.peer("haproxy", "envoy", "unshare", "mount", "ip"),
]
BALANCERS = ("haproxy", "envoy")

Play = Callable[..., dict[str, Any]]


@pytest.fixture
def play() -> Play:
    if not network.available():
        pytest.skip("network namespaces are not available here: they require root")

    def run(scene: str, balancer: str) -> dict[str, Any]:
        done = network.run("tests.deploy.fleet.scenes", scene, balancer)
        print(done.stderr)
        assert done.returncode == 0
        counts: dict[str, Any] = json.loads(done.stdout)
        return counts

    return run


@pytest.mark.peer("prometheus")
def test_prometheus_sums_what_the_clients_have_counted(play: Play) -> None:
    counts = play("count", "haproxy")
    assert counts["failures"] == []
    assert counts["opened"] >= 1000
    assert counts["prometheus"] == counts["opened"]
    assert set(counts["up"].values()) == {1.0}
    by_machine = {instance.partition(":")[0]: int(value) for instance, value in counts["by_instance"].items()}
    assert by_machine == counts["logged"]
    assert set(by_machine) == set(network.MACHINES)
    assert min(by_machine.values()) > counts["opened"] / 6, "the balancer must use all machines"
    assert counts["balancer"] >= counts["opened"], "the balancer's own counters must be there"
    assert counts["clients"] == [network.CLIENT], "the log must have the address of the client, not of the balancer"


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_rolling_restart_loses_no_tunnel(balancer: str, play: Play) -> None:
    counts = play("roll", balancer)
    assert counts["failures"] == []
    assert counts["attempts"] > 300
    assert counts["over_drain"] > 0, "some tunnels must be open while their machine drains"
    assert counts["broken"] == []
    assert counts["bytes"] > 0
    assert counts["statuses"] == [0, 0, 0]
    assert counts["logged"] == counts["opened"]
    assert set(counts["causes"]) == {"eof"}


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_killed_process_takes_its_own_tunnels_with_it_and_no_new_one(balancer: str, play: Play) -> None:
    counts = play("kill", balancer)
    assert counts["lost_before"] == []
    assert counts["lost_after"] == []
    assert counts["after"] > 300
    assert len(counts["cut"]) <= CLIENTS, "each client has at most one tunnel in the process that is killed"
    assert counts["there"]
    assert counts["broken"] == counts["there"]
    assert len(counts["there"]) < counts["lasting"]


# HAProxy has no setting for it: what the machine has reset, it closes.
@pytest.mark.parametrize(("balancer", "reset"), [("haproxy", "EOF"), ("envoy", "reset")])
def test_the_ends_of_a_tunnel_are_passed_on(balancer: str, reset: str, play: Play) -> None:
    assert play("ends", balancer) == {"half_closed": "cba", "reset_by_client": "reset", "reset_by_target": reset}


def test_logins_by_digest_require_that_a_client_stays_with_one_machine(play: Play) -> None:
    statuses = play("login", "haproxy")
    assert 77 in statuses["as it is"], "it works: docs/fleet.md must no longer say that it does not"
    assert set(statuses["by source"]) == {0}


def test_envoy_too_can_keep_a_client_with_one_machine(play: Play) -> None:
    assert set(play("login", "envoy")["by source"]) == {0}


@pytest.mark.peer("cc")
@pytest.mark.parametrize("balancer", BALANCERS)
def test_rates(balancer: str, play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    found = play("rates", balancer)
    assert list(found) == ["direct", "1", "2", "3"]
    with capsys.disabled():
        print(f"\n{table(balancer, found)}", file=sys.stderr)  # of a worker of pytest-xdist, only this output is shown


COLUMNS = {
    "tunnels": ("tunnels/s", "µs in serve", "in the balancer"),
    "limited": ("tunnels/s at a tenth of a processor", "µs in serve", "in the balancer"),
    "bulk": ("GiB/s", "s a GiB in serve", "in the balancer"),
    "idle": ("", "KiB an idle one in serve", "in the balancer"),
}


def table(balancer: str, found: dict[str, dict[str, list[float]]]) -> str:
    """Formats the costs: see tests.deploy.fleet.costs."""
    lines = []
    for machines, costs in found.items():
        for name, figures in costs.items():
            texts = [
                f"{figure:,.{0 if figure >= 100 else 2}f} {unit}"
                for figure, unit in zip(figures, COLUMNS[name], strict=True)
                if figure
            ]
            lines.append(f"{balancer}, {machines}: {', '.join(texts)}")
    return "\n".join(lines)
