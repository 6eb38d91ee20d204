"""Messages of files, and of the command of `run`."""

from tunnelctl.cli.spec.messages.files import FILES
from tunnelctl.status import ExitStatus


def test_they_have_the_status_for_settings_or_for_a_command_that_cannot_run():
    assert {message.kind.status for message in FILES} == {ExitStatus.SETTINGS, ExitStatus.CANNOT_RUN}
