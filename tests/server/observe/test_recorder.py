"""What is recorded of a connection, and where it is reported."""

from tests.client.harness import TraceLog
from tunnelctl.server.observe.record import CUT, DRAINED, GONE, TunnelRecord
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.server.observe.tally import RuleCounters
from tunnelctl.server.policy.inspection import FirstBytes


def test_phases_are_consecutive_and_their_times_add_up() -> None:
    account = TunnelRecord("1", "1.1", "c")
    begun = account.since
    for phase in ("dns", "connect", "answer"):
        account.enter(phase)
    assert account.phase == "answer"
    assert [phase for phase, _ in account.phases] == ["head", "dns", "connect"]
    assert abs(sum(seconds for _, seconds in account.phases) - (account.since - begun)) < 1e-9


def test_only_open_tunnels_are_kept() -> None:
    books, account, refused = Recorder(None, TraceLog()), TunnelRecord("1", "1.1", "c"), TunnelRecord("2", "2.1", "c")
    books.on_decision(account, 200, "")
    books.on_decision(refused, 403, "http_request_denied")
    assert books.open == {"1.1": account}
    assert (account.phase, refused.phases[-1][0]) == ("answer", "head")
    assert account.phases == [], "phases must not be kept after the decision"
    books.on_end(account, GONE)
    assert books.open == {}


def test_verbose_reports_the_opening_and_the_end() -> None:
    trace = TraceLog()
    books, account = Recorder(None, trace, verbose=True), TunnelRecord("1", "1.1", "c")
    account.target = "t:1"
    books.on_decision(account, 200, "")
    account.moved = (3, 4)
    books.on_end(account, DRAINED)
    (opened,), (closed,) = trace.named("opened"), trace.named("closed")
    assert (opened["client"], opened["target"], opened["status"], list(opened["phases"])) == ("c", "t:1", 200, ["head"])
    assert [told["connection"] for told in (opened, closed)] == ["1", "1"]
    assert [told["tunnel"] for told in (opened, closed)] == ["1.1", "1.1"]
    assert (closed["sent"], closed["received"], closed["closed_by"], closed["cause"]) == (3, 4, "tunnelctl", "drained")


def test_verbose_reports_why_a_request_was_refused() -> None:
    trace = TraceLog()
    Recorder(None, trace, verbose=True).on_decision(
        TunnelRecord("1", "1.1", "c"), 400, "http_request_error", "malformed head: a lone LF"
    )
    (refused,) = trace.named("refused")
    assert (refused["error"], refused["details"]) == ("http_request_error", "malformed head: a lone LF")


def test_verbose_reports_what_a_tunnel_carried() -> None:
    trace = TraceLog()
    books, account = Recorder(None, trace, verbose=True), TunnelRecord("1", "1.1", "c")
    account.target = "t:1"
    books.on_decision(account, 200, "")
    account.seen = FirstBytes("TLS", "other", "allow *:1", ("report *:2",))
    books.on_end(account, CUT)
    (fields,) = trace.named("closed")
    found = {"seen": "TLS", "sni": "other", "cut_by": "allow *:1", "reports": ["report *:2"]}
    assert fields.items() >= {"client": "c", "target": "t:1", **found}.items()


def test_without_verbose_nothing_is_reported() -> None:
    trace = TraceLog()
    books, account = Recorder(None, trace), TunnelRecord("1", "1.1", "c")
    books.on_decision(account, 200, "")
    books.on_end(account, DRAINED)
    assert trace.events == []


def test_rules_are_tallied_at_the_decision_and_at_the_end() -> None:
    counters = RuleCounters(1)
    books, account = Recorder(None, TraceLog(), tally=counters.tally(0)), TunnelRecord("1", "1.1", "c")
    account.rule, account.reports = "allow *:1", ("report *:1",)
    books.on_decision(account, 200, "")
    account.seen = FirstBytes("TLS", "other", "deny *:1 tls", ())
    books.on_end(account, CUT)
    assert counters.totals() == {"allow *:1": (1, 0, 0), "report *:1": (0, 0, 1), "deny *:1 tls": (0, 1, 0)}
