"""Messages for people while a command runs. This is the only module that writes them to stderr; text from peers is escaped.

Writes go straight to the descriptor: Python's text stream keeps what it could not write, and fails again at exit, with status 120.
"""

from __future__ import annotations

import os
import sys
from errno import EBADF
from time import monotonic, time

from tunnelctl.cli.render.text import DIGITS, chain, clean, escape, plain, show
from tunnelctl.control.units import size
from tunnelctl.errors import TunnelBroken, TunnelctlError, reason
from tunnelctl.events import Event, Explained, name_of
from tunnelctl.rare_events import Error, OfConnection, refusal_of
from tunnelctl.status import ExitStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Facts = Mapping[str, Any]  # of an event, by key
    Render = Callable[[Facts], str]

STDERR = 2

HEAD_LINE_LIMIT = 300
HEAD_LINES_LIMIT = 60

ERASE = b"\r\x1b[K"  # returns to the start of the line and clears it; every terminal since the VT100 knows it


def write_stderr(data: bytes) -> None:
    """Writes the data, or drops it: a closed, full or vanished stderr is no reason to end a tunnel."""
    try:
        while data:
            data = data[os.write(STDERR, data) :]
    except OSError:
        pass


class Console:
    """Renders errors, warnings and the other events of tunnelctl.events; the layers below call it as their Trace.

    start: the time of `clock` that the times in lines for people count from; now, unless given
    now: seconds since 1970, for --json
    """

    def __init__(
        self,
        verbose: int = 0,
        quiet: bool = False,
        json: bool = False,
        start: float | None = None,
        write: Callable[[bytes], None] = write_stderr,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
    ) -> None:
        self.verbose = verbose
        self.quiet = quiet
        self.json = json
        self._write = write
        self._clock, self._now = clock, now
        self._start = clock() if start is None else start
        self._live: bool | None = None  # whether stderr is a terminal; None: not checked yet
        self._shown = False  # whether a live line is on the terminal
        self._hint = ""  # of the last failed connection

    def __call__(self, event: Event, /) -> None:
        """Renders an event as the Trace, if the verbosity includes it. A `failed` event is an error, and printed even with -q."""
        whose = {}
        if isinstance(event, OfConnection):
            whose, event = {"connection": event.connection}, event.event
        name = name_of(type(event.event if isinstance(event, Explained) else event))
        if not self._prints(name):
            return
        facts = {**whose, **self._in_words(event)}
        if self.json:
            self.put_json(name, facts)
        elif name == "warning":
            self.line(f"warning: {show(facts['text'])}")
        elif name == "listening":
            self._put(_listening(facts))
        elif name == "failed":
            self._put_failed(facts)
        elif name == "progress":
            self._put_live(_progress(facts))
        elif name in NOTICES:
            for text in NOTICES[name](facts).split("\n"):
                self.line(text)
        elif self.verbose:
            self._put_stage(name, facts)
        elif name == "closed" and self._shown:
            self.line(STAGES[name](facts))  # replaces the live line, which would otherwise stay unfinished

    def _prints(self, name: str) -> bool:
        """Whether the verbosity includes an event. Most events of `forward` are not printed, and need no words."""
        if self.quiet:
            return name == "failed"
        return bool(self.json or self.verbose or name in ALWAYS or name in NOTICES or (name == "closed" and self._shown))

    @staticmethod
    def _in_words(event: Event) -> Facts:
        if not isinstance(event, Explained):
            return event.facts()
        from tunnelctl.cli.render.hints import in_words  # needed on failure only

        return in_words(event)[1]

    def error(self, error: TunnelctlError) -> None:
        """Prints an error: one line, then the hint. Does so even with -q."""
        from tunnelctl.cli.render.hints import hint_of, what_of  # needed on failure only

        what, cause, hint = clean(what_of(error)), clean(error.cause), clean(hint_of(error))
        if self.json:
            self.put_json("error", Error(int(error.exit_status), what, cause, hint, *refusal_of(error)).facts())
            return
        self.line(f"{what}: {cause}")
        if hint:
            self._put(f"hint: {hint}")

    def fault(self, fault: BaseException, debug: bool) -> None:
        """Reports a bug in tunnelctl: one line and how to see the traceback; with `debug`, the traceback and then the line."""
        if debug:
            import traceback

            self._write("".join(traceback.format_exception(fault)).encode("utf-8", "backslashreplace"))
        error = TunnelctlError("fault in tunnelctl", f"{type(fault).__name__}: {fault}", "fault", facts={"debug": debug})
        error.exit_status = ExitStatus.FAULT
        self.error(error)

    def line(self, text: str) -> None:
        """Prints a line that begins with the name of the program. `text` must be escaped."""
        self._put(f"tunnelctl: {text}")

    def put_json(self, event: str, facts: Facts) -> None:
        """Prints one object on one line, ASCII only, so that no control character can reach a terminal."""
        import json

        record = {"event": event, "time": round(self._now(), DIGITS)}
        record.update((name, plain(value)) for name, value in facts.items())
        self._put(json.dumps(record))

    def _put_failed(self, facts: Facts) -> None:
        """Prints one line, since there may be many failures; the hint only if it differs from that of the failure before."""
        self.line(FAILED(facts))
        hint = show(facts["hint"])
        if hint and hint != self._hint:
            self._put(f"hint: {hint}")
        self._hint = hint

    def _put_stage(self, name: str, facts: Facts) -> None:
        whose = f"#{show(facts['connection'])} " if "connection" in facts and "tunnel" not in facts else ""
        self.line(f"[{self._clock() - self._start:.3f}s] {whose}{STAGES[name](facts)}")
        if self.verbose > 1 and name in HEADS:
            for text in head_lines(name, facts):
                self._put(text)

    def _put_live(self, text: str) -> None:
        """Prints a line that the next one replaces; only on a terminal, because in a file it would be noise."""
        if self._live is None:
            self._live = os.isatty(STDERR)
        if self._live:
            width = os.get_terminal_size(STDERR).columns
            self._write(ERASE + text[: width - 1].encode())
            self._shown = True

    def _put(self, text: str) -> None:
        erase, self._shown = ERASE if self._shown else b"", False
        self._write(erase + text.encode("utf-8", "backslashreplace") + b"\n")


