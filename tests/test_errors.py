"""The exception tree: every leaf has its status, and every status but success has its leaf."""

import pytest

from tunnelctl import errors
from tunnelctl.errors import TunnelctlError
from tunnelctl.status import ExitStatus

TREE = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, TunnelctlError)]


def test_every_status_is_somebodys():
    """70 is the root's own: no leaf stands for a fault, which is an ordinary exception."""
    assert {error.status for error in TREE} == set(ExitStatus) - {ExitStatus.OK}
    assert [error for error in TREE if error.status == ExitStatus.FAULT] == [TunnelctlError]


def test_the_drawing_in_the_module_is_complete():
    assert all(f" {error.__name__} " in errors.__doc__ or error is TunnelctlError for error in TREE)


@pytest.mark.parametrize("error", TREE)
def test_prose_and_fields_agree(error):
    failure = error("what", "cause", "hint", code=403, text=None)
    assert str(failure) == "what: cause"
    assert (failure.what, failure.cause, failure.hint) == ("what", "cause", "hint")
    assert failure.detail == {"code": 403, "text": None}


def test_a_hint_is_optional():
    assert TunnelctlError("what", "cause").hint == ""
