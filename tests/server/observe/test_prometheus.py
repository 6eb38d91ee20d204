"""The Prometheus text format, as the parser of prometheus-client reads it."""

import platform

from prometheus_client.parser import text_string_to_metric_families

from tunnelctl import __version__
from tunnelctl.server.observe.metrics import ALL, BUCKETS, Metrics, SharedCounters
from tunnelctl.server.observe.prometheus import Program, render
from tunnelctl.server.observe.record import DRAINED, TunnelRecord

PROGRAM = Program(1_700_000_000.5, 1_900_000_000.0, most_tunnels=500)


def read(board: SharedCounters, program: Program = PROGRAM) -> dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]]:
    families = text_string_to_metric_families(render(board, program).decode())
    return {
        family.name: {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in family.samples}
        for family in families
    }


def test_every_family_is_rendered_with_its_type() -> None:
    found = {family.name: family.type for family in text_string_to_metric_families(render(SharedCounters(1), PROGRAM).decode())}
    assert found == {family.name: family.kind for family in ALL}


def test_counters_and_histograms_are_summed_over_workers() -> None:
    board = SharedCounters(2)
    for row, seconds in zip(board.rows, (0.002, 70.0), strict=True):
        metrics, account = Metrics(row), TunnelRecord("1", "1.1", "c")
        account.phases, account.moved = [("connect", seconds)], (5, 6)
        metrics.on_decision(account, 200, "")
        metrics.on_end(account, DRAINED)
    found = read(board)
    assert found["tunnelctl_requests"] == {("tunnelctl_requests_total", (("error", ""), ("status", "200"))): 2}
    assert found["tunnelctl_closed"] == {("tunnelctl_closed_total", (("cause", "drained"), ("closed_by", "tunnelctl"))): 2}
    assert found["tunnelctl_bytes"]["tunnelctl_bytes_total", (("direction", "received"),)] == 12
    setup = found["tunnelctl_setup_seconds"]
    labels = (("outcome", "opened"), ("phase", "connect"))
    assert setup["tunnelctl_setup_seconds_count", labels] == 2
    assert setup["tunnelctl_setup_seconds_sum", labels] == 70.002
    reached = [value for (name, _), value in setup.items() if name.endswith("_bucket")]
    assert reached == [float(bound >= 0.0025) for bound in BUCKETS] + [2]


def test_versions_and_times() -> None:
    found = read(SharedCounters(1))
    labels = (("python", platform.python_version()), ("version", __version__))
    assert found["tunnelctl_build_info"] == {("tunnelctl_build_info", labels): 1}
    assert found["process_start_time_seconds"] == {("process_start_time_seconds", ()): 1_700_000_000.5}
    name = "tunnelctl_certificate_expiration_timestamp_seconds"
    assert found[name] == {(name, ()): 1_900_000_000}


def test_without_tls_and_without_a_cap_there_are_no_values_of_them() -> None:
    without = render(SharedCounters(1), Program(1.0))
    assert b"certificate_expiration" not in without
    assert b"max_tunnels" not in without


def test_the_states_of_the_program() -> None:
    found = read(SharedCounters(1), Program(1.0, draining=True, reloaded=False))
    assert found["tunnelctl_draining"] == {("tunnelctl_draining", ()): 1}
    assert found["tunnelctl_last_reload_successful"] == {("tunnelctl_last_reload_successful", ()): 0}
    usual = read(SharedCounters(1))
    assert usual["tunnelctl_draining"] == {("tunnelctl_draining", ()): 0}
    assert usual["tunnelctl_last_reload_successful"] == {("tunnelctl_last_reload_successful", ()): 1}
    assert usual["tunnelctl_max_tunnels"] == {("tunnelctl_max_tunnels", ()): 500}


def test_v55_rules_are_counted_over_workers_with_any_text() -> None:
    board = SharedCounters(2)
    for number, status in ((0, 200), (1, 200), (1, 403)):
        account = TunnelRecord("1", "1.1", "c")
        account.rule, account.reports = 'allow *:443 user="a\\b"', ("report *:443",) if number else ()
        board.rules.tally(number).on_decision(account, status)
    name, rule = "tunnelctl_rule_decisions_total", ("rule", 'allow *:443 user="a\\b"')
    assert read(board)["tunnelctl_rule_decisions"] == {
        (name, (rule, ("verdict", "granted"))): 2,
        (name, (rule, ("verdict", "refused"))): 1,
        (name, (("rule", "report *:443"), ("verdict", "reported"))): 2,
    }
