"""The schemes by which a proxy can be logged in to, one class each; NTLM and Negotiate are in negotiate."""

from __future__ import annotations

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
    """One way to log in, for one tunnel. `bound`: it logs in the connection, so its legs follow each other on one."""

    name = ""
    bound = False
    begun_only = False  # nothing has been said yet that could be wrong

    async def value(self, fresh: bool) -> str:
        """The field value for the next request; `fresh`: the first on its connection. Raises AuthenticationFailed."""
        raise NotImplementedError

    async def goes_on(self, challenge: Challenge) -> bool:
        """Whether there is more to say after a 407 to the last value; else that was a no."""
        return False

    def confirm(self, info: str) -> None:
        """The proxy has accepted it, and says this about itself. Raises AuthenticationFailed if that is wrong."""


class Fixed(Scheme):
    """Basic and Bearer: the same words each time."""

    def __init__(self, name: str, words: str) -> None:
        self.name, self._words = name, words

    async def value(self, fresh: bool) -> str:
        return self._words


class Digest(Scheme):
    """Digest. The nonce serves for as many tunnels as the proxy lets it."""

    name = DIGEST

    def __init__(self, secret: Secret, client: DigestClient, target: Address) -> None:
        self._secret, self._client, self._target = secret, client, target
        self._sent = ""

    def again(self, target: Address) -> Digest:
        """For another tunnel, with the same nonce."""
        return Digest(self._secret, self._client, target)

    async def value(self, fresh: bool) -> str:
        self._sent = self._client.authorize("CONNECT", str(self._target))
        return self._sent

    def confirm(self, info: str) -> None:
        if info and not self._client.confirm(self._sent, info):
            what = f"the login for {self._target}"
            cause = "the proxy accepted it, but cannot prove that it knows the password"
            raise AuthenticationFailed(what, cause, "this may be a man-in-the-middle attack")

    async def goes_on(self, challenge: Challenge) -> bool:
        """Whether to answer again: a stale nonce does not mean that the password is wrong."""
        from tunnelctl.proto.auth.digest import is_stale, rank

        stale = is_stale(challenge) and rank(challenge) is not None
        if stale:
            self._client = digest_client(challenge, self._secret)
        return stale


def digest_client(challenge: Challenge, secret: Secret) -> DigestClient:
    from os import urandom

    from tunnelctl.proto.auth.digest import DigestClient

    return DigestClient(challenge, secret.user or "", secret.password, urandom(CNONCE_BYTES).hex())
