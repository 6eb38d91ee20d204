"""The control socket of a `forward`: beside the pages of its private endpoint, `connect --via` opens tunnels there.

It is a dynamic port that only processes of the same user can use: it is in a directory of mode 0700, and the uid of each client is
checked. So it requires no login. A CONNECT request is answered with 100 (Continue) at once, long before the proxies have granted
the tunnel: a client can tell a forward that hangs from a proxy that is slow. A tunnel that breaks ends with a reset, which unix
sockets do not have: see stream.unix_stream.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from tunnelctl.client.forward.session import LocalSession, Sessions
from tunnelctl.control.directory import is_same_user
from tunnelctl.control.endpoint import Endpoint
from tunnelctl.errors import Refused
from tunnelctl.proto.http1.render import CONTINUE
from tunnelctl.proto.local_port import CONNECT, PLAIN, LocalRequest
from tunnelctl.stream.accept import Serve
from tunnelctl.stream.unix_stream import UnixStream


def serving(shared: Sessions, endpoint: Endpoint) -> Serve:
    """Returns the function that serves a connection to the control socket."""

    async def session(accepted: socket.SocketType, host: str, client: str) -> None:
        if not is_same_user(accepted):
            accepted.close()
            return
        stream = UnixStream(accepted)
        stream.expect_marks()

        async def show(_: LocalSession, first: bytes) -> None:
            shared.queries += 1
            shared.looks += 1
            try:
                await endpoint.serve(stream, first)
            finally:
                shared.queries -= 1

        await ControlSession(shared, stream, host, client, None, None, show).run()

    return session


class ControlSession(LocalSession):
    """One connection to the control socket."""

    def check_limit(self) -> None:
        """Does nothing: a look at the program must succeed just when it has reached its limit."""

    async def answer(self, request: LocalRequest) -> None:
        if request.protocol != PLAIN:
            if self._shared.draining.is_set():
                raise Refused("this forward", "it is ending", "forward-ending")
            super().check_limit()
        if request.protocol == CONNECT:
            await self.stream.send_all(CONTINUE)
        self.clean = request.protocol == PLAIN
        await super().answer(request)

    def watch(self, ended: Callable[[], None], gone: Callable[[], None]) -> None:
        super().watch(ended, gone)
        self.stream.on_broken(gone)  # our `connect` sends nothing before its tunnel is open, so no data is lost
