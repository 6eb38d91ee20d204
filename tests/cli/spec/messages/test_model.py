"""The declaration of a message."""

from tunnelctl.cli.spec.messages.model import Message, When, declare
from tunnelctl.errors import Refused


def test_a_message_may_have_one_text_or_several():
    when = When("fact", "hint")
    assert declare(Refused, "code", "a: b") == Message(Refused, "code", ("a: b",), ())
    assert declare(Refused, "code", ("a: b", "c: d"), when, "other") == Message(Refused, "code", ("a: b", "c: d"), (when, "other"))
