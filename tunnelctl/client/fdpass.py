"""Handover of the connected socket to ssh (ProxyUseFdpass): one NUL byte and one descriptor over stdout. Then this process ends."""

import os
import socket
import stat

from tunnelctl.errors import TunnelBroken, UsageProblem, reason
from tunnelctl.stream.socket_stream import SocketStream

STDOUT = 1


def require_socket() -> None:
    """Raises UsageProblem unless stdout can carry a descriptor. To be called before the proxy is contacted."""
    if stat.S_ISSOCK(os.fstat(STDOUT).st_mode):
        with socket.socket(fileno=os.dup(STDOUT)) as stdout:
            if stdout.family == socket.AF_UNIX:  # no other family carries descriptors
                return
    raise UsageProblem("", "stdout is not a unix socket", "stdout-no-socket", option="fdpass")


def pass_descriptor(stream: SocketStream) -> None:
    """Sends the stream's socket over stdout. No byte of the tunnel may have been read: it would be lost to the receiver."""
    tunnel = stream.detach()
    tunnel.setblocking(True)  # like a new socket; ssh sets the mode it requires
    stdout = socket.socket(fileno=os.dup(STDOUT))
    try:
        socket.send_fds(stdout, [b"\0"], [tunnel.fileno()])
    except OSError as error:
        raise TunnelBroken("cannot hand the connection over", reason(error), "fdpass-failed") from error
    finally:
        stdout.close()
        tunnel.close()
