"""The login to one proxy: which credentials it receives, when, and what is remembered for the next tunnel.

    ProxyAuth       one for each proxy: finds the credentials, and remembers the scheme that worked; shared by all tunnels
      └─ exchange() -> AuthExchange     one for each tunnel
            prepare()    before connecting, since a command or a prompt may take longer than a proxy waits
            value()      the Proxy-Authorization field for the next request, None without one
            answer()     takes the challenges of a 407 (or of a 401, which some proxies send): can the next request meet one?
            accepted()   the tunnel is established: verifies the proxy's own proof (Digest), and remembers the scheme

No credentials are sent before the proxy requires them, unless the user named the scheme (`--auth basic`): a proxy that requires no
login, or a stronger scheme, never receives a password.

Of the schemes that a 407 offers, the strongest that can be used is chosen, and the request is repeated on a new connection. The
schemes that authenticate the connection itself (NTLM, Negotiate) send all their legs on one: while `in_progress`, a new connection
would lose the legs so far. A 407 to credentials is final, with two exceptions: a scheme that was refused at its first step, before
it disclosed anything that could be wrong; and credentials that were sent before any challenge, which may not suit the proxy's.

Where credentials come from (a file, a command, netrc, a person) is in credentials. The scheme objects are in schemes and negotiate;
their octets are in tunnelctl.proto.auth.
"""

from __future__ import annotations

from tunnelctl.client.auth.schemes import (
    ANY,
    BASIC,
    BEARER,
    DIGEST,
    NEGOTIATE,
    NTLM,
    SCHEMES,
    Digest,
    Fixed,
    Scheme,
    digest_client,
)
from tunnelctl.errors import AuthenticationFailed
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tunnelctl.client.auth.credentials import Secret
    from tunnelctl.proto.auth.challenge import Challenge

    Find = Callable[[], Awaitable[Secret | None]]

# Requests with credentials for one tunnel: three legs of NTLM, or a stale nonce and a retry, with some to spare. Without a limit, a
# proxy could send challenges forever.
MOST_LEGS = 6

# Reasons for NoLogin, and codes of AuthenticationFailed.
MISSING, MISSING_USER, MISSING_LATER = "login-missing", "login-without-user", "inner-login-missing"
NO_SCHEME, NO_CHALLENGE, OTHER_SCHEME, UNKNOWN = "no-scheme", "no-challenge", "other-scheme", "unknown-scheme"
TOKEN_WANTED, ONLY_BASIC, FIRST_STEP, UNUSABLE = "token-missing", "only-basic", "first-step-refused", "scheme-unusable"

MOST_SHOWN = 3  # schemes that a hint lists


class NoLogin(NamedTuple):
    """The reason why a proxy that requires a login gets none.

    reason: one of the above
    offered: the schemes that the proxy offers, in words; scheme: the one that the user named
    problem: the error of a scheme that would otherwise have been used
    """

    reason: str
    offered: str = ""
    scheme: str = ""
    problem: AuthenticationFailed | None = None


class ProxyAuth:
    """Credentials that one proxy may receive, and the scheme known to work; shared by all tunnels through it."""

    def __init__(
        self, proxy: Address, scheme: str, find: Find, may_prompt: bool = False, given: bool = False, missing: str = MISSING
    ) -> None:
        """scheme: the only one allowed, or ANY; find: looks up the credentials when they are required; None if there are none

        patient: `find` may wait for a person, who must not be hurried by a limit
        given: the user has named credentials for this proxy; otherwise netrc may have some
        missing: the reason for NoLogin if there are none
        """
        self.may_prompt, self.missing = may_prompt, missing
        self._proxy, self._scheme, self._find = proxy, scheme, find
        self._at_hand = self._given = given
        self._known: Scheme | None = None  # the one that has worked
        self._problem: AuthenticationFailed | None = None  # why a scheme that was offered cannot be used

    def __repr__(self) -> str:
        return f"Login({self._proxy})"

    async def secret(self) -> Secret | None:
        """User and password, for a proxy that has no schemes to choose from (SOCKS)."""
        return await self._find()

    def exchange(self, target: Address) -> AuthExchange:
        """Creates the exchange for one tunnel."""
        return AuthExchange(self, target)

    @property
    def may_be_connection_bound(self) -> bool:
        """Whether the login may turn out to be bound to its connection."""
        return self._scheme in (NTLM, NEGOTIATE) or (self._scheme == ANY and self._given and self._known is None)

    async def preemptive(self, target: Address) -> Scheme | None:
        """The scheme to use before any challenge: the one that worked before, or the one that the user named, except Digest."""
        if isinstance(self._known, Digest):
            return self._known.again(target)
        if self._known is not None or self._scheme in (ANY, DIGEST):
            return self._known
        return await self._make(self._scheme, None, target) if await self._find() is not None else None

    async def choose(self, challenges: tuple[Challenge, ...], target: Address, without: set[str]) -> Scheme | None:
        """The strongest scheme that the proxy offers and we can use; None if there is none. without: schemes that are of no use"""
        from tunnelctl.proto.auth.preference import strongest

        self._problem = None
        self._at_hand = self._given or await self._find() is not None  # not given: only netrc, which prompts nobody
        left = ({*SCHEMES} if self._scheme == ANY else {self._scheme}) - without
        while (challenge := strongest(challenges, left)) is not None:
            scheme = await self._make(challenge.scheme, challenge, target)
            if scheme is not None:
                return scheme
            left.discard(challenge.scheme)
        return None

    async def _make(self, name: str, challenge: Challenge | None, target: Address) -> Scheme | None:
        secret = await self._find()
        if name in (NTLM, NEGOTIATE):
            from tunnelctl.client.auth.negotiate import bound_scheme

            try:
                return await bound_scheme(name, self._proxy, secret)
            except AuthenticationFailed as error:
                if self._scheme == name:
                    raise
                self._problem = error
                return None
        if secret is None or (secret.user is None) != (name == BEARER):
            return None
        if name == BASIC:
            from tunnelctl.proto.auth.basic import encode_basic

            return Fixed(BASIC, encode_basic(secret.user or "", secret.password))
        if name == BEARER:
            from tunnelctl.proto.auth.bearer import encode_bearer

            return Fixed(BEARER, encode_bearer(secret.password))
        return Digest(secret, digest_client(challenge, secret), target) if challenge is not None else None

    def remember(self, scheme: Scheme) -> None:
        """Remembers a scheme that has worked, so that the next tunnel is not refused first."""
        if not scheme.connection_bound:
            self._known = scheme

    def forget(self) -> None:
        """Forgets the scheme: it works no more."""
        self._known = None

    def failure_of(self, challenges: tuple[Challenge, ...], without: set[str]) -> NoLogin:
        """Returns the reason why no challenge can be answered. without: as in `choose`"""
        schemes = tuple(dict.fromkeys(challenge.scheme for challenge in challenges))
        known = [scheme for scheme in schemes if scheme in SCHEMES]
        offered = one_of(schemes)
        if self._scheme != ANY and known and self._scheme not in known:
            return NoLogin(ONLY_BASIC if known == [BASIC] else OTHER_SCHEME, offered, self._scheme)
        if self.missing == MISSING_LATER and not self._at_hand:
            return NoLogin(MISSING_LATER, offered)
        if self._problem is not None:
            return NoLogin(UNUSABLE, offered, self._scheme, self._problem)
        if schemes and not known:
            return NoLogin(UNKNOWN, offered)
        if known == [BEARER]:
            return NoLogin(TOKEN_WANTED, offered)
        if not self._at_hand:
            return NoLogin(self.missing, offered)
        if not schemes:
            return NoLogin(NO_SCHEME if self._scheme == ANY else NO_CHALLENGE, scheme=self._scheme)
        if refused := [scheme for scheme in schemes if scheme in without]:
            return NoLogin(FIRST_STEP, one_of(refused))
        return NoLogin(UNKNOWN, f"this kind of {offered}")  # Digest with an algorithm that we do not have


