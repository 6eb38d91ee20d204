"""The exception tree: every leaf has a status, and every status but success has a leaf."""

import pytest

from tunnelctl import errors
from tunnelctl.errors import TunnelctlError
from tunnelctl.status import ExitStatus

TREE = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, TunnelctlError)]


def test_every_failure_status_belongs_to_an_exception():
    """70 belongs to the root only: no leaf represents a fault, which is an ordinary exception."""
    assert {error.exit_status for error in TREE} == set(ExitStatus) - {ExitStatus.OK}
    assert [error for error in TREE if error.exit_status == ExitStatus.FAULT] == [TunnelctlError]


def test_the_tree_in_the_docstring_of_errors_is_complete():
    assert all(f" {error.__name__} " in errors.__doc__ or error is TunnelctlError for error in TREE)


@pytest.mark.parametrize("error", TREE)
def test_the_text_of_an_error_agrees_with_its_fields(error):
    failure = error("what", "cause", "code", detail={"code": 403, "text": None})
    assert str(failure) == "what: cause"
    assert (failure.what, failure.cause, failure.code) == ("what", "cause", "code")
    assert failure.detail == {"code": 403, "text": None}


def test_the_fields_for_hints_are_optional():
    error = TunnelctlError("what", "cause", "code")
    assert (error.option, error.inner, error.facts, error.detail) == ("", None, {}, {})


def test_an_error_about_an_option_begins_with_its_field():
    assert str(TunnelctlError("1.2.3.4", "cause", "code", option="admin")) == "admin 1.2.3.4: cause"
    assert str(TunnelctlError("", "cause", "code", option="admin")) == "admin: cause"


@pytest.mark.parametrize("error", TREE)
def test_within_changes_only_the_subject_of_an_error_and_adds_facts(error):
    inner = TunnelctlError("a", "b", "c")
    small = error("small", "cause", "code", option="x", inner=inner, facts={"one": 1}, detail={"code": 403})
    small.hop, small.may_speak_tls = 2, True
    large = small.within("large", two=2)
    assert (type(large), large.what, large.cause, large.code) == (error, "large", "cause", "code")
    assert (large.option, large.inner, large.facts, large.detail) == ("x", inner, {"one": 1, "two": 2}, {"code": 403})
    assert (large.hop, large.may_speak_tls) == (2, True)
    assert (small.what, small.facts) == ("small", {"one": 1})
