"""Runs a PAC script once, within limits of time and memory. A program of its own, because V8 enforces neither limit by itself:

- It aborts its process when memory runs out at the wrong moment, and prints its stack.
- Its limit applies to its heap. The content of typed arrays, of WebAssembly and of large strings lies outside, and one allocation
  may overshoot it.
- It can be interrupted only between the steps of a script. `new Array(2 ** 28).fill(1)` is one step and takes half a minute.

So a thread beside V8 watches the clock and the memory of the process, and ends the process with a report. The program reads one
JSON object from stdin and writes one to stdout. It is started as a file and imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from threading import Lock, Thread
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MIB = 1 << 20
HEAP = 64 * MIB  # limit of V8's heap
PROCESS = 128 * MIB  # growth of the process since the start of the script; garbage that is not yet collected counts
# Limit of its allocations, touched or not. It ends a script only if the thread does not get its turn.
DATA = 512 * MIB

TICK = 0.01  # seconds between two checks; a script that fills memory takes some 30 MiB meanwhile
LATE = 0.25  # seconds that V8 gets for its own interrupt, or for a report

# Characters of a result and of a name, alerts that are kept, and characters of each: as in helpers.js.
MAX_ANSWER, MAX_NAME, MAX_ALERTS, MAX_ALERT = 4096, 255, 20, 200

# The errors of V8 for an array buffer, or memory of WebAssembly, that cannot be allocated.
_NO_MEMORY = ("Array buffer allocation failed", "Out of memory", "could not allocate memory")

_ending = Lock()  # the thread that holds it ends the process


def main() -> None:
    task = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(3 * task["seconds"])  # the parent may not be left to end us
    try:
        _end(_evaluate(task))
    finally:
        os._exit(1)  # not through V8, which may wait for its threads forever


def _end(report: dict[str, Any]) -> NoReturn:
    """Writes a report and ends the process. The first report counts: the lock is never released."""
    _ending.acquire()
    os.write(1, json.dumps(report).encode())
    os._exit(0)


def _evaluate(task: dict[str, Any]) -> dict[str, Any]:
    try:
        from py_mini_racer import JSEvalException, JSOOMException, JSTimeoutException, MiniRacer

        engine = MiniRacer()
    except Exception as error:  # no package, or none for this machine: loader, ctypes and package each raise their own errors
        return {"absent": str(error) or type(error).__name__}
    engine.set_hard_memory_limit(HEAP)
    engine.eval(f"{task['helpers']}\ntunnelctl.begin(...{_literal([task['known'], task['own'], task['room']])})")
    until = monotonic() + task["seconds"]
    _limit_data()
    slow = {"failure": f"no answer within {task['seconds']} s"}
    Thread(target=_watch, args=(until + LATE, resident() + PROCESS, slow), daemon=True).start()

    def run(code: str) -> object:
        return engine.eval(code, timeout_sec=max(0.001, until - monotonic()))

    failure = ""
    try:
        try:
            run(f"{task['script']}\n//# sourceURL=script")
            run(f"tunnelctl.run(...{_literal([task['url'], task['host']])})")
        except (JSTimeoutException, JSOOMException):  # subclasses of the next one
            raise
        except JSEvalException as error:
            failure = str(error).partition("\n")[0].replace("<anonymous>", "script")
            if any(text in failure for text in _NO_MEMORY):
                return too_large(DATA)
        return _checked(json.loads(str(run("tunnelctl.report()"))), failure, task["room"])
    except JSTimeoutException:
        return slow
    except JSOOMException:
        return too_large(HEAP)


def _watch(until: float, most: int, slow: dict[str, Any]) -> None:
    """Ends the process when its time is up, or when more than `most` bytes of its memory are resident."""
    while monotonic() < until:
        if resident() > most:
            _end(too_large(PROCESS))
        sleep(TICK)
    _end(slow)


def too_large(limit: int) -> dict[str, Any]:
    """The report of a script that exceeds one of the limits on memory."""
    return {"failure": f"it takes more than {limit // MIB} MiB of memory"}


def resident() -> int:
    """The resident memory of this process, in bytes. Without /proc it is the peak."""
    try:
        with open("/proc/self/statm") as numbers:
            return int(numbers.read().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _limit_data() -> None:
    """Limits allocations. Only after V8 has started, since it then reserves half a GiB."""
    try:
        with open("/proc/self/statm") as numbers:
            data = int(numbers.read().split()[5]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_DATA, (data + DATA, data + DATA))


def _literal(value: object) -> str:
    """A value as JavaScript. Plain JSON would not do: in JavaScript, unlike in JSON, `__proto__` is not a normal key."""
    return f"JSON.parse({json.dumps(json.dumps(value))})"


def _checked(report: dict[str, Any], failure: str, room: int) -> dict[str, Any]:
    """The report within its limits, which a script may have bypassed: it runs in the same context as the helpers."""
    return {
        "missing": [str(name)[:MAX_NAME] for name in report["missing"][:room]],
        "alerts": [str(text)[:MAX_ALERT] for text in report["alerts"][:MAX_ALERTS]],
        "answer": str(report.get("answer", ""))[:MAX_ANSWER],
        "failure": failure or str(report.get("failure", ""))[:MAX_ALERT],
    }


if __name__ == "__main__":
    main()
