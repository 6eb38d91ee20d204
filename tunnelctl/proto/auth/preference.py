"""Which of the authentication schemes on offer to use."""

from __future__ import annotations

from collections.abc import Container, Iterable

from tunnelctl.proto.auth.challenge import Challenge

# Strongest first, by what a listener on the way to the proxy would learn:
# negotiate  a Kerberos ticket that is of use to this proxy alone, and to nobody without its session key
# digest     a hash to try passwords on, bound to this proxy's nonce and realm and to this target; MD5 is tried faster than the
#            others, yet what has been found broken about it (collisions) is of no use here
# ntlm       a hash to try passwords on as well, but of the domain password, and who sits on the way can have it made for
#            another service that he names (relaying)
# bearer     a token that can be used as it stands, until it expires
# basic      the password
STRONGEST_FIRST = ("negotiate", "digest", "ntlm", "bearer", "basic")


def strongest(challenges: Iterable[Challenge], schemes: Container[str] = STRONGEST_FIRST) -> Challenge | None:
    """The first of the strongest that can be answered with one of `schemes`, None if there is none.

    A Digest challenge of an unknown kind cannot be; of those that can, the hash decides.
    """
    usable = [challenge for challenge in challenges if challenge.scheme in schemes and _rank(challenge)]
    return min(usable, key=_rank, default=None)


def _rank(challenge: Challenge) -> tuple[int, ...]:
    """Place in STRONGEST_FIRST, then among the challenges of that scheme; () for what we cannot answer."""
    if challenge.scheme not in STRONGEST_FIRST:
        return ()
    place = STRONGEST_FIRST.index(challenge.scheme)
    if challenge.scheme != "digest":
        return (place,)
    from tunnelctl.proto.auth.digest import rank  # loads hashlib

    within = rank(challenge)
    return () if within is None else (place, within)
