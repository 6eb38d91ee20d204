"""Selection among the authentication schemes on offer."""

from __future__ import annotations

from collections.abc import Container, Iterable

from tunnelctl.proto.auth.challenge import Challenge

# Strongest first, by what an eavesdropper on the path to the proxy would learn:
# negotiate  a Kerberos ticket that is valid at this proxy alone, and useless without its session key
# digest     a hash to try passwords on, bound to this proxy's nonce and realm and to this target. Guesses are faster with MD5
#            than with the others, but its known weakness (collisions) is of no use here
# ntlm       a hash to try passwords on as well, but of the domain password; and an on-path attacker can have it made for
#            another service of his choice (relaying)
# bearer     a token that can be used as it is, until it expires
# basic      the password
STRONGEST_FIRST = ("negotiate", "digest", "ntlm", "bearer", "basic")


def strongest(challenges: Iterable[Challenge], schemes: Container[str] = STRONGEST_FIRST) -> Challenge | None:
    """Returns the first of the strongest challenges that one of `schemes` can meet, or None.

    A Digest challenge of an unknown kind cannot be met. Among the others, the hash decides.
    """
    usable = [challenge for challenge in challenges if challenge.scheme in schemes and _rank(challenge)]
    return min(usable, key=_rank, default=None)


def _rank(challenge: Challenge) -> tuple[int, ...]:
    """Returns the place in STRONGEST_FIRST, then among the challenges of that scheme; () for one that cannot be met."""
    if challenge.scheme not in STRONGEST_FIRST:
        return ()
    place = STRONGEST_FIRST.index(challenge.scheme)
    if challenge.scheme != "digest":
        return (place,)
    from tunnelctl.proto.auth.digest import rank  # loads hashlib

    within = rank(challenge)
    return () if within is None else (place, within)
