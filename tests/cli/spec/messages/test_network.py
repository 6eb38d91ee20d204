"""Messages of connections, proxies and tunnels."""

from tunnelctl.cli.spec.messages.network import NETWORK
from tunnelctl.status import ExitStatus


def test_they_have_the_statuses_in_between():
    statuses = {ExitStatus.NAME_NOT_FOUND, ExitStatus.REFUSED, ExitStatus.FAULT, ExitStatus.CANNOT_LISTEN, ExitStatus.BROKEN}
    assert {message.kind.status for message in NETWORK} == statuses | {ExitStatus.UNREACHABLE, ExitStatus.MALFORMED}
