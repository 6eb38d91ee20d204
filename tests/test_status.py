"""The exit statuses: one table of numbers that scripts rely on."""

from tunnelctl.status import ExitStatus


def test_the_numbers_of_the_statuses_never_change():
    assert {status.name: int(status) for status in ExitStatus} == {
        "OK": 0, "USAGE": 2, "NAME_NOT_FOUND": 68, "REFUSED": 69, "FAULT": 70, "CANNOT_LISTEN": 71, "BROKEN": 74,
        "UNREACHABLE": 75, "MALFORMED": 76, "AUTHENTICATION": 77, "SETTINGS": 78,
        "CANNOT_RUN": 126, "COMMAND_NOT_FOUND": 127,
    }  # fmt: skip


def test_no_status_looks_like_a_signal():
    assert max(ExitStatus) < 128


def test_the_meanings_have_one_form():
    for status in ExitStatus:
        assert status.meaning
        assert not status.meaning.endswith(".")
        assert status.meaning.isascii()
