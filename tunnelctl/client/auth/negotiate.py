"""NTLM and Negotiate (Kerberos, or NTLM inside SPNEGO): the legs of a login that is bound to its connection, made by pyspnego."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING, Any

from tunnelctl.client.auth.schemes import NEGOTIATE, NTLM, Scheme
from tunnelctl.engine.wakeup import to_thread
from tunnelctl.errors import AuthenticationFailed
from tunnelctl.proto.address import Address, without_scope

if TYPE_CHECKING:
    from tunnelctl.client.auth.credentials import Secret
    from tunnelctl.proto.auth.challenge import Challenge

# Kerberos requires libraries of its own, which have to be compiled on most systems; NTLM does not.
_PACKAGES = {NTLM: "pyspnego", NEGOTIATE: "pyspnego[kerberos]"}


async def bound_scheme(name: str, proxy: Address, secret: Secret | None) -> Scheme:
    """Begins NTLM or Negotiate with a proxy. Raises AuthenticationFailed if it cannot work.

    Without credentials Negotiate uses the Kerberos tickets of the user; NTLM requires user and password.
    """
    login = secret if secret is not None and secret.user is not None else None
    if name == NTLM and login is None:
        facts = {} if _installed("spnego") else _to_install(NTLM)
        raise AuthenticationFailed(
            f"NTLM login to proxy {proxy}", "it requires a user and a password", "ntlm-credentials", facts=facts
        )
    scheme = _Bound(name, proxy, login)
    await scheme.begin()
    return scheme


class _Bound(Scheme):
    """The legs on one connection. A step may contact a KDC over the network, so it runs in a thread."""

    connection_bound = True

    def __init__(self, name: str, proxy: Address, secret: Secret | None) -> None:
        self.name, self._proxy, self._secret = name, proxy, secret
        self._context: Any = None
        self._token = b""  # for the next request
        self._used = True  # the context belongs to an earlier connection

    async def begin(self) -> None:
        """Makes the first token. Raises AuthenticationFailed."""
        self._context = await self._try(self._new_context)
        self._token = await self._try(self._context.step) or b""
        self._used, self.nothing_disclosed = False, True

    async def value(self, fresh: bool) -> str:
        if fresh and self._used:
            await self.begin()
        self._used = True
        return f"{_SPELLED[self.name]} {b2a_base64(self._token, newline=False).decode()}"

    async def next_step(self, challenge: Challenge) -> bool:
        if not challenge.token68 or self._context is None or self._context.complete:
            return False
        try:
            token = a2b_base64(challenge.token68)
        except Base64Error:
            return False
        self._token = await self._try(self._context.step, token) or b""
        self.nothing_disclosed = False
        return bool(self._token)

    def _new_context(self) -> Any:
        import spnego

        user, password = (self._secret.user, self._secret.password) if self._secret is not None else (None, None)
        return spnego.client(user, password, hostname=without_scope(self._proxy.host), service="HTTP", protocol=self.name)

    async def _try(self, step: Any, *args: object) -> Any:
        """Runs a step in a thread. Any failure means that this scheme cannot work; its text names mechanisms, never secrets."""
        try:
            return await to_thread(step, *args)
        except ImportError:
            cause = "the package pyspnego is not installed"
            raise AuthenticationFailed(self._what, cause, "pyspnego-missing", facts=_to_install(self.name)) from None
        except Exception as error:
            facts = _ticket_facts() if self.name == NEGOTIATE and self._secret is None else {}
            raise AuthenticationFailed(self._what, _cause(error), "negotiate-failed", facts=facts) from None

    @property
    def _what(self) -> str:
        return f"{_SPELLED[self.name]} login to proxy {self._proxy}"


_SPELLED = {NTLM: "NTLM", NEGOTIATE: "Negotiate"}


def _to_install(name: str) -> dict[str, object]:
    """Facts for a hint: the scheme, and the package that it requires."""
    return {"scheme": _SPELLED[name], "package": _PACKAGES[name]}


def _ticket_facts() -> dict[str, object]:
    """Facts for a login without a password. pyspnego alone speaks only NTLM: a ticket is no use without the Kerberos libraries."""
    return {"ticket": True} if _installed("gssapi") and _installed("krb5") else _to_install(NEGOTIATE)


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _cause(error: Exception) -> str:
    """The reason of a failure. pyspnego puts it after a number and a class; the last of its contexts is the closest to it."""
    text = str(error) or type(error).__name__
    return text.rpartition("Context: ")[2]
