"""Messages of logins and of TLS."""

from tunnelctl.cli.spec.messages.login import LOGIN
from tunnelctl.status import ExitStatus


def test_all_of_them_end_with_the_status_for_logins_and_certificates():
    assert {message.kind.status for message in LOGIN} == {ExitStatus.AUTHENTICATION}
