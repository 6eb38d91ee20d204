"""Messages about files and about the command of `run`."""

from tunnelctl.cli.spec.messages.files import FILES
from tunnelctl.status import ExitStatus


def test_messages_about_files_have_the_status_settings_or_cannot_run():
    assert {message.kind.exit_status for message in FILES} == {ExitStatus.SETTINGS, ExitStatus.CANNOT_RUN}
