"""The authentication schemes for proxies; NTLM and Negotiate are in negotiate."""

from __future__ import annotations

from os import urandom

from tunnelctl.errors import AuthenticationFailed
from tunnelctl.proto.address import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tunnelctl.client.auth.credentials import Secret
    from tunnelctl.proto.auth.challenge import Challenge
    from tunnelctl.proto.auth.digest import DigestClient

ANY, BASIC, DIGEST, BEARER, NTLM, NEGOTIATE = "any", "basic", "digest", "bearer", "ntlm", "negotiate"
SCHEMES = (BASIC, DIGEST, BEARER, NTLM, NEGOTIATE)

CNONCE_BYTES = 16


class Scheme:
    """One authentication scheme, for one tunnel.

    connection_bound: it authenticates the connection, so all its legs go on the same one
    """

    name = ""
    connection_bound = False
    nothing_disclosed = False  # nothing has been sent yet that could be wrong

    async def value(self, fresh: bool) -> str:
        """The field value for the next request; `fresh`: the first on its connection. Raises AuthenticationFailed."""
        raise NotImplementedError

    async def next_step(self, challenge: Challenge) -> bool:
        """Whether another leg follows after a 407 to the last value; otherwise that 407 was a refusal."""
        return False

    def confirm(self, info: str) -> None:
        """Checks Proxy-Authentication-Info, from the proxy that accepted the login. Raises AuthenticationFailed if it is wrong."""


class Fixed(Scheme):
    """Basic and Bearer: the same value each time."""

    def __init__(self, name: str, words: str) -> None:
        self.name, self._words = name, words

    async def value(self, fresh: bool) -> str:
        return self._words


class Digest(Scheme):
    """Digest. The nonce serves for as many tunnels as the proxy allows."""

    name = DIGEST

    def __init__(self, secret: Secret, client: DigestClient, target: Address) -> None:
        self._secret, self._client, self._target = secret, client, target
        self._sent = ""

    def again(self, target: Address) -> Digest:
        """The scheme for another tunnel, with the same nonce."""
        return Digest(self._secret, self._client, target)

    async def value(self, fresh: bool) -> str:
        self._sent = self._client.authorize("CONNECT", str(self._target))
        return self._sent

    def confirm(self, info: str) -> None:
        if info and not self._client.confirm(self._sent, info):
            what = f"the login for {self._target}"
            cause = "the proxy accepted it, but did not prove that it knows the password"
            raise AuthenticationFailed(what, cause, "digest-unproven")

    async def next_step(self, challenge: Challenge) -> bool:
        """Whether to try again: a stale nonce does not mean that the password is wrong."""
        from tunnelctl.proto.auth.digest import is_stale, rank

        stale = is_stale(challenge) and rank(challenge) is not None
        if stale:
            self._client = digest_client(challenge, self._secret)
        return stale


def digest_client(challenge: Challenge, secret: Secret) -> DigestClient:
    from tunnelctl.proto.auth.digest import DigestClient

    return DigestClient(challenge, secret.user or "", secret.password, urandom(CNONCE_BYTES).hex())
