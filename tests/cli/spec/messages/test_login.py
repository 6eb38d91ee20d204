"""Messages about logins and TLS."""

from tunnelctl.cli.spec.messages.login import LOGIN
from tunnelctl.status import ExitStatus


def test_messages_about_logins_have_the_status_authentication():
    assert {message.kind.exit_status for message in LOGIN} == {ExitStatus.AUTHENTICATION}
