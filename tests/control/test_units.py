"""Numbers with units."""

import pytest

from tunnelctl.control.units import rate, size, span


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1 << 20, "1.0 MiB"),
        (1 << 30, "1.0 GiB"),
        (3 << 40, "3.0 TiB"),
        (1 << 60, "1048576.0 TiB"),
    ],
)
def test_sizes(count, shown):
    assert size(count) == shown


@pytest.mark.parametrize(("count", "shown"), [(None, "–"), (0.0, "0"), (0.4, "0"), (12.0, "12 B/s"), (2048.0, "2.0 KiB/s")])
def test_rates(count, shown):
    assert rate(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0s"),
        (0.9, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (61, "1m 1s"),
        (3600, "1h"),
        (3725, "1h 2m"),
        (86399, "23h 59m"),
        (90000, "1d 1h"),
        (40 * 86400, "40d"),
    ],
)
def test_spans(seconds, shown):
    assert span(seconds) == shown
