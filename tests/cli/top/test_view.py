"""Keys and what they change."""

import pytest

from tunnelctl.cli.top.tables import OPEN, PAST, Sort
from tunnelctl.cli.top.view import KEYS, MAX_FILTER, MOVES, Extent, View, press

HUNDRED = Extent(100, 10)
PLAIN = View()


def after(*keys, view=PLAIN, extent=HUNDRED):
    for key in keys:
        view = press(view, key, extent)
    return view


def test_keys_move_the_sort_to_the_next_column_and_around():
    titles = [column.title for column in OPEN]
    assert after("<").open_sort == Sort(titles[titles.index("RECV/s") - 1])
    assert after(">").open_sort == Sort(titles[0])
    assert after(*[">"] * len(titles)).open_sort == View().open_sort


def test_r_reverses_and_another_column_starts_in_its_usual_order():
    assert after("r").open_sort == Sort("RECV/s", reverse=True)
    assert after("r", "r") == View()
    assert not after("r", ">").open_sort.reverse


def test_each_table_has_its_own_order():
    view = after("e", ">", "r")
    assert (view.open_sort, view.past_sort, view.sort) == (View().open_sort, Sort("NAME", reverse=True), view.past_sort)
    assert view.columns is PAST
    assert after("e", view=view).columns is OPEN


def test_a_filter_is_typed():
    view = after("/", *"git hub")
    assert (view.filter, view.typing) == ("git hub", True)
    assert after("Backspace", view=view).filter == "git hu"
    assert after("Ctrl-U", view=view).filter == ""
    kept = after("Enter", view=view)
    assert (kept.filter, kept.typing) == ("git hub", False)
    assert after("Esc", view=kept).filter == after("Esc", view=view).filter == ""
    assert not after("Esc", view=view).typing


def test_keys_with_a_meaning_are_text_in_a_filter_and_arrows_still_scroll():
    view = after("/", *"qpre?<> ", "Down")
    assert (view.filter, view.quit, view.offset) == ("qpre?<> ", False, 1)


def test_the_filter_has_a_limit():
    assert len(after("/", *["x"] * (MAX_FILTER + 50)).filter) == MAX_FILTER


@pytest.mark.parametrize(
    ("keys", "offset"),
    [
        (["Down"], 1), (["Up"], 0), (["PgDn"], 10), (["PgDn", "Up"], 9), (["End"], 90), (["End", "Down"], 90),
        (["End", "PgUp"], 80), (["End", "Home"], 0),
    ],
)  # fmt: skip
def test_scrolling_ends_at_the_first_and_the_last_row(keys, offset):
    assert after(*keys).offset == offset


def test_fewer_rows_than_room_do_not_scroll():
    assert after("End", "PgDn", extent=Extent(3, 10)).offset == 0


def test_rows_that_went_away_are_scrolled_back_from_at_once():
    assert press(View(offset=90), "Up", Extent(20, 10)).offset == 10


def test_pause_look_and_quit():
    assert (after("p").paused, after("p", "p").paused) == (True, False)
    assert after(" ").looks == View().looks + 1
    assert after("e").looks == View().looks + 1, "the past ones have not been asked for before"
    assert after("q").quit


@pytest.mark.parametrize("key", ["h", "?"])
def test_help_scrolls_and_any_other_key_leaves_it(key):
    view = after(key, "Down")
    assert (view.help, view.offset) == (True, 1)
    assert after("q", view=view) == View(), "q leaves the help alone"


@pytest.mark.parametrize("key", ["x", "é", "Enter", "Backspace"])
def test_a_key_without_a_meaning_changes_nothing(key):
    assert after(key) == View()


def test_no_key_has_two_meanings():
    assert not KEYS.keys() & MOVES.keys()
