"""Line plots as SVG: small, the same for the same figures, and readable on light and dark pages."""

from collections.abc import Iterable, Mapping
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

Points = tuple[tuple[int, float], ...]

WIDTH, PANEL_WIDTH, PANEL_HEIGHT = 820, 410, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 30, 44  # around the lines of a panel
LINE = 18
LOGARITHMIC = 30  # a y axis is, if its greatest value is more than so many times its least

# Ours are drawn stronger. Dashes tell apart what colours may not.
OWN_COLOURS = (("#0550ae", "#79c0ff"), ("#8250df", "#d2a8ff"), ("#1a7f37", "#56d364"))
COLOURS = (("#bc4c00", "#ffa657"), ("#57606a", "#8b949e"), ("#bf3989", "#ff9bce"), ("#7d4e00", "#d29922"))
DASHES = ("", "7 3", "2 3", "9 3 2 3")

STYLE = """\
text{{font:12px system-ui,sans-serif;fill:#1f2328}}.t{{font-weight:600}}.h{{font-size:14px;font-weight:600}}
.b{{fill:#fff}}.g{{stroke:#d8dee4;fill:none}}.l{{fill:none;stroke-width:1.6}}.o{{stroke-width:2.8}}
{light}
@media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}.b{{fill:#0d1117}}.g{{stroke:#30363d}}
{dark}}}"""


class Series(NamedTuple):
    """colour: an index, of our own programs or of others"""

    name: str
    ours: bool
    colour: int


class Panel(NamedTuple):
    title: str
    curves: Mapping[str, Points]  # by the name of a series


class Picture(NamedTuple):
    title: str
    x: str
    panels: tuple[Panel, ...]
    series: tuple[Series, ...]
    sizes: bool
    linear: bool


class Axis(NamedTuple):
    """From `low` to `high`, which are ticks, over `length` pixels."""

    ticks: tuple[float, ...]
    logarithmic: bool
    length: int

    def at(self, value: float) -> float:
        low, high, value = map(log10, (self.ticks[0], self.ticks[-1], value)) if self.logarithmic else (*self._ends(), value)
        return (value - low) / ((high - low) or 1) * self.length

    def _ends(self) -> tuple[float, float]:
        return self.ticks[0], self.ticks[-1]


def logarithmic_axis(values: Iterable[float], length: int) -> Axis:
    low, high = min(values := list(values)), max(values)
    powers = range(floor(log10(low)), max(ceil(log10(high)), floor(log10(low)) + 1) + 1)
    return Axis(tuple(10.0**power for power in powers), True, length)


def linear_axis(values: Iterable[float], length: int) -> Axis:
    """From 0 to the next tick above; four to eight of them."""
    high = max(values) or 1.0
    step = 10.0 ** floor(log10(high))
    step = next(step * factor for factor in (1, 0.5, 0.25, 0.2) if high / (step * factor) >= 4)
    return Axis(tuple(step * number for number in range(ceil(high / step - 1e-9) + 1)), False, length)


def y_axis(values: list[float], length: int) -> Axis:
    positive = [value for value in values if value > 0]
    wide = bool(positive) and max(positive) / min(positive) > LOGARITHMIC
    return logarithmic_axis(positive, length) if wide else linear_axis(values, length)


def x_axis(values: list[int], length: int, linear: bool) -> Axis:
    """All values are ticks: they are few, and chosen."""
    return Axis(tuple(sorted(set(values))), not linear, length)


def number(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def size(value: float) -> str:
    """Bytes, in the binary units that the title of the axis explains."""
    for unit, name in ((1 << 20, "Mi"), (1 << 10, "Ki")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def text(x: float, y: float, words: str, anchor: str = "middle", style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="g" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def polyline(points: Iterable[tuple[float, float]], style: str) -> str:
    return f'<polyline class="{style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def panel(shown: Panel, picture: Picture, styles: Mapping[str, str]) -> list[str]:
    """A panel whose upper left corner is 0, 0."""
    width, height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM
    x = x_axis([value for points in shown.curves.values() for value, _ in points], width, picture.linear)
    y = y_axis([value for points in shown.curves.values() for _, value in points], height)
    found = [text(LEFT, TOP - 10, shown.title, "start", "t")]
    for tick in y.ticks:
        level = TOP + height - y.at(tick)
        found += [line(LEFT, level, LEFT + width, level), text(LEFT - 6, level + 4, number(tick), "end")]
    for tick in x.ticks:
        found.append(text(LEFT + x.at(tick), TOP + height + 17, size(tick) if picture.sizes else number(tick)))
    found.append(text(LEFT + width / 2, TOP + height + 35, picture.x))
    for name, points in shown.curves.items():
        drawn = [(LEFT + x.at(at), TOP + height - y.at(value)) for at, value in points if value > 0 or not y.logarithmic]
        found.append(polyline(drawn, styles[name]))
        found += [f'<circle class="{styles[name]} f" cx="{cx:.1f}" cy="{cy:.1f}" r="2.2"/>' for cx, cy in drawn]
    return found


def styles_of(series: tuple[Series, ...]) -> tuple[dict[str, str], str]:
    """The class of each series, and the style sheet."""
    light, dark, classes = [], [], {}
    for one in series:
        short = f"{'o' if one.ours else 'p'}{one.colour}"
        classes[one.name] = f"l o {short}" if one.ours else f"l {short}"
        colours = OWN_COLOURS if one.ours else COLOURS
        on_light, on_dark = colours[one.colour % len(colours)]
        dash = DASHES[one.colour % len(DASHES)]
        light.append(f".{short}{{stroke:{on_light}{f';stroke-dasharray:{dash}' if dash else ''}}}")
        light.append(f".{short}.f{{fill:{on_light};stroke-dasharray:none}}")
        dark.append(f".{short}{{stroke:{on_dark}}}.{short}.f{{fill:{on_dark}}}")
    return classes, STYLE.format(light="".join(light), dark="".join(dark))


def legend(series: tuple[Series, ...], styles: Mapping[str, str], top: int) -> tuple[list[str], int]:
    """In as many lines as it takes; the second is where it ends."""
    found, x = [], LEFT
    for one in sorted(series, key=lambda one: not one.ours):
        width = 46 + 7 * len(one.name)
        if x > LEFT and x + width > WIDTH:
            x, top = LEFT, top + LINE
        found += [polyline(((x, top - 4), (x + 30, top - 4)), styles[one.name]), text(x + 36, top, one.name, "start")]
        x += width
    return found, top + LINE


def render(picture: Picture) -> str:
    styles, sheet = styles_of(picture.series)
    shown, top = legend(picture.series, styles, 2 * LINE + 8)
    for index, one in enumerate(picture.panels):
        x, y = index % 2 * PANEL_WIDTH, top + index // 2 * PANEL_HEIGHT
        shown += [f'<g transform="translate({x},{y})">', *panel(one, picture, styles), "</g>"]
    height = top + ceil(len(picture.panels) / 2) * PANEL_HEIGHT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(picture.title)}">'
    )
    frame = [f"<style>{sheet}</style>", '<rect class="b" width="100%" height="100%" rx="6"/>']
    return "\n".join([head, *frame, text(LEFT, LINE + 4, picture.title, "start", "h"), *shown, "</svg>\n"])
