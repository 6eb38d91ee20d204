"""The metrics: what each counts, and that no sum decreases when a worker dies."""

import pytest

from tests.client.harness import TraceLog
from tunnelctl.events import SIDES
from tunnelctl.proto import refusal
from tunnelctl.proto.refusal import REASONS, Refusal, auth_required
from tunnelctl.server.observe.metrics import BUCKETS, FAMILIES, Family, Metrics, SharedCounters
from tunnelctl.server.observe.record import DRAINED, TunnelRecord
from tunnelctl.server.observe.recorder import Recorder
from tunnelctl.stream.accept import ConnectionCount
from tunnelctl.stream.relay import Outcome

FAMILY = {family.name: family for family in FAMILIES}


def numbers(board: SharedCounters, name: str) -> dict[tuple[str, ...], list[float]]:
    return dict(board.samples(FAMILY[f"tunnelctl_{name}"]))


def counted(board: SharedCounters, name: str) -> dict[tuple[str, ...], float]:
    return {labels: value for labels, (value,) in numbers(board, name).items()}


def account(*phases: tuple[str, float], moved: tuple[int, int] = (0, 0), session: str = "1") -> TunnelRecord:
    one = TunnelRecord(session, f"{session}.1", "c")
    one.phases, one.moved = list(phases), moved
    return one


def test_decisions_are_counted_by_status_and_error() -> None:
    board = SharedCounters(1)
    metrics = Metrics(board.rows[0])
    for status, error in ((200, ""), (200, ""), (403, "http_request_denied")):
        metrics.on_decision(account(), status, error)
    assert counted(board, "requests") == {("200", ""): 2, ("403", "http_request_denied"): 1}


def test_failed_logins_are_counted_without_requests_for_a_login() -> None:
    board = SharedCounters(1)
    metrics = Metrics(board.rows[0])
    for answer in (
        auth_required(),
        auth_required((), refusal.STALE_CREDENTIALS),
        auth_required((), "wrong"),
        refusal.request_denied(),
    ):
        metrics.on_decision(account(), answer.status, answer.error, answer.details)
    assert counted(board, "failed_logins") == {(): 1}


def test_values_without_a_place_are_counted_as_other() -> None:
    board = SharedCounters(1)
    metrics = Metrics(board.rows[0])
    metrics.on_decision(account(("unheard of", 1.0)), 299, "unheard of")
    metrics.on_end(account(), DRAINED._replace(cause="unheard of"))
    assert counted(board, "requests") == {("other", "other"): 1}
    assert counted(board, "closed") == {("tunnelctl", "other"): 1}
    assert list(numbers(board, "setup_seconds")) == [("other", "refused")]


def test_every_refusal_has_a_place_of_its_own() -> None:
    makers = [make for make in vars(refusal).values() if getattr(make, "__annotations__", {}).get("return") is Refusal]
    made = [make() for make in makers if not taken(make)]
    assert len(made) > 10
    board = SharedCounters(1)
    metrics = Metrics(board.rows[0])
    for answer in made:
        metrics.on_decision(account(), answer.status, answer.error)
    assert not [labels for labels in counted(board, "requests") if "other" in labels]
    assert set(map(str, REASONS)) <= set(FAMILY["tunnelctl_requests"].values[0])


def taken(make: object) -> bool:
    """Whether a function that creates refusals has required arguments."""
    code, defaults = make.__code__, make.__defaults__ or ()  # type: ignore[attr-defined]
    return code.co_argcount > len(defaults)


