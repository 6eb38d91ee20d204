"""The rows of a report: each result in a word, a time and a text."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tunnelctl.cli.render.text import clean, escape, show
from tunnelctl.control.units import size

Facts = Mapping[str, Any]  # of an event, by key

SIGNALLED = 128  # an exit status beyond it is a signal's


class Line(NamedTuple):
    """A row of the report: a word, a time or "", and a text."""

    word: str
    time: str
    text: str
    good: bool | None = None  # None: neither good nor bad


def duration(value: object) -> str:
    """Formats a time for people; "" for a value that is no number."""
    if not isinstance(value, (int, float)):
        return ""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def _phase(facts: Facts) -> Line:
    return Line(facts["name"], duration(facts["seconds"]), clean(facts["detail"]), facts["ok"])


def _address(facts: Facts) -> Line:
    text = f"{show(facts['address'])}: {show(facts['cause']) if facts['cause'] else 'answers'}"
    return Line("address", duration(facts["seconds"]), text, facts["ok"])


def _http2(facts: Facts) -> Line:
    if not facts["offered"]:
        return Line("http2", "", f"not offered: {show(facts['cause'])}")
    speed = f", at most {facts['limit']:.0f} Mbit/s for one upload at first" if facts["limit"] is not None else ""
    most = "any number of" if facts["streams"] is None else facts["streams"]
    what = f"offered: {most} tunnels on a connection, a window of {size(facts['window'])}{speed}"
    works = "" if facts["connects"] else f"; no tunnel: {show(facts['cause'])}"
    return Line("http2", duration(facts["round_trip"]), what + works, bool(facts["connects"]))


def _ends(facts: Facts) -> Line:
    if facts["half_close"] is None:
        return Line("ends", "", f"not known: {show(facts['cause'])}")
    words = {True: "comes through", False: "does not come through", None: "is not known"}
    text = f"a half-close {words[facts['half_close']]}, a reset of the target {words[facts['reset']]}"
    return Line("ends", "", text, bool(facts["half_close"] and facts["reset"]))


def _greeting(facts: Facts) -> Line:
    first = facts["text"].strip().split(b"\n", 1)[0].rstrip()
    return Line("target", duration(facts["seconds"]), f"it says: {escape(first, 100)}")


def _certificate(facts: Facts) -> Line:
    trust = "publicly trusted" if facts["public"] else "trusted here" if facts["trusted"] else "not trusted"
    name = f"{show(facts['subject'])} by {show(facts['issuer'])}, until {str(facts['expires'])[:10]}, {trust}"
    return Line("seen", "", f"{name}; SHA-256 {facts['sha256']}", bool(facts["trusted"]))


def _reply(facts: Facts) -> Line:
    text = f"{show(facts['line'])}, {size(facts['size'])}" if facts["ok"] else show(facts["cause"])
    return Line("get", duration(facts["seconds"]), text, facts["ok"])


def _idle(facts: Facts) -> Line:
    text = "the idle tunnel survived" if facts["ok"] else f"cut off: {show(facts['cause'])}"
    return Line("idle", duration(facts["seconds"]), text, facts["ok"])


def _waiting(facts: Facts) -> Line:
    return Line("waiting", "", show(facts["cause"]))


def _warning(facts: Facts) -> Line:
    return Line("warning", "", show(facts["text"]))


def _ignored(facts: Facts) -> Line:
    return Line("ignored", "", f"{show(facts['entry'])} in {show(facts['variable'])}: {show(facts['cause'])}")


def _setting(facts: Facts) -> Line:
    return Line("setting", "", f"{show(facts['name'])}: {show(facts['origin'])}")


def _failure(facts: Facts) -> Line:
    return Line("error", "", f"{show(facts['what'])}: {show(facts['cause'])}", False)


def _finding(facts: Facts) -> Line:
    return Line("finding", "", show(facts["text"]), False)


def _verdict(facts: Facts) -> Line:
    via = f" via {show(facts['via'])}" if facts["via"] else " without a proxy"
    path = f"{show(facts['target'])}{via}"
    if facts["ok"]:
        return Line("works", "", f"{path}, open after {duration(facts['seconds'])}", True)
    if facts["exit_status"] > SIGNALLED:
        return Line("stopped", "", f"{path}; by signal {facts['exit_status'] - SIGNALLED}", False)
    return Line("fails", "", f"{path}, after {duration(facts['seconds'])}; exit status {facts['exit_status']}", False)


def _attempt(facts: Facts) -> Line:
    text = "a tunnel was opened" if facts["ok"] else show(facts["cause"])
    return Line("attempt", duration(facts["seconds"]), f"{facts['number']}: {text}", facts["ok"])


def _interrupted(facts: Facts) -> Line:
    return Line(facts["phase"], duration(facts["seconds"]), f"interrupted: {clean(facts['text'])}", False)


LINES = {
    "phase": _phase,
    "address": _address,
    "http2": _http2,
    "ends": _ends,
    "greeting": _greeting,
    "certificate": _certificate,
    "reply": _reply,
    "idle": _idle,
    "waiting": _waiting,
    "warning": _warning,
    "setting": _setting,
    "ignored": _ignored,
    "attempt": _attempt,
    "interrupted": _interrupted,
    "failure": _failure,
    "finding": _finding,
    "verdict": _verdict,
}
