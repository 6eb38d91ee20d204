"""Messages about the command line."""

from tunnelctl.cli.spec.messages.usage import USAGE
from tunnelctl.status import ExitStatus


def test_messages_about_usage_have_the_status_usage():
    assert {message.kind.exit_status for message in USAGE} == {ExitStatus.USAGE}
