"""Parses the value of --admin, the additional port of the private endpoint."""

from __future__ import annotations

from tunnelctl.errors import UsageProblem
from tunnelctl.stream.listen import ListenAddress, parse_listen


def parse_admin(text: str, forced: bool) -> ListenAddress:
    """Parses it. Raises UsageProblem if other machines can reach it, unless `forced`."""
    address = parse_listen(text)
    if not (address.private or forced):
        raise UsageProblem(text, "other machines could read which clients use which targets", "open-admin", option="admin")
    return address
