"""The start of `connect` with a control socket of a running `forward`, beside its start with a proxy in the clear and behind TLS.

All of them reach the same target, and the forward does so by way of the proxy behind TLS.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.samples import http2, proxies
from tests.bench.samples.clients import BANNER, BARE, Bench, Commands, scripted_proxy
from tests.bench.workshop import Plan, Table, Unavailable, Workshop, last_line, say
from tests.peers.process import Daemon, wait_until

CLEAR, TLS, CONTROL = "connect, in the clear", "connect, TLS", "connect, control socket"
TARGET = f"127.0.0.{10 + BANNER}"  # where load.c has the banner, without a CONNECT
NAME = "bench"

CONNECT = {
    CLEAR: "connect -x http://127.0.0.1:{clear} {target} {behind}",
    TLS: "connect -x https://127.0.0.1:{tls} --proxy-cacert {authority} {target} {behind}",
    CONTROL: "connect --via {control} {target} {behind}",
}


@contextmanager
def forward(workshop: Workshop, proxy: int, authority: Path, behind: int) -> Iterator[Path]:
    """Runs a forward; its control socket."""
    script = str(workshop.tunnelctl())
    usage = subprocess.run([script, "connect", "--help"], capture_output=True, text=True, check=True, timeout=20).stdout
    if "--via" not in usage:
        raise Unavailable("this version has no control socket")
    runtime = workshop.directory / "runtime"
    runtime.mkdir(mode=0o700)
    control = runtime / "tunnelctl" / f"{NAME}.sock"

    def command(port: int) -> list[str]:
        words = ["-x", f"https://127.0.0.1:{proxy}", "--proxy-cacert", str(authority), "-L", f"{port}:{TARGET}:{behind}"]
        return workshop.leashed([script, "forward", "--name", NAME, *words])

    environment = {**workshop.environment, "XDG_RUNTIME_DIR": str(runtime)}
    try:
        with Daemon(command, workshop.directory / "forward.log", environment, end_with=signal.SIGKILL):
            wait_until(control.exists, what="the control socket")
            yield control
    except AssertionError as failure:
        raise Unavailable(f"forward does not run: {last_line(str(failure))}") from failure


def commands_of(workshop: Workshop) -> Commands:
    script = workshop.tunnelctl()
    connects = {name: [str(script), *line.split()] for name, line in CONNECT.items()}
    return {BARE: [str(script.with_name("python")), "-I", "-c", "pass"], **connects}


def measure(workshop: Workshop, plan: Plan, table: Table) -> None:
    from tests.peers import certificates  # and trustme, which the rest of the benchmark does not need

    recipes: dict[str, proxies.Recipe] = {http2.OURS: http2.serve, http2.OURS_TLS: http2.serve_tls}
    commands = commands_of(workshop)
    with ExitStack() as stack:
        behind = stack.enter_context(scripted_proxy(workshop, 0))
        clear, tls = (stack.enter_context(proxies.running(workshop, name, recipes, lambda *_: None)).port for name in recipes)
        authority = certificates.authority(workshop.directory)
        places = {"clear": clear, "tls": tls, "authority": authority, "target": TARGET, "behind": behind}
        try:
            places["control"] = stack.enter_context(forward(workshop, tls, authority, behind))
        except Unavailable as reason:
            table.missing[CONTROL] = str(reason)
            del commands[CONTROL]
        bench = Bench(workshop, plan, table, **places)
        for number in range(1, plan.rounds + 1):
            say(f"control: round {number} of {plan.rounds}")
            for _ in range(plan.starts):
                bench.each(bench.start, commands)
    _compare(table)


def _compare(table: Table) -> None:
    """Adds what the control socket takes beyond a proxy in the clear, start by start."""
    ours, clear = (table.samples.get(name, {}).get("start_ms", []) for name in (CONTROL, CLEAR))
    for one, other in zip(ours, clear, strict=False):
        table.add(CONTROL, beyond_ms=one - other)
