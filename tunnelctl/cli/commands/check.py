"""`tunnelctl check`: chooses the report for the results of client.check."""

import os
from collections.abc import Mapping

from tunnelctl.cli.parse.settings_file import origins
from tunnelctl.cli.parse.values import Pair, Settings
from tunnelctl.cli.render.check.report import JSONReport, PlainReport, TerminalReport
from tunnelctl.cli.render.check.terminal import Terminal
from tunnelctl.client.check.check import Report, run_check
from tunnelctl.client.check.events import Setting
from tunnelctl.client.check.options import CheckOptions
from tunnelctl.events import Warning


def report_for(as_json: bool, color: str, prompts: bool = False) -> Report:
    """Returns the report that suits stdout. Obeys NO_COLOR and FORCE_COLOR, but --color overrules both.

    prompts: a password may be asked for on the terminal, and the prompt must not be in a region that is redrawn
    """
    if as_json:
        return JSONReport()
    terminal = os.isatty(1) and os.environ.get("TERM", "") not in ("", "dumb")
    wanted = bool(os.environ.get("FORCE_COLOR")) or (terminal and not os.environ.get("NO_COLOR"))
    shown = {"always": True, "never": False}.get(color, wanted)
    if not terminal or prompts:
        return PlainReport(shown)
    return TerminalReport(Terminal(shown, not speaks_utf8(os.environ)))


def speaks_utf8(environ: Mapping[str, str]) -> bool:
    """Whether the terminal shows UTF-8, by the first variable for the locale that is set.

    If none is, Python has set LC_CTYPE to C.UTF-8 (PEP 538), which suits most terminals today.
    """
    locale = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "")
    return "UTF8" in locale.upper().replace("-", "")


def show_check(options: CheckOptions, report: Report) -> int:
    """Runs `check` with the report, and returns the exit status."""
    if not isinstance(report, TerminalReport):
        return run_check(options, os.environ, report)
    try:
        return run_check(options, os.environ, report, report.waiting)
    finally:
        report.close()


def announce(report: Report, typed: list[Pair], settings: Settings, verbose: int) -> None:
    """Reports the warning about the settings file, if there is one; with -v also the origin of each setting that is no default."""
    settings.announce(lambda event: report(event) if isinstance(event, Warning) else None)
    if verbose:
        for name, origin in origins("check", typed, settings, os.environ).items():
            if origin != "default":
                report(Setting(name, origin))
