"""What the tables show: their columns, and the program in each of them that is ours."""

from typing import NamedTuple

from tests.bench.curves import workers
from tests.bench.samples import clients, control, distance, fairness, features, forward, http2, keystrokes, proxies


class Column(NamedTuple):
    metric: str
    head: str
    digits: int


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
    Column("down_p99", "beside bulk down, p99", 1),
    Column("down_beside", "GiB/s of that bulk", 2),
    Column("up_p50", "keystroke beside bulk up, p50, ms", 1),
    Column("up_p99", "beside bulk up, p99", 1),
    Column("up_beside", "GiB/s of that bulk", 2),
)
# How long a message took there and back, by its size. What is measured beside it depends on the load.
KEYSTROKE_COLUMNS = tuple(
    Column(f"{quantile}_{size}", head, 1)
    for size in keystrokes.SIZES
    for quantile, head in zip(keystrokes.QUANTILES, [f"{size:,} B, {name}" for name in ("p50, µs", "p99", "p99.9")], strict=True)
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
        Column("p99", "p99, ms", 1),
        Column("beside_gibs", "GiB/s meanwhile", 2),
        Column("beside_cpu", "CPU s/GiB", 2),
        Column("stalled_at_once", "kernel memory, MiB: the client never reads", 2),
        Column("stalled_later", "it stops reading", 2),
    ),
    "forward": (
        Column("conns_s", "connections/s", 0),
        Column("conn_us", "CPU µs a connection", 0),
        Column("p50", "set-up p50, ms", 2),
        Column("p99", "set-up p99", 2),
        Column("one_gibs", "GiB/s, one stream", 2),
        Column("one_cpu", "CPU s/GiB", 2),
        Column("many_gibs", f"GiB/s, {forward.STREAMS} streams", 2),
        Column("many_cpu", "CPU s/GiB", 2),
        Column("idle_kib", f"KiB an idle connection at {forward.IDLE:,}", 1),
    ),
    "distance": (
        Column("p50", "set-up p50, ms", 1),
        Column("p99", "p99, ms", 1),
        Column("down_mibs", "MiB/s of one stream down", 0),
        Column("up_mibs", "MiB/s up", 0),
    ),
    "http2": HTTP2_COLUMNS,
    "http2-tls": HTTP2_COLUMNS,
    "control": (
        Column("start_ms", "start, ms", 1),
        Column("start_cpu_ms", "CPU, ms", 1),
        Column("beyond_ms", "more than in the clear, ms", 1),
    ),
    **{name: (*KEYSTROKE_COLUMNS, KEYSTROKE_LAST[load]) for (_, load), name in keystrokes.TABLES.items()},
    "curve-workers": (
        *(Column(f"tunnels_s@{count}", f"tunnels/s, {count} worker{'s' * (count > 1)}", 0) for count in workers.WORKERS),
        Column("ratio@2", "ratio", 2),
        *(Column(f"serve_busy@{count}", f"cores used by serve, {count} worker{'s' * (count > 1)}", 2) for count in workers.WORKERS),
        *(Column(f"load_busy@{count}", f"by the load generator, {count}", 2) for count in workers.WORKERS),
    ),
}
OURS = {
    "connect": clients.OURS,
    "tls": clients.OURS,
    "serve": proxies.OURS,
    "features": features.USUAL,
    "fairness": proxies.OURS,
    "forward": forward.OURS,
    "distance": distance.HTTP2,
    "http2": http2.OURS,
    "http2-tls": http2.OURS_TLS,
    "control": control.CONTROL,
    **{name: keystrokes.OURS[group] for (group, _), name in keystrokes.TABLES.items()},
    "curve-workers": workers.LIMITED,
}
