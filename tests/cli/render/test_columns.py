"""Columns: which fit, their widths, and the cells."""

import pytest
from rich.cells import cell_len

from tunnelctl.cli.render.columns import Column, age, cell, cells, fit, numbers, short, texts, titles

NAME = texts("NAME", lambda row: row[0], 1, 6)
NOTE = texts("NOTE", lambda row: row[1], 3, 5, optional=True)
BYTES = numbers("BYTES", lambda row: row[2], short, 2)
COLUMNS = (NOTE, NAME, BYTES)
ROWS = [("a-long-name", "remark", 1536), ("b", "", None)]


def drawn(width, rows=ROWS, **options):
    table = fit(COLUMNS, rows, width, **options)
    return ["|".join(row) for row in (titles(table), *(cells(table, row) for row in rows))]


def test_a_wide_table_has_all_columns_in_their_order_and_no_wider_than_their_texts():
    assert drawn(80) == ["NOTE  |NAME       | BYTES", "remark|a-long-name|  1.5K", "      |b          |     -"]
    assert drawn(None) == drawn(80)


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (25, ["NOTE", "NAME", "BYTES"]),
        (19, ["NOTE", "NAME", "BYTES"]),
        (18, ["NAME", "BYTES"]),
        (13, ["NAME", "BYTES"]),
        (12, ["NAME", "NOTE"]),  # the next in rank that fits takes the place
        (11, ["NAME"]),
        (4, ["NAME"]),
    ],
)
def test_the_least_important_columns_go_first_and_nothing_is_wider_than_the_table(width, shown):
    lines = drawn(width)
    assert all(len(line) <= width for line in lines)
    assert {title.strip() for title in lines[0].split("|")} == set(shown)


def test_the_smallest_wish_is_granted_first():
    """So one column is whole, where an equal share would cut both."""
    assert drawn(20)[1] == "remark|a-lon~|  1.5K"


def test_an_ample_column_grows_before_less_important_ones_get_any():
    ample = NAME._replace(ample=10)
    assert [(placed.column.title, placed.width) for placed in fit((ample, BYTES), ROWS, 16)] == [("NAME", 11)]
    assert [placed.width for placed in fit((ample, BYTES), ROWS, 17)] == [10, 6]
    assert [placed.width for placed in fit((ample, BYTES), ROWS, 80)] == [11, 6]


def test_an_optional_column_is_left_out_while_it_is_empty():
    assert drawn(80, [("a", "", 1)])[0] == "NAME| BYTES"
    assert drawn(80, [])[0] == "NAME| BYTES"


def test_the_gap_counts():
    assert [placed.width for placed in fit((NAME, BYTES), ROWS, 14, gap=1)] == [7, 6]
    assert [placed.width for placed in fit((NAME, BYTES), ROWS, 14, gap=2)] == [6, 6]
    assert [placed.width for placed in fit((NAME, BYTES), ROWS, 13, gap=2)] == [11]


def test_a_column_of_numbers_is_as_wide_as_its_title():
    assert numbers("RECEIVED", len, str, 1).least == 8


def test_any_value_can_be_shown():
    column: Column = Column("PID", lambda row: row, 1, 4, right=True)
    assert cells(fit([column], [7], 10), 7) == ["   7"]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abc", 5, "abc  "),
        ("abcdef", 5, "abcd~"),
        ("abcde", 5, "abcde"),
        ("abc", 1, "~"),
        ("abc", 0, ""),
        ("", 3, "   "),
        ("漢字", 5, "漢字 "),
        ("漢字漢", 5, "漢字~"),
        ("漢字漢", 4, "漢 ~"),
        ("漢字", 0, ""),
        ("\x1b[2J", 10, "\\x1b[2J   "),
        ("a\nb", 6, "a\\x0ab"),
        ("\u202eabc", 10, "\\u202eabc "),
        ("e\u0301x", 4, "e\u0301x  "),
    ],
)
def test_a_cell_has_exactly_the_width_of_its_column(text, width, shown):
    assert cell(text, width) == shown
    assert cell_len(shown) == width


def test_numbers_are_right_aligned_in_wide_letters_too():
    assert (cell("12", 4, right=True), cell("漢", 4, right=True)) == ("  12", "  漢")


def test_without_unicode_all_is_ascii():
    assert cell("café", 12, unicode=False) == "caf\\xe9     "
    assert cell("x" * 9 + "é", 8, unicode=False) == "xxxxxxx~"


def test_an_endless_text_is_not_escaped_to_its_end():
    assert cell("\x1b" * 10_000_000, 8) == "\\x1b\\x1~"


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "-"), (0, "0"), (0.4, "0"), (999, "999"), (1000, "1.0K"), (1536, "1.5K"), (999 * 1024, "999.0K"), (3 << 30, "3.0G"),
        (5 << 40, "5.0T"), (999 << 40, "999.0T"),
    ],
)  # fmt: skip
def test_bytes_have_at_most_six_characters(count, shown):
    assert short(count) == shown
    assert len(shown) <= 6


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"), (-3, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (86399, "23h59m"),
        (86400, "1d00h"), (86400 * 99 + 3600 * 5, "99d05h"), (86400 * 100, "100d"), (86400 * 9999, "9999d"),
    ],
)  # fmt: skip
def test_durations_have_at_most_six_characters(seconds, shown):
    assert age(seconds) == shown
    assert len(shown) <= 6
