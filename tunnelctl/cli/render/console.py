"""Messages for people while a command runs: all go through here to stderr, with everything from a peer escaped.

Writes go straight to the descriptor: Python's text stream keeps what it could not write, and fails again at exit, with status 120.
"""

import os
import sys
from collections.abc import Callable, Mapping
from errno import EBADF
from time import monotonic

from tunnelctl.cli.render.text import DIGITS, chain, clean, escape, plain, show
from tunnelctl.errors import TunnelctlError

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
    """Renders errors, warnings and the events of tunnelctl.trace; the layers below call it as their Trace.

    start: the time of `clock` that printed times are relative to; now, unless given
    """

    def __init__(
        self,
        verbose: int = 0,
        quiet: bool = False,
        json: bool = False,
        start: float | None = None,
        write: Callable[[bytes], None] = write_stderr,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.verbose = verbose
        self.quiet = quiet
        self.json = json
        self._write = write
        self._clock = clock
        self._start = clock() if start is None else start
        self._live: bool | None = None  # whether stderr is a terminal; None: not checked yet
        self._shown = False  # whether a live line is on the terminal
        self._hint = ""  # of the last failed connection

    def __call__(self, event: str, /, **fields: object) -> None:
        """Renders an event as the Trace, if the verbosity includes it. A `failed` event is an error, and printed even with -q."""
        if self.quiet and event != "failed":
            return
        if self.json:
            self.put_json(event, fields)
        elif event == "warning":
            self.line(f"warning: {show(fields.get('text', '?'))}")
        elif event == "listening":
            self._put(_listening(fields))
        elif event == "failed":
            self._put_failed(fields)
        elif event == "progress":
            self._put_live(_progress(fields))
        elif event in NOTICES:
            for text in NOTICES[event](fields).split("\n"):
                self.line(text)
        elif self.verbose:
            self._put_stage(event, fields)
        elif event == "end" and self._shown:
            self.line(STAGES[event](fields))  # replaces the live line, which would otherwise stay unfinished

    def error(self, error: TunnelctlError) -> None:
        """Prints an error: one line, then the hint. Does so even with -q."""
        if self.json:
            facts = {"status": int(error.status), "what": clean(error.what), "cause": clean(error.cause), "hint": clean(error.hint)}
            self.put_json("error", {**error.detail, **facts})
            return
        self.line(f"{clean(error.what)}: {clean(error.cause)}")
        if error.hint:
            self._put(f"hint: {clean(error.hint)}")

    def fault(self, fault: BaseException, debug: bool) -> None:
        """Reports a bug in tunnelctl: one line and how to see the traceback; with `debug`, the traceback and then the line."""
        from tunnelctl.status import ExitStatus

        if debug:
            import traceback

            self._write("".join(traceback.format_exception(fault)).encode("utf-8", "backslashreplace"))
        error = TunnelctlError(
            "fault in tunnelctl",
            f"{type(fault).__name__}: {fault}",
            "" if debug else "TUNNELCTL_DEBUG=1 in the environment shows the traceback",
        )
        error.status = ExitStatus.FAULT
        self.error(error)

    def line(self, text: str) -> None:
        """Prints a line that begins with the name of the program. `text` must be escaped."""
        self._put(f"tunnelctl: {text}")

    def put_json(self, event: str, fields: Mapping[str, object]) -> None:
        """Prints one object on one line, ASCII only, so that no control character can reach a terminal."""
        import json

        record = {"event": event, "at": round(self._clock() - self._start, DIGITS)}
        record.update((name, plain(value)) for name, value in fields.items() if name not in record)
        self._put(json.dumps(record))

    def _put_failed(self, fields: Mapping[str, object]) -> None:
        """Prints one line, since there may be many failures; the hint only if it differs from that of the failure before."""
        self.line(FAILED(fields))
        hint = show(fields.get("hint", ""))
        if hint and hint != self._hint:
            self._put(f"hint: {hint}")
        self._hint = hint

    def _put_stage(self, event: str, fields: Mapping[str, object]) -> None:
        words = STAGES[event](fields) if event in STAGES else describe_unknown(event, fields)
        whose = f"#{show(fields['connection'])} " if "connection" in fields else ""
        self.line(f"[{self._clock() - self._start:.3f}s] {whose}{words}")
        head = fields.get("head")
        if self.verbose > 1 and isinstance(head, bytes):
            for text in head_lines(head):
                self._put(f"{'>' if event == 'request' else '<'} {text}".rstrip())

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


def head_lines(head: bytes) -> list[str]:
    """Returns the lines of a head, escaped and cut, without the empty line that ends it."""
    lines = head.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    shown = [escape(line, HEAD_LINE_LIMIT) for line in lines[:HEAD_LINES_LIMIT]]
    if len(lines) > HEAD_LINES_LIMIT:
        shown.append(f"… {len(lines) - HEAD_LINES_LIMIT} more lines")
    return shown


Render = Callable[[Mapping[str, object]], str]


def _fill(template: str) -> Render:
    """Returns a renderer that puts the event's fields into `template`; a missing field shows as ?."""

    def render(fields: Mapping[str, object]) -> str:
        return template.format_map(_Shown(fields))

    return render


class _Shown(dict[str, object]):
    def __getitem__(self, key: str) -> str:
        return show(self.get(key, "?"))


def _settings(fields: Mapping[str, object]) -> str:
    return _fill("settings: {file}, profile {profile}" if fields.get("profile") else "settings: {file}")(fields)


def _route(fields: Mapping[str, object]) -> str:
    return _fill("route: {proxies} ({origin})" if fields.get("proxies") else "route: no proxy ({origin})")(fields)


def _tls(fields: Mapping[str, object]) -> str:
    """Shows the subject of a certificate that was verified, otherwise its key, which is what a pin names."""
    seen = "certificate of {subject}" if fields.get("subject") else "key {pin}"
    return _fill(f"TLS with {{to}}: {{version}}, {{cipher}}, {seen}")(fields)


def _failover(fields: Mapping[str, object]) -> str:
    after = "{proxies}" if fields.get("proxies") else "no proxy"
    return _fill(f"not reached: {{cause}}; next: {after}")(fields)


def _dial(fields: Mapping[str, object]) -> str:
    """Shows the addresses after the name, if they differ from it."""
    same = show(fields.get("addresses", ())) == show(fields.get("to", "?")).rpartition(":")[0].strip("[]")
    return _fill("connecting to {to}" if same or "addresses" not in fields else "connecting to {to} at {addresses}")(fields)


def _connected(fields: Mapping[str, object]) -> str:
    same = fields.get("to", fields.get("address")) == fields.get("address")
    return _fill("connected to {address}" if same else "connected to {to} at {address}")(fields)


def _tunnel(fields: Mapping[str, object]) -> str:
    return _fill("tunnel to {target} open, via {via}" if fields.get("via") else "connection to {target} open, without a proxy")(
        fields
    )


def _decision(fields: Mapping[str, object]) -> str:
    """Leaves out what is unknown: a refused head names no target, and without users there is no login."""
    who = "client {client} ({user})" if fields.get("user") else "client {client}"
    what = "tunnel to {target}" if fields.get("target") else "request"
    if fields.get("status") == 200:
        but = "; {reports}" if fields.get("reports") else ""
        return _fill(f"{who}: {what} open, at {{address}} ({{rule}}{but})")(fields)
    why = (": {details}" if fields.get("details") else "") + (" ({rule})" if fields.get("rule") else "")
    return _fill(f"{who}: {what} refused: {{status}} {{error}}{why}")(fields)


def _ended(fields: Mapping[str, object]) -> str:
    """Adds advice if the target ended the tunnel before it sent a byte."""
    died = fields.get("received") == 0 and fields.get("ended_by") == "target"
    advice = ": `tunnelctl check {target}` tells more, and many proxies let only TLS through" if died else ""
    who = "client {client}: tunnel to {target} ended by the {ended_by} ({cause}) after {seconds} s"
    return _fill(f"{who}; sent {{sent}} B, received {{received}} B{advice}")(fields)


def _inspected(fields: Mapping[str, object]) -> str:
    name = ", server name {sni}" if fields.get("sni") else ""
    cut = "; cut by {cut_by}" if fields.get("cut_by") else ""
    reports = "; {reports}" if fields.get("reports") else ""
    return _fill(f"client {{client}}: tunnel to {{target}} carries {{seen}}{name}{cut}{reports}")(fields)


def _listening(fields: Mapping[str, object]) -> str:
    """Omits the program's name. The words up to the address are stable, because scripts wait for them; the rest is for people."""
    words = [f"listening on {show(fields.get('address', ''))}"]
    words += [render(fields) for key, render in LISTENING.items() if key in fields]
    return " ".join(words)


def _leads(fields: Mapping[str, object]) -> str:
    """Describes a local port: its target, its proxies, and whether it requires a login."""
    where = "-> {target}" if fields.get("target") else "-> any target (SOCKS and HTTP)"
    login = ", login required" if fields.get("login") else ""
    return _fill(where)(fields) + _through(fields) + login


def _through(fields: Mapping[str, object]) -> str:
    via = fields.get("via")
    if isinstance(via, (list, tuple)) and via:
        return f" via {'proxy' if len(via) == 1 else 'proxies'} {chain(via)}"
    if fields.get("origin") == "--pac":
        return " via the proxies of the PAC file"
    return _fill(", directly: {origin}" if " " in str(fields.get("origin", "")) else ", directly ({origin})")(fields)


def size(count: object) -> str:
    """Formats a number of bytes for people: 1536 is 1.5 KiB."""
    number = float(count) if isinstance(count, (int, float)) else 0.0
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1000 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def _progress(fields: Mapping[str, object]) -> str:
    """Renders the live line of --progress."""
    count, ways = fields.get("connections"), (("sent", "sending"), ("received", "receiving"))
    moved = ", ".join(f"{name} {size(fields.get(name))} ({size(fields.get(rate))}/s)" for name, rate in ways)
    return f"{show(count)} open, {moved}, {float(str(fields.get('elapsed', 0))):.0f} s"


FAILED = _fill("client {client}: {what}: {cause}")

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
    "retry": _fill("attempt {attempt} failed: {cause}; next in {delay} s"),
    "tunnel": _tunnel,
    "end": _fill("tunnel ended: {reason}; sent {sent} B, received {received} B"),
    "opened": _fill("client {client}: tunnel to {target} open after {elapsed} s"),
    "ended": _ended,
    "decision": _decision,
    "inspected": _inspected,
    "closed": _fill(
        "client {client}: tunnel to {target} ended by the {ended_by} ({cause}) after {seconds} s; "
        "sent {sent} B, received {received} B"
    ),
}


def _start_lines(event: str) -> Render:
    """Returns a renderer of a line that `serve` starts with. Those are in a module of their own, which `connect` need not load."""

    def render(fields: Mapping[str, object]) -> str:
        from tunnelctl.cli.render.start_lines import START_LINES

        return START_LINES[event](fields)

    return render


# Renderers of the text after a listening address, each by the event key that requires it.
LISTENING: dict[str, Render] = {"target": _leads}

# Events that an operator waits for, printed without -v.
NOTICES: dict[str, Render] = {
    "serving": _start_lines("serving"),
    "admin": _start_lines("admin"),
    "drain": _fill("draining: {connections} open, {seconds} s at most"),
    "reloaded": _fill("the {what} was read again: {now}"),
    "stopped": _fill("stopped"),
}


def describe_unknown(event: str, fields: Mapping[str, object]) -> str:
    """Renders an event that has no template here, so that it is not lost."""
    return " ".join([escape(event), *(f"{name}={show(value)}" for name, value in fields.items() if name != "head")])


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
    from tunnelctl.errors import TunnelBroken, reason

    return TunnelBroken("stdout", "it is closed" if error.errno == EBADF else reason(error))


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