# The first lines of the heads that -vv shows.
HEADS = {"request": "> CONNECT {target} {version}", "response": "< {version} {status} {phrase}"}


def head_lines(name: str, facts: Facts) -> list[str]:
    """Returns a request or response as lines of HTTP/1.1, escaped and cut."""
    first = HEADS[name].format_map(facts)
    lines = [first, *(f"{first[0]} {field}: {value}" for field, value in facts["fields"])]
    shown = [escape(line, HEAD_LINE_LIMIT).rstrip() for line in lines[:HEAD_LINES_LIMIT]]
    if len(lines) > HEAD_LINES_LIMIT:
        shown.append(f"{first[0]} … {len(lines) - HEAD_LINES_LIMIT} more lines")
    return shown


def _fill(template: str) -> Render:
    """Returns a renderer that puts the facts of an event into `template`."""

    def render(facts: Facts) -> str:
        return template.format_map(_Shown(facts))

    return render


class _Shown(dict[str, object]):
    def __getitem__(self, key: str) -> str:
        return show(super().__getitem__(key))


def _settings(facts: Facts) -> str:
    return _fill("settings: {file}, profile {profile}" if facts["profile"] else "settings: {file}")(facts)


def _route(facts: Facts) -> str:
    return _fill("route: {proxies} ({origin})" if facts["proxies"] else "route: no proxy ({origin})")(facts)


def _tls(facts: Facts) -> str:
    """Shows the subject of a certificate that was verified, otherwise its key, which is what a pin names."""
    seen = "certificate of {subject}" if facts["subject"] else "key {pin}"
    return _fill(f"TLS with {{role}} {{to}}: {{version}}, {{cipher}}, {seen}")(facts)


def _failover(facts: Facts) -> str:
    after = "{proxies}" if facts["proxies"] else "no proxy"
    return _fill(f"not reached: {{cause}}; next: {after}")(facts)


def _dial(facts: Facts) -> str:
    """Shows the addresses after the name, if they differ from it."""
    same = show(facts["addresses"]) == show(facts["to"]).rpartition(":")[0].strip("[]")
    return _fill("connecting to {to}" if same else "connecting to {to} at {addresses}")(facts)


def _connected(facts: Facts) -> str:
    return _fill("connected to {address}" if facts["to"] == facts["address"] else "connected to {to} at {address}")(facts)


def _opened(facts: Facts) -> str:
    """Describes a tunnel of `serve`, which has an address, of `forward`, which has a client, or of `connect`."""
    if "address" in facts:
        but = "; {reports}" if facts["reports"] else ""
        return _fill(f"{_asker(facts)}: {_asked(facts)} open, at {{address}} ({{rule}}{but})")(facts)
    if "client" in facts:
        return _fill("client {client}: tunnel to {target} open after {seconds} s" + ("" if facts["via"] else ", without a proxy"))(
            facts
        )
    return _fill("tunnel to {target} open, via {via}" if facts["via"] else "connection to {target} open, without a proxy")(facts)


def _refused(facts: Facts) -> str:
    """Leaves out what is unknown: a refused head names no target."""
    what = _asked(facts) if facts["target"] else "request"
    why = (": {details}" if facts["details"] else "") + (f" ({{rule}}{_remedy(facts)})" if facts["rule"] else "")
    return _fill(f"{_asker(facts)}: {what} refused: {{status}} {{error}}{why}")(facts)


def _asked(facts: Facts) -> str:
    return "tunnel to {target}" if facts["method"] == "CONNECT" else "{method} to {target}"


def _remedy(facts: Facts) -> str:
    """Returns what the operator can do for a refused plain http request. The client is not told: it may be anybody."""
    if facts["rule"] == "plain http is off":
        return "; --plain-http serves http:// URLs"
    if facts["rule"] == "no allow rule" and facts["method"] != "CONNECT":
        return "; --allow '{target}' allows it"
    return ""


def _asker(facts: Facts) -> str:
    return "client {client} ({user})" if facts["user"] else "client {client}"


