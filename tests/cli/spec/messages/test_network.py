"""Messages about connections, proxies and tunnels."""

from tunnelctl.cli.spec.messages.network import NETWORK
from tunnelctl.status import ExitStatus


def test_messages_about_the_network_have_its_statuses():
    statuses = {ExitStatus.NAME_NOT_FOUND, ExitStatus.REFUSED, ExitStatus.FAULT, ExitStatus.CANNOT_LISTEN, ExitStatus.BROKEN}
    assert {message.kind.exit_status for message in NETWORK} == statuses | {ExitStatus.UNREACHABLE, ExitStatus.MALFORMED}
