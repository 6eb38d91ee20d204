"""`serve` and the proxies that it is compared with: how each is started, and what is measured on it."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import nan
from pathlib import Path
from typing import Any

from tests.bench.workshop import DIRECT, SPLICE, Plan, Table, Unavailable, Workshop, last_line, say
from tests.peers.process import Daemon, end, which

GIB = 1 << 30
OURS = "tunnelctl serve"
IDLE_TUNNELS = (1_000, 9_000)  # the growth for fewer is that of a few pages
WARM_UP = 200
SETTLE_SECONDS = 5.0
SETTLED = 0.001  # CPU seconds in a tenth of a second: no more than timers take
SPARE_DESCRIPTORS = 200

Command = Callable[[int], list[str]]  # the argument list for a port
Recipe = Callable[[Workshop, Path], Command]


# ---- the programs. One worker each, as lean as their settings allow; tunnelctl alone writes a log ----


def tunnelctl(workshop: Workshop, directory: Path, *more: str, host: str = "127.0.0.1") -> Command:
    script, log = str(workshop.tunnelctl()), str(directory / "access.log")
    options = ["--allow", "127.0.0.0/8:*", "--access-log", log, *more]
    return lambda port: [script, "serve", "--listen", f"{host}:{port}", *options]


def with_settings(text: str, directory: Path, *words: str) -> Command:
    """A program that reads `text` from a file; {port} and {directory} are filled in. `words` end with the file's flag."""

    def command(port: int) -> list[str]:
        file = directory / "settings"
        file.write_text(text.replace("{port}", str(port)).replace("{directory}", str(directory)))
        return [*words, str(file)]

    return command


def installed(program: str) -> str:
    path = which(program)
    if path is None:
        raise Unavailable("not installed")
    return path


TINYPROXY = """\
Listen 127.0.0.1
Port {port}
Timeout 600
MaxClients 20000
{log}
Allow 127.0.0.0/8
"""


def tinyproxy(workshop: Workshop, directory: Path, log: str = "LogLevel Critical") -> Command:
    return with_settings(TINYPROXY.replace("{log}", log), directory, installed("tinyproxy"), "-d", "-c")


def tinyproxy_with_log(workshop: Workshop, directory: Path) -> Command:
    """Three lines a tunnel, the least that tells of each; Debian's settings write more."""
    return tinyproxy(workshop, directory, 'LogFile "{directory}/tinyproxy.log"\nLogLevel Connect')


SQUID = """\
http_port 127.0.0.1:{port}
acl own src 127.0.0.0/8
http_access allow own
http_access deny all
cache deny all
cache_mem 0 MB
access_log none
cache_log /dev/null
cache_store_log none
netdb_filename none
pid_filename none
pinger_enable off
coredump_dir {directory}
cache_effective_user nobody
max_filedescriptors 20000
"""


def squid(workshop: Workshop, directory: Path) -> Command:
    return with_settings(SQUID, directory, installed("squid"), "-N", "-n", squid_name(), "-f")


def squid_name() -> str:
    """A service name of its own keeps its shared memory apart from any other squid's."""
    return f"bench{os.getpid()}"


# A forward proxy for any target, so the dynamic cluster; the limits of its circuit breakers are below 9,000 by default.
ENVOY = """\
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: {port}}}
    filter_chains:
    - name: tunnels
      {listener}
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          {http}
          upgrade_configs: [{upgrade_type: CONNECT}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {connect_matcher: {}}
                route: {cluster: targets, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
          http_filters:
          - name: envoy.filters.http.dynamic_forward_proxy
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig
              dns_cache_config: &cache {name: cache, dns_lookup_family: V4_ONLY}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: targets
    lb_policy: CLUSTER_PROVIDED
    circuit_breakers:
      thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]
    cluster_type:
      name: envoy.clusters.dynamic_forward_proxy
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig
        dns_cache_config: *cache
"""


