"""The query of the URL, and the rows that it chooses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control.samples import HOSTILE, hostile, recent, tunnel, tunnels
from tunnelctl.control.page.view import MAX_FILTER, ROWS, SORTS, View, matches, parse, select


@pytest.mark.parametrize(
    ("query", "view"),
    [
        ("", View()),
        ("sort=user&order=desc&filter=anna&page=3", View("user", "desc", "anna", 3)),
        ("filter=a%20b+c", View(filter="a b c")),
        ("sort=user&sort=sent", View("sent")),
        ("sort=__class__&order=up&page=0&filter=", View()),
        ("page=-1", View()),
        ("page=1e3", View()),
        ("page=%D9%A3", View()),  # a digit of another script
        ("page=9999999", View()),
        ("sort", View()),
        ("%", View()),
        ("filter=%ff", View(filter="\ufffd")),
        (f"filter={'x' * 500}", View(filter="x" * MAX_FILTER)),
        ("&".join(["sort=user"] * 1000), View()),
    ],
)
def test_parse(query, view):
    assert parse(query) == view


@given(st.text())
def test_property_any_query_is_a_view(query):
    view = parse(query)
    assert view.sort in SORTS
    assert view.page >= 1


@given(
    st.sampled_from(sorted(SORTS)), st.sampled_from(["asc", "desc"]), st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
)
def test_property_a_link_leads_to_its_view(sort, order, words):
    view = View(sort, order, words.strip())
    assert parse(view.link()[1:]) == view
    assert parse(view._replace(page=7).link(page=5)[1:]) == view._replace(page=5)
    assert parse(view._replace(page=7).link()[1:]).page == 1, "another choice starts at the first page"


def test_a_heading_turns_the_order_round_or_sorts_by_its_key():
    assert View().sorted_by("seconds") == "?order=desc"
    assert View(order="desc").sorted_by("seconds") == "?"
    assert View().sorted_by("sent_rate") == "?sort=sent_rate&order=desc"
    assert View(order="desc", filter="a b").sorted_by("user") == "?sort=user&filter=a+b"


@pytest.mark.parametrize("key", sorted(SORTS))
def test_rows_are_sorted(key):
    found = [SORTS[key](one) for one in select(tunnels(100).tunnels, View(key)).tunnels]
    assert found == sorted(found)
    assert len(found) == 100
    back = [SORTS[key](one) for one in select(tunnels(100).tunnels, View(key, "desc")).tunnels]
    assert back == found[::-1]


def test_what_is_not_known_is_the_smallest():
    found = select([tunnel(1, sent_rate=0.0), tunnel(2, sent_rate=None)], View("sent_rate"))
    assert [one.sent_rate for one in found.tunnels] == [None, 0.0]
    found = select([tunnel(1, idle=0.0), tunnel(2, idle=None)], View("idle"))
    assert [one.idle for one in found.tunnels] == [None, 0.0]


def test_pages():
    all_of_them = tunnels(2 * ROWS + 50).tunnels
    first, last, beyond = (select(all_of_them, View(page=page)) for page in (1, 3, 900))
    assert (len(first.tunnels), first.first, first.is_last) == (ROWS, 0, False)
    assert (len(last.tunnels), last.first, last.is_last) == (50, 2 * ROWS, True)
    assert beyond == last
    assert not {one.tunnel for one in first.tunnels} & {one.tunnel for one in last.tunnels}
    assert select([], View(page=4)) == ([], 0, 0, 1)


def test_the_filter():
    found = select(tunnels(100).tunnels, View(filter="ANNA GitHub"))
    assert found.tunnels
    assert all((one.user, one.target) == ("anna", "github.com:443") for one in found.tunnels)
    assert found.matching == len(found.tunnels)
    assert matches(View(filter="169.254"), recent().refused[1])
    assert not matches(View(filter="169.254"), recent().ended[0])


def test_hostile_names_can_be_sorted_and_filtered():
    _, found, _ = hostile()
    for key in SORTS:
        assert len(select(found.tunnels, View(key)).tunnels) == len(HOSTILE)
    assert select(found.tunnels, View(filter="\u202e")).matching == 1
