"""`tunnelctl status`: lists the running programs of this user."""

import json
from collections.abc import Mapping, Sequence
from time import sleep

from tunnelctl.cli.render.console import write_stdout
from tunnelctl.cli.render.instances import Listed, instances
from tunnelctl.control.instances import Instance, named
from tunnelctl.control.snapshot import to_json
from tunnelctl.errors import Unreachable

LOOK_SECONDS = 0.5  # between the two looks that a rate takes


def run_status(names: Sequence[str], as_json: bool, environ: Mapping[str, str]) -> None:
    """Prints the list. Raises Unreachable if one of the names does not run."""
    several = named(names, environ)
    listed = [_ask(instance) for instance in several]
    if any(one.status is not None and one.status.tunnels for one in listed):  # only then there is a rate
        sleep(LOOK_SECONDS)
        listed = [_rated(before, _ask(instance)) for before, instance in zip(listed, several, strict=True)]
    if as_json:
        write_stdout("".join(map(_json, listed)))
    elif listed:
        write_stdout("".join(f"{line}\n" for line in instances(listed)))
    else:
        write_stdout("nothing is running\n")


def _rated(before: Listed, after: Listed) -> Listed:
    """Adds the rates between two looks, by the clock of the program."""
    one, other = before.status, after.status
    if one is None or other is None or other.now <= one.now:
        return after
    seconds = other.now - one.now
    return after._replace(sent_rate=(other.sent - one.sent) / seconds, received_rate=(other.received - one.received) / seconds)


def _ask(instance: Instance) -> Listed:
    try:
        return Listed(instance.name, instance.status())
    except Unreachable as error:
        return Listed(instance.name, trouble=error.cause)


def _json(listed: Listed) -> str:
    facts = (
        {}
        if listed.status is None
        else {**to_json(listed.status), "sent_rate": listed.sent_rate, "received_rate": listed.received_rate}
    )
    return json.dumps({"answers": listed.status is not None, **facts, "name": listed.name}) + "\n"
