"""`forward --users`: brings the users file of `serve` to the logins at a local port, since neither room knows the other."""

from tunnelctl.client.forward.session import Check
from tunnelctl.client.options import ForwardOptions
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.access.limits import owner_of
from tunnelctl.server.access.users import UNCHECKED, load_users, refuse_unchecked
from tunnelctl.trace import Trace


def local_logins(options: ForwardOptions, trace: Trace) -> Check:
    """The check of a login by the users file. Raises SettingsError for a file that is wrong."""
    assert options.users is not None
    users = load_users(options.users)
    if not options.dynamic:
        trace("warning", text="--users has no effect: a -L port cannot require a login")

    async def check(user: str, password: str, client: str) -> bool | Refusal:
        try:
            return await users.check(user, password, owner_of(client))
        except UNCHECKED as error:
            return refuse_unchecked(error)

    return check
