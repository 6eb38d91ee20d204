"""`tunnelctl check` without a target: finds the proxies of this machine, and tries them."""

import os
import sys

from tunnelctl.cli.commands import check
from tunnelctl.cli.parse.settings import complete
from tunnelctl.cli.parse.typer_app import Call
from tunnelctl.cli.parse.values import wrong_words
from tunnelctl.cli.render.discovery import DiscoveryReport, put_plain, put_styled
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
    report = report_for(options.output.json, options.color)
    check.announce(report, call.pairs, settings, options.output.verbose)
    return run_survey(options, own(os.environ), report)


def report_for(as_json: bool, color: str) -> Report:
    """Returns the report that suits stdout. Obeys NO_COLOR and FORCE_COLOR, but --color overrules both."""
    if as_json:
        return check.report_for(True, color)
    terminal = sys.__stdout__ is not None and os.isatty(1)
    forced = color == "always" or (color == "auto" and bool(os.environ.get("FORCE_COLOR")))
    if not terminal and not forced:
        return DiscoveryReport(put_plain, None)
    from rich.console import Console as Rich

    no_color = {"always": False, "never": True}.get(color)
    rich = Rich(force_terminal=True if forced else None, no_color=no_color)
    return DiscoveryReport(put_styled(rich), rich.width if terminal else None)
