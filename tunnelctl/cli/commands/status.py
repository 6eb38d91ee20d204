"""`tunnelctl status`: lists the running programs of this user."""

import json
from collections.abc import Mapping, Sequence

from tunnelctl.cli.render.console import write_stdout
from tunnelctl.cli.render.instances import Listed, instances
from tunnelctl.control.instances import Instance, named
from tunnelctl.control.snapshot import to_json
from tunnelctl.errors import Unreachable


def run_status(names: Sequence[str], as_json: bool, environ: Mapping[str, str]) -> None:
    """Prints the list. Raises Unreachable if one of the names does not run."""
    listed = [_ask(instance) for instance in named(names, environ)]
    if as_json:
        write_stdout("".join(map(_json, listed)))
    elif listed:
        write_stdout("".join(f"{line}\n" for line in instances(listed)))
    else:
        write_stdout("nothing is running\n")


def _ask(instance: Instance) -> Listed:
    try:
        return Listed(instance.name, instance.status())
    except Unreachable as error:
        return Listed(instance.name, trouble=error.cause)


def _json(listed: Listed) -> str:
    facts = {} if listed.status is None else to_json(listed.status)
    return json.dumps({"answers": listed.status is not None, **facts, "name": listed.name}) + "\n"
