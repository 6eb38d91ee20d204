"""`forward --users`: checks logins against a users file; here because `client` and `server` import nothing from each other."""

from tunnelctl import events
from tunnelctl.client.forward.options import ForwardOptions
from tunnelctl.client.forward.setup import Check
from tunnelctl.events import Trace
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.access.limits import owner_of
from tunnelctl.server.access.users import UNCHECKED, load_users, refuse_unchecked


def local_logins(options: ForwardOptions, trace: Trace) -> Check:
    """Returns the check of a login against the users file. Raises SettingsError for an invalid file."""
    assert options.users is not None
    users = load_users(options.users)
    if not options.dynamic:
        trace(events.Warning("--users has no effect: a port that leads to one target cannot require a login"))

    async def check(user: str, password: str, client: str) -> bool | Refusal:
        try:
            return await users.check(user, password, owner_of(client))
        except UNCHECKED as error:
            return refuse_unchecked(error)

    return check
