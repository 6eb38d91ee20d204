"""Numbers with units, short enough for a column of a table."""

from __future__ import annotations

NONE = "–"  # stands for a value that is not known

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
_SPANS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def size(count: float) -> str:
    """Formats a number of bytes: 1536 is 1.5 KiB."""
    unit = _SIZES[0]
    for unit in _SIZES:
        if count < 1000 or unit == _SIZES[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def rate(count: float | None) -> str:
    """Formats bytes a second; None is not known yet."""
    return NONE if count is None else f"{size(count)}/s" if count >= 1 else "0"


def span(seconds: float) -> str:
    """Formats a duration by its two largest units: 3725 seconds are 1h 2m."""
    shown: list[str] = []
    left = max(0, int(seconds))
    for unit, length in _SPANS:
        count, left = divmod(left, length)
        if count or shown:
            shown.append(f"{count}{unit}" if count else "")
    return " ".join(filter(None, shown[:2])) or "0s"