def _closed(facts: Facts) -> str:
    if "client" not in facts:
        return _fill("tunnel ended: {cause}; sent {sent} B, received {received} B")(facts)
    more = _carried(facts) if "tunnel" in facts else _advice(facts)
    what = _asked(facts) if "method" in facts else "tunnel to {target}"
    who = f"client {{client}}: {what} ended by the {{closed_by}} ({{cause}}) after {{seconds}} s"
    return _fill(f"{who}; sent {{sent}} B, received {{received}} B{more}")(facts)


def _advice(facts: Facts) -> str:
    """Returns advice if the target ended a tunnel of `forward` before it sent a byte."""
    died = facts["received"] == 0 and facts["closed_by"] == "target"
    return ": `tunnelctl check {target}` tells more, and many proxies allow only TLS" if died else ""


def _carried(facts: Facts) -> str:
    """Describes what a tunnel of `serve` carried, if a rule asked for that."""
    if "seen" not in facts:
        return ""
    name = ", server name {sni}" if facts["sni"] else ""
    cut = "; cut by {cut_by}" if facts["cut_by"] else ""
    return "; it carried {seen}" + name + cut + ("; {reports}" if facts["reports"] else "")


def _listening(facts: Facts) -> str:
    """Omits the program's name. The words up to the address are stable, because scripts wait for them; the rest is for people."""
    return f"listening on {show(facts['address'])}" + (f" {_leads(facts)}" if "target" in facts else "")


def _leads(facts: Facts) -> str:
    """Describes a local port: its target, its proxies, and whether it requires a login."""
    where = "-> {target}" if facts["target"] else "-> any target (SOCKS and HTTP)"
    login = ", login required" if facts["login"] else ""
    return _fill(where)(facts) + _through(facts) + login


def _through(facts: Facts) -> str:
    via, origin = facts["via"], facts["origin"]
    if via:
        return f" via {chain(via)}"
    if origin == "--pac":
        return " via the proxies of the PAC file"
    return _fill(", directly: {origin}" if " " in origin else ", directly ({origin})")(facts)


def _progress(facts: Facts) -> str:
    """Renders the live line of --progress."""
    ways = (("sent", "sending"), ("received", "receiving"))
    moved = ", ".join(f"{name} {size(facts[name])} ({size(facts[rate])}/s)" for name, rate in ways)
    return f"{facts['connections']} open, {moved}, {facts['seconds']:.0f} s"


FAILED = _fill("client {client}: {what}: {cause}")

# The sentence of each event, by its name.
STAGES: dict[str, Render] = {
    "settings": _settings,
    "ignored": _fill("ignored: {entry} in {variable}: {cause}"),
    "route": _route,
    "alert": _fill("the PAC file says: {text}"),
    "lookup": _fill("looking up {host}"),
    "dial": _dial,
    "connected": _connected,
    "request": _fill("request sent"),
    "response": _fill("answer: {status}"),
    "tls": _tls,
    "failover": _failover,
    "skipped": _fill("not through a forward: {cause}"),
    "network": _fill("the network has changed; idle connections dropped: {dropped}"),
    "retry": _fill("attempt {attempt} failed: {cause}; next in {delay} s"),
    "opened": _opened,
    "refused": _refused,
    "closed": _closed,
}


def _start_lines(event: str) -> Render:
    """Returns a renderer of a line that `serve` starts with. Those are in a module of their own, which `connect` need not load."""

    def render(facts: Facts) -> str:
        from tunnelctl.cli.render.start_lines import START_LINES

        return START_LINES[event](facts)

    return render


ALWAYS = {"warning", "listening", "failed", "progress"}  # printed without -v, as are NOTICES

# Events that an operator waits for.
NOTICES: dict[str, Render] = {
    "serving": _start_lines("serving"),
    "admin": _start_lines("admin"),
    "control": _fill("control: tunnelctl connect --via {name} HOST PORT"),
    "drain": _fill("draining: {connections} open, {seconds} s at most"),
    "reloaded": _fill("the {what} was read again: {now}"),
    "stopped": _fill("stopped"),
}


def write_stdout(text: str) -> None:
    """Writes the output of a command. A reader that has left is no error; a full disk is. Raises TunnelBroken."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:
        pass
    except OSError as error:
        raise broken_stdout(error) from None


def broken_stdout(error: OSError) -> TunnelctlError:
    return TunnelBroken("stdout", "it is closed" if error.errno == EBADF else reason(error), "stdout-failed")


def reserve_standard_descriptors() -> None:
    """Opens /dev/null at descriptors 0, 1 and 2 where the caller closed them, so that no socket gets the number and our messages.

    It is opened for reading only: a closed stdin reads as empty, and writing to a closed stdout fails, so that nobody believes that
    the bytes have arrived.
    """
    for fd, stream in enumerate((sys.__stdin__, sys.__stdout__, sys.__stderr__)):
        if stream is None:
            null = os.open(os.devnull, os.O_RDONLY)
            if null != fd:  # normally open() returns this one, as the lowest free number
                os.dup2(null, fd)
                os.close(null)
