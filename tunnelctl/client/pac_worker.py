"""Runs a PAC script once. A program of its own: V8 aborts its process when memory runs out in the wrong moment
(`new Array(2 ** 28).fill(1)` is enough), and prints its stack.

One JSON object in at stdin, one out at stdout. It is started as a file and imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What V8 may keep, and what the process may have in all: V8 overshoots its own limit by what one allocation can be, and reserves
# half a GiB to begin with.
HEAP, PROCESS = 64 << 20, 2 << 30

# Characters of an answer and of a name, alerts that are kept, and characters of each: as in pac.js.
MAX_ANSWER, MAX_NAME, MAX_ALERTS, MAX_ALERT = 4096, 255, 20, 200


def main() -> None:
    task = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (PROCESS, PROCESS))
    signal.alarm(2 * task["seconds"])  # nobody may be left who would end us
    status = 1
    try:
        os.write(1, json.dumps(_evaluate(task)).encode())
        status = 0
    finally:
        os._exit(status)  # not by way of V8, whose threads may be waited for without end


def _evaluate(task: dict[str, Any]) -> dict[str, Any]:
    try:
        from py_mini_racer import JSEvalException, JSOOMException, JSTimeoutException, MiniRacer

        engine = MiniRacer()
    except Exception as error:  # no package, or none for this machine: the loader, ctypes and the package each raise their own
        return {"absent": str(error) or type(error).__name__}
    engine.set_hard_memory_limit(HEAP)
    failure = ""
    try:
        engine.eval(f"{task['helpers']}\ntunnelctl.begin(...{_literal([task['known'], task['own'], task['room']])})")
        engine.eval(f"{task['script']}\n//# sourceURL=script", timeout_sec=task["seconds"])
        engine.eval(f"tunnelctl.run(...{_literal([task['url'], task['host']])})", timeout_sec=task["seconds"])
    except JSTimeoutException:
        return {"failure": f"no answer within {task['seconds']} s"}
    except JSOOMException:
        return {"failure": f"it wants more than {HEAP >> 20} MiB of memory"}
    except JSEvalException as error:
        failure = str(error).partition("\n")[0].replace("<anonymous>", "script")
    report = json.loads(str(engine.eval("tunnelctl.report()", timeout_sec=task["seconds"])))
    return _checked(report, failure, task["room"])


def _literal(value: object) -> str:
    """A value as JavaScript. Not as it stands: there, unlike in JSON, the key `__proto__` is none."""
    return f"JSON.parse({json.dumps(json.dumps(value))})"


def _checked(report: dict[str, Any], failure: str, room: int) -> dict[str, Any]:
    """The report in its bounds, which a script can have overthrown: it runs in the same house as the helpers."""
    return {
        "missing": [str(name)[:MAX_NAME] for name in report["missing"][:room]],
        "alerts": [str(text)[:MAX_ALERT] for text in report["alerts"][:MAX_ALERTS]],
        "answer": str(report.get("answer", ""))[:MAX_ANSWER],
        "failure": failure or str(report.get("failure", ""))[:MAX_ALERT],
    }


if __name__ == "__main__":
    main()