def envoy(workshop: Workshop, directory: Path, http: Mapping[str, Any] = {}, listener: Mapping[str, Any] = {}) -> Command:
    """http: more settings of the manager of HTTP connections; listener: of the chain of filters that it is in"""
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "critical", "-c"]
    settings = ENVOY.replace("{http}", _lines(http, 10)).replace("{listener}", _lines(listener, 6))
    command = with_settings(settings, directory, str(workshop.envoy()), *options)
    # The ending tells Envoy the format.
    return lambda port: [*command(port)[:-1], str((directory / "settings").rename(directory / "settings.yaml"))]


def _lines(settings: Mapping[str, Any], indent: int) -> str:
    """As YAML, of which JSON is a part."""
    return f"\n{' ' * indent}".join(f"{key}: {json.dumps(value)}" for key, value in settings.items())


def splice_loop(workshop: Workshop, directory: Path) -> Command:
    return lambda port: [str(workshop.splice), "serve", str(port)]


RECIPES: dict[str, Recipe] = {OURS: tunnelctl, "tinyproxy": tinyproxy, "squid": squid, "Envoy": envoy, SPLICE: splice_loop}


class Proxy:
    """A proxy that runs, with all the processes it started."""

    def __init__(self, daemon: Daemon) -> None:
        assert daemon.process is not None
        self.port = daemon.port
        self.pid = daemon.process.pid

    def cpu(self) -> float:
        """User and system seconds, once they hardly grow: what a sample set off belongs to it, to its last close."""
        before, deadline = -1.0, time.monotonic() + SETTLE_SECONDS
        # Written so that nan, which is in no order, counts as growth.
        while not (after := cpu_of_tree(self.pid)) - before < SETTLED and time.monotonic() < deadline:
            before = after
            time.sleep(0.1)
        return after

    def rss_kib(self) -> int:
        """Resident KiB, once the work has settled."""
        self.cpu()
        return sum(map(resident_kib, tree(self.pid)))


def fields_of_stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; the second, the name, may hold blanks and parentheses."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            children.setdefault(int(fields_of_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:  # grows while it is walked
        found.extend(children.get(parent, []))
    return found


def cpu_seconds(pid: int) -> float:
    """Of a process with all its threads, and of its children that have ended."""
    of_children = sum(map(int, fields_of_stat(pid)[13:15])) / os.sysconf("SC_CLK_TCK")
    # The clock of clock_getcpuclockid(3): a sample can be so short that the 10 ms of stat are a tenth of it.
    return time.clock_gettime(~pid << 3 | 2) + of_children


def cpu_of_tree(pid: int) -> float:
    """Of a process and its descendants; nan, which equals nothing, if one of them ended meanwhile."""
    try:
        return sum(map(cpu_seconds, tree(pid)))
    except OSError:
        return nan


def resident_kib(pid: int) -> int:
    # smaps_rollup walks the pages; the sums in statm lag behind by dozens of pages a core.
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def warm_up(workshop: Workshop, proxy: Proxy) -> None:
    workshop.sample("rate", proxy.port, WARM_UP, 8)


@contextmanager
def running(
    workshop: Workshop,
    name: str,
    recipes: Mapping[str, Recipe] = RECIPES,
    warm_up: Callable[[Workshop, Proxy], None] = warm_up,
) -> Iterator[Proxy]:
    """A fresh proxy of that name, warmed up, with a directory of its own."""
    directory = workshop.fresh_directory()
    command = recipes[name](workshop, directory)
    daemon = Daemon(
        lambda port: workshop.leashed(command(port)),
        directory / "log",
        workshop.environment,
        # Told to end politely, squid takes two seconds more, and nobody waits for its tunnels.
        end_with=signal.SIGKILL,
    )
    try:
        with daemon:
            proxy = Proxy(daemon)
            warm_up(workshop, proxy)
            yield proxy
    except AssertionError as failure:  # of Daemon: it did not start, or it ended by itself
        raise Unavailable(f"does not run: {last_line(str(failure))}") from failure
    finally:
        for segment in Path("/dev/shm").glob(f"{squid_name()}-*"):
            segment.unlink()


