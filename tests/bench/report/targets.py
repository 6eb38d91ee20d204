"""What is wanted of a figure, and whether it is met."""

from collections.abc import Callable
from typing import NamedTuple

from tests.bench.report.columns import OURS
from tests.bench.report.result import Medians
from tests.bench.samples import clients, control, distance, fairness, features, forward, http2, proxies
from tests.bench.workshop import LIMITS


class Target(NamedTuple):
    """A figure of ours over that of a peer. `factor` is a floor where `more` is better, else a ceiling."""

    metric: str
    text: str
    factor: float
    more: bool
    against: str = ""  # one peer, "" for the best of them, "number" for the figure itself


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
        Target("start_ms", "start to first tunnel byte, × that of tunnelctl.pyz", 0.77, True, clients.PYZ),
        Target("down_gibs", "down, × best peer", 3, True),
        Target("up_gibs", "up, × best peer", 1.2, True),
        Target("down_cpu", "CPU a GiB down, × best peer", 0.25, False),
        Target("up_cpu", "CPU a GiB up, × best peer", 0.6, False),
    ),
    "tls": (Target("start_ms", "start to first tunnel byte, × bare interpreter", 3, False, clients.BARE),),
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
        Target("beside_gibs", "GiB/s of those tunnels meanwhile, × best peer", 0.9, True),
        Target("stalled_at_once", "kernel MiB of a reader that never reads", 2, False, "number"),
        Target("stalled_later", "kernel MiB of a reader that stops reading", 2, False, "number"),
    ),
    "forward": (
        Target("conns_s", "connections/s, × socat", 2, True, forward.SOCAT),
        Target("one_gibs", "GiB/s of one stream, × socat", 2, True, forward.SOCAT),
        Target("many_gibs", f"GiB/s of {forward.STREAMS} streams, × socat", 2, True, forward.SOCAT),
    ),
    "distance": tuple(
        Target(f"{direction}_mibs", f"MiB/s {direction} of one stream in HTTP/2, × HTTP/1.1", 0.9, True, forward.OURS)
        for direction in ("down", "up")
    ),
    "http2": http2_targets(http2.ENVOY, speed=1, cpu=0.8),
    "http2-tls": http2_targets(http2.ENVOY_TLS, speed=0.95, cpu=1.05),
    "control": (
        Target("beyond_ms", "start by a control socket beyond that in the clear, ms", 2, False, "number"),
        Target("start_ms", "start by a control socket, × behind TLS", 1, False, control.TLS),
    ),
    "curve-workers": (Target("ratio@2", "tunnels/s of two workers with half a core each, × one", 1.8, True, "number"),),
}

AREAS = {
    "connect": "`connect`",
    "tls": "`connect`, TLS",
    "serve": "`serve`",
    "features": "`serve`, features",
    "fairness": "`serve`, fairness",
    "forward": "`forward`",
    "distance": f"round trip of {distance.ROUND_TRIP_MS} ms",
    "http2": "HTTP/2",
    "http2-tls": "HTTP/2, TLS",
    "control": "control socket",
    "curve-workers": "`serve`, workers",
}


class Shown(NamedTuple):
    """A target that is no speed: what shows that it is met, from the page; "" if nothing does."""

    area: str
    text: str
    by: str
    met: str


FDPASS = "`--fdpass`"
SHOWN = (
    Shown(FDPASS, "`connect` ends once ssh has the socket", "[a test](../tests/client/test_fdpass.py)", "yes"),
    Shown(FDPASS, "the same by a control socket, behind TLS and in HTTP/2", "[a test](../tests/interop/test_via.py)", "yes"),
    Shown("HTTP/2", "an unread tunnel holds no more than its window", "[a test](../tests/proto/http2/test_abuse.py)", "yes"),
    Shown("HTTP/3", "bulk, short tunnels and unread tunnels against Envoy", "", "there is no HTTP/3"),
)


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


def verdict(target: Target, value: tuple[float, str] | None) -> tuple[str, str]:
    if value is None:
        return "–", "not measured"
    ratio, rival = value
    met = ratio >= target.factor if target.more else ratio <= target.factor
    named = f" ({rival})" if rival and not target.against else ""
    return f"{ratio:.2f}{named}", "yes" if met else "no"
