"""A local port that requires no login, and serves only processes of the same user.

It is for programs that cannot log in to a proxy: a JVM knows its proxy by system properties, and none of them is for a login. Any
local user can connect to a port on loopback, so each connection is examined before a byte of it is read.
"""

from __future__ import annotations

import os
import socket

from tunnelctl import events
from tunnelctl.events import Trace
from tunnelctl.stream.accept import Serve
from tunnelctl.stream.tcp_owner import TCPOwners


def for_same_user(serve: Serve, port: str, trace: Trace) -> Serve:
    """Returns a function that serves connections of this user, and closes all others with a warning. port: its address"""
    owners = TCPOwners()

    async def session(accepted: socket.SocketType, host: str, client: str) -> None:
        uid = None
        try:
            uid = await owners.uid_of_peer(accepted)
        finally:
            if uid != os.geteuid():
                accepted.close()
        if uid == os.geteuid():
            await serve(accepted, host, client)
        else:
            whose = "its owner is unknown" if uid is None else f"it belongs to user id {uid}, and the port is for {os.geteuid()}"
            trace(events.Warning(f"closed the connection from {client} to {port}: {whose}"))

    return session