@contextmanager
def holder(*command: object) -> Iterator[Callable[[int], None]]:
    """A function that brings the number of open tunnels to its argument, by a C helper that reads numbers."""
    words = list(map(str, command))
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    questions, answers = process.stdin, process.stdout
    assert questions is not None
    assert answers is not None

    def hold(count: int) -> None:
        questions.write(b"%d\n" % count)
        answer = answers.readline().decode()  # the helper has its own limit of time
        if answer != f"{count}\n":
            raise Unavailable(f"{count} tunnels: {answer.strip()}")

    with questions, answers:
        try:
            yield hold
        finally:
            end(process)


class Bench:
    def __init__(self, workshop: Workshop, plan: Plan, table: Table) -> None:
        self._workshop = workshop
        self._plan = plan
        self._table = table

    def rate(self, name: str, proxy: Proxy) -> None:
        before = proxy.cpu()
        figures = self._workshop.sample("rate", proxy.port, self._plan.tunnels, self._plan.at_once)
        cpu = (proxy.cpu() - before) / self._plan.tunnels
        self._table.add(name, tunnels_s=self._plan.tunnels / figures["seconds"], tunnel_us=cpu * 1e6)

    def bulk(self, name: str, proxy: Proxy) -> None:
        before = proxy.cpu()
        figures = self._workshop.sample("bulk", proxy.port, self._plan.bulk)
        gib = self._plan.bulk / GIB
        self._table.add(name, bulk_gibs=gib / figures["seconds"], bulk_cpu=(proxy.cpu() - before) / gib)

    def straight(self) -> None:
        """The same load on connections to the targets, without a proxy."""
        figures = self._workshop.sample("rate", 0, self._plan.tunnels, self._plan.at_once)
        self._table.add(DIRECT, tunnels_s=self._plan.tunnels / figures["seconds"])
        figures = self._workshop.sample("bulk", 0, self._plan.bulk)
        self._table.add(DIRECT, bulk_gibs=self._plan.bulk / GIB / figures["seconds"])

    def idle(self, name: str, proxy: Proxy) -> None:
        """More and more tunnels that have carried a byte and now lie still."""
        base = proxy.rss_kib()
        with holder(self._workshop.load, "hold", proxy.port, self._plan.at_once) as hold:
            for count in IDLE_TUNNELS:
                if not enough_descriptors(count):
                    raise Unavailable(f"the limit of descriptors is too low for {count} tunnels")
                hold(count)
                self._table.add(name, **{f"idle_{count}": (proxy.rss_kib() - base) / count})

    def busy_round(self, started: dict[str, Proxy]) -> None:
        for sample in (self.rate, self.bulk):
            for name, proxy in started.items():
                try:
                    sample(name, proxy)
                except Unavailable as failure:
                    self._table.note_failure(name, sample.__name__, failure)

    def idle_round(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                with running(self._workshop, name) as proxy:
                    self.idle(name, proxy)
            except Unavailable as failure:
                self._table.note_failure(name, "idle", failure)


def enough_descriptors(tunnels: int) -> bool:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2 * tunnels + SPARE_DESCRIPTORS <= soft


def start_all(workshop: Workshop, table: Table, stack: ExitStack) -> dict[str, Proxy]:
    """Those that start and open tunnels; the others go into the table as missing. An idle one costs its rivals nothing."""
    started: dict[str, Proxy] = {}
    for name in RECIPES:
        try:
            started[name] = stack.enter_context(running(workshop, name))
        except Unavailable as reason:
            table.missing[name] = str(reason)
    return started


def measure(workshop: Workshop, plan: Plan, table: Table) -> None:
    bench = Bench(workshop, plan, table)
    started: dict[str, Proxy] = {}
    try:
        with ExitStack() as stack:
            started = start_all(workshop, table, stack)
            for number in range(1, plan.rounds + 1):
                say(f"serve: round {number} of {plan.rounds}")
                bench.busy_round(started)
                bench.straight()
    except Unavailable as failure:  # a proxy that had ended before it was told to; its samples have failed already
        table.note_failure("one of the proxies", "at the end", failure)
    for number in range(1, plan.idle_rounds + 1):
        say(f"serve: idle tunnels, round {number} of {plan.idle_rounds}")
        bench.idle_round(started)
