"""Tables that a screen reader can read."""

from tunnelctl.control.page.table import CARD, Column, table
from tunnelctl.control.page.view import View

COLUMNS = (Column("Target", lambda one: f"t{one}", "target"), Column("Age", str, "seconds"), Column("End", lambda one: ""))


def test_rows_and_columns_have_headings():
    html = table("tunnels", COLUMNS, [1, 2])
    assert html.count('<th scope="col">') == 3
    assert html.count('<th scope="row">') == 2
    assert '<tr><th scope="row">t2</th><td>2</td><td></td></tr>' in html
    assert html.startswith('<table class="tunnels" aria-labelledby="tunnels-title">')


def test_headings_sort_where_the_table_has_a_view():
    html = table("tunnels", COLUMNS, [1], View("target", "desc", "a&b"))
    assert '<th scope="col" aria-sort="descending"><a href="?sort=target&amp;filter=a%26b#tunnels">Target</a></th>' in html
    assert '<th scope="col"><a href="?order=desc&amp;filter=a%26b#tunnels">Age</a></th>' in html
    assert '<th scope="col">End</th>' in html
    assert 'aria-sort="ascending"' in table("tunnels", COLUMNS, [1], View())


def test_a_wide_table_becomes_cards_on_a_narrow_screen():
    assert '<table class="x card"' in table("x", COLUMNS[:1] * CARD, [])
    assert '<table class="x"' in table("x", COLUMNS, [])
