"""The records of a running program survive the way through JSON."""

import json

import pytest

from tests.control.facts import RECENT, STATUS, TUNNELS
from tunnelctl.control.snapshot import recent_from, status_from, to_json, tunnels_from


def test_records_are_the_same_after_json() -> None:
    assert status_from(json.loads(json.dumps(to_json(STATUS)))) == STATUS
    assert tunnels_from(json.loads(json.dumps(to_json(TUNNELS)))) == TUNNELS
    assert recent_from(json.loads(json.dumps(to_json(RECENT)))) == RECENT
    without = STATUS._replace(certificate=None)
    assert status_from(json.loads(json.dumps(to_json(without)))) == without


@pytest.mark.parametrize("read", [status_from, tunnels_from, recent_from])
def test_another_answer_is_an_error(read) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((KeyError, TypeError)):
        read({"tunnels": [{"other": 1}], "ended": [{}], "certificate": None, "listeners": [{}]})
