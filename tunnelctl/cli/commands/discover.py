"""`tunnelctl check` without a target: finds the proxies of this machine, and tries them."""

import os

from tunnelctl.cli.commands import check
from tunnelctl.cli.parse.call import Call
from tunnelctl.cli.parse.settings import complete
from tunnelctl.cli.parse.values import wrong_words
from tunnelctl.cli.render.check.terminal import Terminal
from tunnelctl.cli.render.discovery import DiscoveryReport, LiveDiscoveryReport
from tunnelctl.client.check.check import Report
from tunnelctl.client.discovery.options import DiscoverOptions
from tunnelctl.client.discovery.settings.machine import own
from tunnelctl.client.discovery.survey import run_survey

ONE_TARGET = "Checks"  # the group of flags about the path to one target


def discover(call: Call) -> int:
    """Runs the search and returns the exit status. Raises TunnelctlError."""
    if any(flag.group == ONE_TARGET for flag, _ in call.pairs):
        raise wrong_words("check", "HOST PORT", [])
    settings = complete("check", call.pairs, os.environ)
    options = settings.build(DiscoverOptions)
    report = report_for(options)
    check.announce(report, call.pairs, settings, options.output.verbose)
    if not isinstance(report, LiveDiscoveryReport):
        return run_survey(options, own(os.environ), report)
    try:
        return run_survey(options, own(os.environ), report, report.waiting)
    finally:
        report.close()


def report_for(options: DiscoverOptions) -> Report:
    """Returns the report that suits stdout: live as that of `check` with a target, and folded on any terminal."""
    if options.output.json:
        return check.report_for(True, options.color)
    on_terminal = os.isatty(1)
    moves = on_terminal and os.environ.get("TERM", "") not in ("", "dumb")
    wanted = bool(os.environ.get("FORCE_COLOR")) or (moves and not os.environ.get("NO_COLOR"))
    color = {"always": True, "never": False}.get(options.color, wanted)
    terminal = Terminal(color, on_terminal and not check.speaks_utf8(os.environ))
    if moves and not options.reach.ask_password:
        return LiveDiscoveryReport(terminal, options.wpad)
    return DiscoveryReport(lambda row: terminal.put([row]), terminal.size[0] if on_terminal else None, options.wpad)
