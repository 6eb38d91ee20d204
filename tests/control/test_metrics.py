"""The metrics of a program that counts no more than its status shows."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.control.facts import RECENT, STATUS
from tests.control.samples import HOSTILE
from tunnelctl.control.metrics import KIND, render
from tunnelctl.control.pages import PROMETHEUS
from tunnelctl.control.snapshot import RefusalCount
from tunnelctl.server.observe.metrics import BUILD, FAMILIES, STARTED


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    found = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    labels = lambda sample: (value for name, value in sorted(sample.labels.items()) if name != "python")  # noqa: E731
    return {(sample.name, *labels(sample)): sample.value for sample in found}


def test_the_numbers_are_those_of_the_status() -> None:
    recent = RECENT._replace(refusals=[*RECENT.refusals, RECENT.refusals[0]._replace(rule="*:22"), RefusalCount(0, "", "", 2, 1.0)])
    assert samples(render(STATUS, recent)) == {
        ("tunnelctl_connections",): 3,
        ("tunnelctl_tunnels",): 2,
        ("tunnelctl_bytes_total", "sent"): 4,
        ("tunnelctl_bytes_total", "received"): 5,
        ("tunnelctl_failures_total", "destination_ip_prohibited", "403"): 18,
        ("tunnelctl_failures_total", "", ""): 2,
        ("tunnelctl_failed_logins_total",): 4,
        ("tunnelctl_build_info", "0.1.0"): 1,
        ("process_start_time_seconds",): 1.5,
    }


def test_names_and_help_are_those_of_serve() -> None:
    text = render(STATUS, RECENT).decode()
    for family in (*FAMILIES, BUILD, STARTED):
        if f"# HELP {family.name}" in text:
            assert f" {family.help}\n" in text, family.name


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.isascii()])
def test_v55_a_text_of_a_peer_is_one_label(text: str) -> None:
    """A quote, a backslash or a line break in it begins no other sample."""
    found = samples(render(STATUS, RECENT._replace(refusals=[RefusalCount(403, text, text, 7, 1.0)])))
    assert found["tunnelctl_failures_total", text, "403"] == 7
    assert len(found) == len(samples(render(STATUS, RECENT)))


def test_the_media_type_is_that_of_the_library() -> None:
    assert KIND == PROMETHEUS
