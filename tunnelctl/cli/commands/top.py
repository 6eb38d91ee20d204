"""`tunnelctl top`: shows live what the running processes do; in a pipe or as JSON, prints one snapshot."""

import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tunnelctl.cli.render.columns import cells, fit, titles
from tunnelctl.cli.render.console import write_stdout
from tunnelctl.cli.render.instances import instances
from tunnelctl.cli.render.text import plain
from tunnelctl.cli.top.live import Live
from tunnelctl.cli.top.poll import ask_all
from tunnelctl.cli.top.processes import Answer, Processes, listed, listen_to
from tunnelctl.cli.top.tables import OPEN, open_rows, ordered
from tunnelctl.cli.top.terminal import Ended, Terminal, TerminalGone
from tunnelctl.cli.top.view import View
from tunnelctl.control.instances import named, running
from tunnelctl.control.snapshot import to_json
from tunnelctl.status import ExitStatus

SHORTEST = 0.1  # seconds between two looks; more often would show nothing new and cost the processes time


class TopOptions(NamedTuple):
    """The options of one `top`."""

    interval: float = 2.0
    json: bool = False


def run_top(options: TopOptions, names: Sequence[str], environ: Mapping[str, str]) -> int:
    """Shows the processes of these names, or all. Raises TunnelctlError."""
    if options.json or not is_live(environ):
        return look_once(options, names, environ)
    try:
        with Terminal(coloured=not environ.get("NO_COLOR")) as terminal:
            live = Live(terminal, lambda: running(environ), names, max(SHORTEST, options.interval), shows_unicode(environ))
            live.run()
    except Ended as ended:
        return ExitStatus.OK if ended.number == signal.SIGINT else 128 + ended.number
    except TerminalGone:
        pass
    return ExitStatus.OK


def is_live(environ: Mapping[str, str]) -> bool:
    """Whether there is a terminal that can be drawn on."""
    terminal = all(stream is not None and os.isatty(fd) for fd, stream in enumerate((sys.__stdin__, sys.__stdout__)))
    return terminal and environ.get("TERM", "") not in ("", "dumb")


def shows_unicode(environ: Mapping[str, str]) -> bool:
    """Whether the locale says that the terminal shows more than ASCII."""
    chosen = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "")
    return chosen.lower().replace("-", "").endswith("utf8")


def look_once(options: TopOptions, names: Sequence[str], environ: Mapping[str, str]) -> int:
    """Prints what the processes do now. The status says whether all of them answered."""
    answers = ask_all(named(names, environ), with_recent=options.json)
    write_stdout("".join(f"{line}\n" for line in (as_json(answers) if options.json else as_text(answers, environ))))
    return ExitStatus.UNREACHABLE if any(answer.trouble for answer in answers) else ExitStatus.OK


def as_json(answers: Iterable[Answer]) -> list[str]:
    """Returns an object for each process: the answers as it gave them, or null and the error."""
    return [
        json.dumps(
            {
                "name": answer.name,
                "error": answer.trouble or None,
                "status": plain(to_json(answer.status)),
                "tunnels": plain(to_json(answer.tunnels)),
                "recent": plain(to_json(answer.recent)),
            }
        )
        for answer in answers
    ]


def as_text(answers: Sequence[Answer], environ: Mapping[str, str]) -> list[str]:
    """Returns the list of processes and the table of tunnels, of which nothing is cut: a pipe has no width."""
    processes: Processes = {}
    for answer in answers:
        processes = listen_to(processes, answer)
    if not processes:
        return ["nothing is running"]
    lines = instances([listed(process, process.answer.when) for process in processes.values()])
    return [*lines, *tunnels_as_text(processes, shows_unicode(environ))]


def tunnels_as_text(processes: Processes, unicode: bool) -> list[str]:
    """Returns an empty line and the table of tunnels; nothing if there are none."""
    rows = ordered(open_rows(processes), OPEN, View().open_sort)
    if not rows:
        return []
    columns = [column for column in OPEN if column.title != "NAME" or len(processes) > 1]
    table = fit(columns, rows, None, unicode=unicode)
    return ["", *(" ".join(row).rstrip() for row in (titles(table), *(cells(table, row, unicode) for row in rows)))]
