"""SOCKS, versions 5 and 4a.

No failure here suggests TLS: the greeting of version 5 is shorter than the header of a TLS record, so a TLS proxy waits for more.
"""

from __future__ import annotations

from tunnelctl.client.route.route import Tunnel
from tunnelctl.client.upstream.base import SingleTunnelConnection, TunnelRequest, without_deadline
from tunnelctl.errors import AuthenticationFailed, TunnelctlError
from tunnelctl.proto.socks.client import SOCKS5, SocksClient
from tunnelctl.stream.base import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.client.auth.credentials import Secret


class SOCKSConnection(SingleTunnelConnection):
    """A connection to a SOCKS proxy; `Hop.protocol` names the version."""

    async def _open(self, request: TunnelRequest) -> Tunnel:
        try:
            secret = await self._secret(request)
            machine = SocksClient(request.stop, self.hop.protocol, (secret.user or "", secret.password) if secret else None)
            return Tunnel(self.stream, await self._named(request, machine, secret))
        except OSError as error:
            raise self.broken(request, error) from error

    async def _secret(self, request: TunnelRequest) -> Secret | None:
        login = self.hop.login
        return await without_deadline(login, request.deadline, login.secret()) if login is not None else None

    async def _named(self, request: TunnelRequest, machine: SocksClient, secret: Secret | None) -> bytes:
        """Opens the tunnel, with errors that name the proxy and its task. Returns the bytes that followed the reply."""
        try:
            return await self._converse(request, machine)
        except TunnelctlError as error:
            login = self.hop.login
            if isinstance(error, AuthenticationFailed) and secret is None and login is not None and self.hop.protocol == SOCKS5:
                raise AuthenticationFailed(request.what, error.cause, login.missing) from error
            raise error.within(request.what, target=request.stop) from error

    async def _converse(self, request: TunnelRequest, machine: SocksClient) -> bytes:
        await self.stream.send_all(machine.request())
        outcome = machine.feed(self.early) if self.early else None
        while outcome is None:
            if output := machine.take_output():
                await self.stream.send_all(output)
            data = await self.stream.receive_some(machine.wanted if request.no_readahead else CHUNK)
            if not data:
                raise machine.eof()
            outcome = machine.feed(data)
        return outcome.leftover
