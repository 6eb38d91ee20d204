"""Which curves are drawn: a picture for each table of samples, a panel in it for each metric."""

from typing import NamedTuple

from tests.bench.report.result import Medians
from tests.bench.report.svg import Panel, Picture, Series
from tests.bench.workshop import DIRECT

OURS = ("tunnelctl", "serve", "forward")  # how the names of our programs begin
# The same colour in all pictures; clients and proxies are never in the same one.
COLOURS = {"tinyproxy": 0, "tinyproxy, Filter": 0, "Envoy": 1, "squid, acl": 2, DIRECT: 3, "nc -N": 0, "socat": 1}


class Plot(NamedTuple):
    """metrics: each with its title, in which the unit is"""

    title: str
    x: str
    metrics: dict[str, str]
    sizes: bool = False  # x is a number of bytes
    linear: bool = False  # x, whose scale is logarithmic otherwise


RATE = {"tunnels_s": "tunnels a second", "tunnel_us": "CPU a tunnel, µs"}
MESSAGES = {"messages_s": "messages a second", "message_us": "CPU a message, µs"}
PROCESS = {"start_ms": "from start to accepting, ms", "rss_mib": "RSS after the start, MiB"}

PLOTS = {
    "under-way": Plot("Short tunnels under way at once", "tunnels under way", RATE),
    "idle": Plot("Short tunnels, 32 at once, beside idle ones", "idle tunnels", {**RATE, "idle_kib": "RSS an idle tunnel, KiB"}),
    "streams": Plot(
        "Bulk through many tunnels at once",
        "tunnels",
        {"gibs": "GiB/s in all", "gib_cpu": "CPU a GiB, s", "p99": "a keystroke beside them, p99, ms"},
    ),
    "messages": Plot("Messages through a proxy, one at a time", "bytes of a message", MESSAGES, sizes=True),
    "messages-connect": Plot("Messages through a client between two pipes", "bytes of a message", MESSAGES, sizes=True),
    "rules": Plot("Rules", "rules in the file", {**RATE, **PROCESS}),
    "users": Plot("Users", "users in the file", {**RATE, **PROCESS, "login_ms": "a first login, ms"}),
    "chain": Plot(
        "Proxies in a chain",
        "proxies",
        {
            "setup_ms": "set-up of a connection, p50, ms",
            "tunnel_us": "CPU a connection, all processes, µs",
            "gibs": "GiB/s of one stream",
            "gib_cpu": "CPU a GiB, all processes, s",
        },
        linear=True,
    ),
}


def curve(figures: Medians, program: str, metric: str) -> tuple[tuple[int, float], ...]:
    """The points of a metric, whose samples are kept as METRIC@X."""
    found = ((name.partition("@"), value) for name, value in figures[program].items())
    return tuple(sorted((int(x), value) for (known, at, x), value in found if at and known == metric))


def series_of(figures: Medians) -> tuple[Series, ...]:
    """Ours last, so that they are drawn on top of the others."""
    ours = [program for program in figures if program.startswith(OURS)]
    others = [Series(program, False, COLOURS[program]) for program in figures if program not in ours]
    return (*others, *(Series(program, True, index) for index, program in enumerate(ours)))


def picture(name: str, figures: Medians) -> Picture:
    plot, series = PLOTS[name], series_of(figures)
    panels = tuple(
        Panel(title, {one.name: points for one in series if (points := curve(figures, one.name, metric))})
        for metric, title in plot.metrics.items()
    )
    return Picture(plot.title, plot.x, tuple(panel for panel in panels if panel.curves), series, plot.sizes, plot.linear)
