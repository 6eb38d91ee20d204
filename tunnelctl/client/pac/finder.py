"""PAC: runs a script that names the proxies for a target, within limits of time and memory.

The script never waits for a name. It runs with a table of the known addresses. If it requires another one, it is stopped, the name
is looked up here, and the script runs again from the start, as in Chromium.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from math import inf
from pathlib import Path
from time import monotonic

from tunnelctl import events
from tunnelctl.client.pac.answer import Choice, parse_answer, url_of
from tunnelctl.client.pac.source import read
from tunnelctl.engine.kernel import BusyResourceError, TooSlowError, fail_after
from tunnelctl.engine.limiter import Semaphore
from tunnelctl.engine.resolver import resolve
from tunnelctl.engine.wakeup import to_thread
from tunnelctl.errors import AddressError, SettingsError, Unreachable, reason
from tunnelctl.events import Trace
from tunnelctl.namedtuple import NamedTuple
from tunnelctl.proto.address import Address, parse_host, shown
from tunnelctl.rare_events import Alert

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_NAMES = 20  # different names to look up for one result, as in Chromium; further ones have no address
MAX_CACHED = 1000  # targets whose result is kept
CACHED_SECONDS = 300.0  # for a result, since a script may decide by the hour and by the network; and for the script itself
FRESH_SECONDS = 5.0  # however many connections meet dead proxies, neither the script nor a result is renewed within this time
AGAIN_SECONDS = 5.0  # for reading the script again, while connections wait; the old one remains usable
SCRIPT_SECONDS = 5  # for a run, which should take milliseconds
PROCESS_SECONDS = 20.0  # for its process, including its start on a busy machine

# Only used to look up a route; nothing is sent. The addresses are reserved (RFC 5737, RFC 3849), so the default route counts.
_ANYWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))

# Printed by V8 when it aborts for lack of memory.
_TOO_LARGE = (b"out of memory", b"invalid size", b"invalid array length", b"invalid table size")

_HERE = Path(__file__).parent


class _Cached(NamedTuple):
    asked_at: float
    choices: tuple[Choice, ...]


class Pac:
    """A PAC file. It is read for the first target, and again when CACHED_SECONDS are over: a `forward` may run for weeks.

    So is each result. `expire` shortens that.
    """

    def __init__(self, source: str, trace: Trace) -> None:
        """source: a path, or a URL"""
        self._source, self._trace = source, trace
        self._script: str | None = None
        self._read_at = -inf
        self._expired = -inf  # what is from before this time does not count
        self._cache: dict[Address, _Cached] = {}
        # One process of V8 at a time, since each takes 60 MiB and connections that come together may all need one.
        self._turn = Semaphore(1)

    def load(self) -> None:
        """Reads the script now. Blocks. Raises SettingsError."""
        self._script, self._read_at = read(self._source), monotonic()

    async def find(self, target: Address) -> tuple[Choice, ...]:
        """The proxies to try, in order; None among them means no proxy. Raises SettingsError for any problem with the file.

        Raises Unreachable if no thread is left. Look-ups take as long as the name service does: the caller's scope is the deadline.
        """
        cached = self._cache.get(target)
        if cached is None or self._is_old(cached.asked_at):
            cached = _Cached(monotonic(), await self._ask(target))
            self._cache.pop(target, None)
            if len(self._cache) >= MAX_CACHED:
                del self._cache[next(iter(self._cache))]
            self._cache[target] = cached
        return cached.choices

    def expire(self, fresh: float = 0.0) -> None:
        """Renews the script, and each result, before its next use, unless it is newer than `fresh` seconds."""
        self._expired = max(self._expired, monotonic() - fresh)

    def _is_old(self, time: float) -> bool:
        return time < self._expired or time + CACHED_SECONDS <= monotonic()

    async def _ask(self, target: Address) -> tuple[Choice, ...]:
        known: dict[str, list[str]] = {}
        report = await self._run(target, known)
        while missing := [name for name in report["missing"] if name not in known]:  # MAX_NAMES in all
            for name in missing:
                self._trace(events.Lookup(name))
                known[name] = await _look_up(name)
            report = await self._run(target, known)
        for text in report["alerts"]:
            self._trace(Alert(text))
        if report["failure"]:
            raise self._wrong(report["failure"])
        return self._read(report["answer"])

    def _read(self, text: str) -> tuple[Choice, ...]:
        answer = parse_answer(text)
        if not answer.choices:
            raise self._wrong(f"names no proxy: {text!a}")
        for entry in answer.skipped:
            self._trace(events.Warning(f"PAC file {shown(self._source)}: {entry!a} is skipped: not a supported proxy"))
        return answer.choices

    async def _run(self, target: Address, known: dict[str, list[str]]) -> dict[str, Any]:
        """Runs the script once, from the start: nothing of an earlier run is left."""
        try:
            async with self._turn:
                if self._script is None or self._is_old(self._read_at):
                    await self._refresh()
                report = await to_thread(_in_a_process, self._task(target, known))
        except BusyResourceError as error:
            raise Unreachable(f"PAC file {shown(self._source)}", "too many lookups are pending", "lookups-hang") from error
        if "absent" in report:
            raise _no_engine(report["absent"])
        return report

    async def _refresh(self) -> None:
        """Reads the script. If re-reading fails, the old one stays in use: the proxies that it names may well be up."""
        self._read_at = monotonic()  # before the wait, which may end outside: those behind must not wait too
        try:
            with fail_after(AGAIN_SECONDS if self._script is not None else inf):
                self._script = await to_thread(read, self._source)
        except (SettingsError, TooSlowError) as error:
            if self._script is None:
                raise
            cause = error.cause if isinstance(error, SettingsError) else f"no answer within {AGAIN_SECONDS:g} s"
            text = f"PAC file {shown(self._source)} cannot be read again, and is used as it was: {cause}"
            self._trace(events.Warning(text))

    def _task(self, target: Address, known: dict[str, list[str]]) -> dict[str, Any]:
        return {
            "script": self._script,
            "url": url_of(target),
            "host": target.host,
            "known": known,
            "own": _own_addresses(),
            "room": MAX_NAMES - len(known),
            "seconds": SCRIPT_SECONDS,
        }

    def _wrong(self, cause: str) -> SettingsError:
        return SettingsError(f"PAC file {shown(self._source)}", cause, "pac-failed")


def _in_a_process(task: dict[str, Any]) -> dict[str, Any]:
    """Runs the worker and returns its report. -P, because the directory of its file has modules of ours that it must not import."""
    command = [sys.executable, "-P", str(_HERE / "worker.py")]
    slow = f"no answer within {SCRIPT_SECONDS} s"
    try:
        octets = json.dumps({**task, "helpers": (_HERE / "helpers.js").read_text("utf-8")}).encode()
        ended = subprocess.run(command, input=octets, capture_output=True, timeout=PROCESS_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return _failure(slow)
    except OSError as error:  # no descriptor left, or no memory
        return _failure(f"the process for it cannot be started: {reason(error)}")
    if ended.returncode == -signal.SIGALRM:
        return _failure(slow)
    if ended.returncode:
        large = any(text in ended.stderr for text in _TOO_LARGE)
        return _failure(f"it crashed the JavaScript engine{': it requires too much memory' if large else ''}")
    return {**_failure(""), **json.loads(ended.stdout)}


def _no_engine(cause: str) -> SettingsError:
    return SettingsError(
        "", f"there is no JavaScript engine: {cause}", "no-javascript", option="pac", facts={"package": "mini-racer"}
    )


def _failure(cause: str) -> dict[str, Any]:
    return {"missing": [], "alerts": [], "failure": cause}


async def _look_up(name: str) -> list[str]:
    """The addresses of what a script treats as a name; empty if there are none."""
    try:
        return [entry.host for entry in await resolve(parse_host(name), 0)]
    except (AddressError, BusyResourceError, OSError, UnicodeError):
        return []


def _own_addresses() -> list[str]:
    """The local addresses from which connections to the internet would come."""
    found = []
    for family, address in _ANYWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return found