def one_of(schemes: Sequence[str]) -> str:
    """The schemes that a proxy offers, in words; of many, only the first ones."""
    others = ("others",) if len(schemes) > MOST_SHOWN else ()
    return " or ".join((*schemes[:MOST_SHOWN], *others))


class AuthExchange:
    """The login of one tunnel: the credentials on each request to the proxy, and whether a 407 can be met."""

    def __init__(self, login: ProxyAuth, target: Address) -> None:
        self._login, self._target = login, target
        self._scheme: Scheme | None = None
        self._legs = 0
        self._useless: set[str] = set()  # schemes that were refused at their first step
        self.failure: NoLogin | None = None  # why a 407 cannot be met
        self._sent = False  # the last request carried credentials

    @property
    def challenged(self) -> bool:
        """Whether the proxy has required a login."""
        return self._legs > 0

    @property
    def connection_bound(self) -> bool:
        """Whether the next request must use the same connection."""
        return self._scheme is not None and self._scheme.connection_bound

    @property
    def keeps_connection(self) -> bool:
        """Whether the next request carries, or may have to carry, a login that is bound to its connection."""
        return self._scheme.connection_bound if self._scheme is not None else self._login.may_be_connection_bound

    @property
    def in_progress(self) -> bool:
        """Whether a new connection would lose the legs exchanged so far."""
        return self._scheme is not None and self._scheme.connection_bound and not self._scheme.nothing_disclosed

    async def prepare(self) -> None:
        """Prepares the credentials that the first request may carry."""
        self._scheme = await self._login.preemptive(self._target)

    async def value(self, fresh: bool) -> str | None:
        """The Proxy-Authorization value for the next request, or None; `fresh`: the first on its connection."""
        value = await self._scheme.value(fresh) if self._scheme is not None else None
        self._sent = value is not None
        return value

    async def answer(self, challenges: tuple[Challenge, ...]) -> bool:
        """Takes the challenges of a 407, or of an equivalent 401. True if the next request can meet one."""
        self._legs += 1
        if self._legs > MOST_LEGS:
            return False
        if self._scheme is not None and self._sent:
            from tunnelctl.proto.auth.preference import strongest

            same = strongest(challenges, (self._scheme.name,))
            if same is not None and await self._scheme.next_step(same):
                return True
            self._login.forget()
            if not self._may_choose_again(self._scheme, same is not None):
                return False
        self._scheme = await self._login.choose(challenges, self._target, self._useless)
        if self._scheme is None:
            self.failure = None if self._sent and not challenges else self._login.failure_of(challenges, self._useless)
        return self._scheme is not None

    def _may_choose_again(self, refused: Scheme, still_offered: bool) -> bool:
        """Whether the refusal of this scheme says nothing about user and password."""
        if refused.nothing_disclosed:
            # Without a ticket, Negotiate begins with NTLM, which a Squid with Kerberos and Basic refuses.
            self._useless.add(refused.name)
            return True
        # It was sent without a challenge: the proxy requires another scheme by now, or has forgotten the nonce.
        return self._legs == 1 and (refused.name == DIGEST or not still_offered)

    def accepted(self, info: str | None) -> None:
        """Called when the tunnel is established: confirms and remembers the scheme.

        Raises AuthenticationFailed if `info` (Proxy-Authentication-Info) shows that the proxy does not know the password.
        """
        if self._scheme is not None:
            self._scheme.confirm(info or "")
            self._login.remember(self._scheme)
