"""Messages of the command line."""

from tunnelctl.cli.spec.messages.usage import USAGE
from tunnelctl.status import ExitStatus


def test_all_of_them_end_with_the_status_for_wrong_use():
    assert {message.kind.status for message in USAGE} == {ExitStatus.USAGE}
