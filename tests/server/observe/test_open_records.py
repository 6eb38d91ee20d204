"""Interim records of tunnels that stay open."""

from time import monotonic

from tests.peers.process import wait_until
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import SECONDS, Proxy
from tunnelctl.server.observe.open_records import OpenTunnelReporter
from tunnelctl.server.observe.record import TunnelRecord


class Log:
    def __init__(self) -> None:
        self.written: list[str] = []

    def interim(self, account: TunnelRecord, seconds: float) -> None:
        self.written.append(account.tunnel)


def open_since(seconds: float, moved: tuple[int, int] = (0, 0)) -> TunnelRecord:
    account = TunnelRecord("1", "1", "c")
    account.opened, account.moved = monotonic() - seconds, moved
    return account


def test_an_interim_record_is_written_every_n_seconds() -> None:
    log, account = Log(), open_since(0.0)
    interim = OpenTunnelReporter(log, {"1": account}, 60.0, 0)  # type: ignore[arg-type]
    interim.tick()
    assert log.written == []
    account.opened -= 61
    interim = OpenTunnelReporter(log, {"1": account}, 60.0, 0)  # type: ignore[arg-type]
    for _ in range(3):
        interim.tick()
    assert log.written == ["1"]
    interim._noted["1"] = monotonic() - 61, 0
    interim.tick()
    assert log.written == ["1", "1"]


def test_an_interim_record_is_written_every_n_bytes_of_both_directions() -> None:
    log, account = Log(), open_since(0.0, (60, 39))
    interim = OpenTunnelReporter(log, {"1": account}, 0.0, 100)  # type: ignore[arg-type]
    interim.tick()
    assert log.written == []
    account.moved = (60, 40)
    for _ in range(3):
        interim.tick()
    assert log.written == ["1"]
    account.moved = (1000, 0)
    interim.tick()
    assert log.written == ["1", "1"]


def test_closed_tunnels_are_forgotten() -> None:
    accounts = {"1": open_since(1.0)}
    interim = OpenTunnelReporter(Log(), accounts, 0.5, 0)  # type: ignore[arg-type]
    interim.tick()
    del accounts["1"]
    interim.tick()
    assert interim._noted == {}


def test_an_open_tunnel_gets_an_interim_record_in_the_log(monkeypatch) -> None:
    from tunnelctl.server import serve

    monkeypatch.setattr(serve, "TICK_SECONDS", 0.01)
    with ScriptedServer(echo) as target, Proxy(log_bytes=1000) as proxy, proxy.tunnel(target.authority) as client:
        client.echoes(b"x" * 600)
        wait_until(lambda: len(proxy.records()) == 2, SECONDS, "the record")
        decision, goes_on = proxy.records()
        assert (goes_on["event"], goes_on["tunnel"], goes_on["sent"], goes_on["received"]) == (
            "interim",
            decision["tunnel"],
            600,
            600,
        )
