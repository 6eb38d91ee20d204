"""Times in the rows of `check`."""

import pytest

from tunnelctl.cli.render.check.rows import duration


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0 ms"), (0.0123, "12.3 ms"), (0.9994, "999.4 ms"), (2.5, "2.50 s"), (None, "")]
)
def test_times_below_a_second_are_in_milliseconds(value, text):
    assert duration(value) == text