def test_ends_are_counted_by_side_and_cause() -> None:
    board = SharedCounters(1)
    metrics = Metrics(board.rows[0])
    for side in SIDES:
        metrics.on_end(account(), Outcome(0, 0, side, "eof", None))
    assert counted(board, "closed") == {(side, "eof"): 1 for side in ("client", "target", "tunnelctl")}


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "opened"), (403, "refused"), (407, "refused"), (502, "failed"), (504, "failed")]
)
def test_the_time_of_each_phase_is_in_the_histogram_of_its_outcome(status: int, outcome: str) -> None:
    board = SharedCounters(1)
    Metrics(board.rows[0]).on_decision(account(("head", 0.002), ("connect", 100.0)), status, "")
    found = numbers(board, "setup_seconds")
    assert set(found) == {("head", outcome), ("connect", outcome)}
    *counts, rest, total = found["head", outcome]
    assert counts == [float(bound == 0.0025) for bound in BUCKETS]
    assert (rest, total) == (0, pytest.approx(0.002))
    *counts, rest, total = found["connect", outcome]
    assert (sum(counts), rest, total) == (0, 1, 100)


def test_a_value_on_a_bound_falls_into_its_bucket() -> None:
    board = SharedCounters(1)
    Metrics(board.rows[0]).on_decision(account(*(("connect", bound) for bound in BUCKETS)), 200, "")
    *counts, rest, _ = numbers(board, "setup_seconds")["connect", "opened"]
    assert (counts, rest) == ([1.0] * len(BUCKETS), 0)


def test_bytes_are_counted_once_between_refresh_and_end() -> None:
    board, books = SharedCounters(1), Recorder(None, TraceLog())
    metrics = Metrics(board.rows[0])
    one = account(moved=(10, 20))
    books.open["1"] = one
    for _ in range(3):
        metrics.refresh(ConnectionCount(), 0, books.open.values(), books.lost)
    assert counted(board, "bytes") == {("sent",): 10, ("received",): 20}
    one.moved = (11, 22)
    metrics.on_end(one, DRAINED)
    metrics.on_end(account(moved=(100, 200), session="2"), DRAINED)
    assert counted(board, "bytes") == {("sent",): 111, ("received",): 222}
    assert metrics._counted == {}


def test_gauges_lost_records_and_failures_to_accept() -> None:
    board, counts = SharedCounters(1), ConnectionCount()
    metrics = Metrics(board.rows[0])

    class Log:
        dropped = 3

    books = Recorder(Log(), TraceLog())  # type: ignore[arg-type]
    counts.enter()
    counts.tunnels, counts.accept_failures = 3, 4
    for _ in range(2):
        metrics.refresh(counts, 2, books.open.values(), books.lost)
    gauges = [counted(board, name)[()] for name in ("connections", "tunnels", "dials", "log_records_lost", "accept_failures")]
    assert gauges == [1, 3, 2, 3, 4]


def test_a_new_worker_continues_the_counters_of_the_old_one() -> None:
    board, counts = SharedCounters(2), ConnectionCount()
    first, second = Metrics(board.rows[0]), Metrics(board.rows[1])
    counts.enter()
    for metrics in (first, second):
        metrics.on_decision(account(), 200, "")
        metrics.refresh(counts, 0, (), 0)
    assert counted(board, "requests") == {("200", ""): 2}
    assert counted(board, "connections") == {(): 2}
    again = Metrics(board.rows[0])
    assert counted(board, "requests") == {("200", ""): 2}, "a decreasing sum would look like a restart of the server"
    assert counted(board, "connections") == {(): 1}, "the clients of the old worker are gone"
    again.on_decision(account(), 200, "")
    assert counted(board, "requests") == {("200", ""): 3}


def test_labelled_metrics_show_only_what_has_happened() -> None:
    board = SharedCounters(1)
    assert counted(board, "requests") == {}
    assert counted(board, "connections") == {(): 0}


def test_places_in_the_shared_row_do_not_overlap() -> None:
    from tunnelctl.server.observe.metrics import BEAT, PLACES

    used = [place + offset for name, places in PLACES.items() for place in places.values() for offset in range(FAMILY[name].width)]
    assert sorted(used) == list(range(BEAT))
    assert Family("x", "counter", "").combinations() == [()]
