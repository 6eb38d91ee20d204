"""Counts by rule: bounded, continued by the next worker, and read by another process."""

import os

import pytest

from tunnelctl.control.snapshot import RuleCount
from tunnelctl.server.observe.record import TunnelRecord
from tunnelctl.server.observe.tally import OTHER, SLOTS, WIDTH, RuleCounters, RuleTally, is_rule
from tunnelctl.server.policy.inspection import FirstBytes
from tunnelctl.server.policy.rules import INTERNAL, NO_ALLOW


def decide(tally: RuleTally, rule: str, status: int = 200, *reports: str) -> None:
    record = TunnelRecord("1", "1.1", "c")
    record.rule, record.reports = rule, reports
    tally.on_decision(record, status)


def test_what_is_counted() -> None:
    counters = RuleCounters(1)
    tally = counters.tally(0)
    decide(tally, "allow *:443")
    decide(tally, "allow *:443", 200, "report *:443", "report a:443")
    decide(tally, "deny bad.example:*", 403)
    decide(tally, NO_ALLOW, 403)
    assert counters.totals() == {
        "allow *:443": (2, 0, 0),
        "report *:443": (0, 0, 1),
        "report a:443": (0, 0, 1),
        "deny bad.example:*": (0, 1, 0),
        NO_ALLOW: (0, 1, 0),
    }
    assert tally.counts() == [RuleCount("allow *:443", 2, 0), RuleCount("deny bad.example:*", 0, 1), RuleCount(NO_ALLOW, 0, 1)]


@pytest.mark.parametrize("rule", ["", "next proxy: it says allow *:443", "own listener", "the client left"])
def test_other_reasons_are_no_rules(rule: str) -> None:
    """Their number has no limit: some hold what a peer has sent."""
    counters = RuleCounters(1)
    decide(counters.tally(0), rule, 502)
    assert counters.totals() == {}
    assert is_rule(INTERNAL)


@pytest.mark.parametrize("cut_by", ["", "deny *:443 tls"])
def test_a_rule_on_what_a_tunnel_carries_decides_at_its_end(cut_by: str) -> None:
    counters = RuleCounters(1)
    record = TunnelRecord("1", "1.1", "c")
    tally = counters.tally(0)
    tally.on_end(record)
    assert counters.totals() == {}
    record.seen = FirstBytes("TLS", "", cut_by, ("report *:443 sni",))
    tally.on_end(record)
    assert counters.totals() == {"report *:443 sni": (0, 0, 1)} | ({cut_by: (0, 1, 0)} if cut_by else {})


def test_workers_are_summed_and_a_replacement_continues() -> None:
    counters = RuleCounters(2)
    decide(counters.tally(0), "allow a:1")
    decide(counters.tally(1), "allow b:1")
    decide(counters.tally(1), "allow a:1")
    again = counters.tally(1)
    decide(again, "allow c:1")
    decide(again, "allow b:1")
    assert counters.totals() == {"allow a:1": (2, 0, 0), "allow b:1": (2, 0, 0), "allow c:1": (1, 0, 0)}


def test_another_process_reads_them() -> None:
    counters = RuleCounters(2)
    child = os.fork()
    if not child:
        decide(counters.tally(1), "allow näher.example:1")
        os._exit(0)
    os.waitpid(child, 0)
    assert counters.totals() == {"allow näher.example:1": (1, 0, 0)}


def test_the_number_of_rules_is_bounded() -> None:
    counters = RuleCounters(1)
    tally = counters.tally(0)
    for number in range(SLOTS + 100):
        decide(tally, f"allow host{number}:1")
    totals = counters.totals()
    assert len(totals) == SLOTS
    assert totals[OTHER] == (101, 0, 0)
    again = counters.tally(0)
    decide(again, "allow host0:1")
    decide(again, "allow late:1")
    assert (counters.totals()["allow host0:1"], counters.totals()[OTHER]) == ((2, 0, 0), (102, 0, 0))


def test_a_long_text_is_cut_between_characters() -> None:
    counters = RuleCounters(1)
    tally = counters.tally(0)
    rule = "allow " + "ä" * WIDTH
    decide(tally, rule)
    decide(tally, rule)
    decide(tally, rule + "b")
    ((shown, counts),) = counters.totals().items()
    assert rule.startswith(shown)
    assert (len(shown.encode()), counts) == (WIDTH - 2, (3, 0, 0))
    decide(counters.tally(0), rule)
    assert counters.totals() == {shown: (4, 0, 0)}
