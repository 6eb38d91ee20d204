"""The table of open tunnels."""

from tests.control.samples import tunnel, tunnels
from tunnelctl.control.page.tunnels import section
from tunnelctl.control.page.view import ROWS, View
from tunnelctl.control.snapshot import Tunnels


def rows(html: str) -> int:
    return html.count('<th scope="row">')


def test_one_tunnel():
    html = section(Tunnels([tunnel(1, idle=62.0, sent_rate=None, received_rate=2048.0)], 0), View())
    assert '<th scope="row">github.com:443 <small>140.82.121.4:443</small></th><td>build</td><td>198.51.100.2:40001</td>' in html
    assert "<td>tunnel</td><td>40s</td><td>1m 2s</td><td>8.9 KiB</td><td><small>–</small></td>" in html
    assert "<td>2.0 KiB/s</td></tr>" in html
    assert '<p class="count">1</p>' in html


def test_a_tunnel_that_is_being_opened():
    html = section(Tunnels([tunnel(1, phase="dns", address="", idle=None)], 0), View())
    assert "<td>–</td>" in html
    assert "<td><b>dns</b></td>" in html
    assert '<th scope="row">github.com:443</th>' in html


def test_an_address_that_is_the_target_is_not_repeated():
    assert '<th scope="row">h:1</th>' in section(Tunnels([tunnel(1, target="h:1", address="h:1")], 0), View())


def test_no_tunnel():
    assert "No tunnel is open." in section(Tunnels([], 0), View(filter="x"))
    assert "No tunnel matches the filter." in section(tunnels(3), View(filter="nobody"))
    assert '<p class="count">0 of 3</p>' in section(tunnels(3), View(filter="nobody"))


def test_only_one_page_is_rendered():
    html = section(tunnels(5000), View())
    assert rows(html) == ROWS
    assert "200 of 5,000 (1 to 200)" in html
    assert '<a rel="next" href="?page=2#tunnels">Next 200</a>' in html
    assert 'rel="prev"' not in html


def test_further_pages():
    html = section(tunnels(450), View(page=2, sort="user"))
    assert "200 of 450 (201 to 400)" in html
    assert 'rel="prev" href="?sort=user#tunnels">Previous 200' in html
    assert 'rel="next" href="?sort=user&amp;page=3#tunnels">Next 50' in html
    last = section(tunnels(450), View(page=99))
    assert rows(last) == 50
    assert 'rel="next"' not in last
    assert 'rel="prev" href="?page=2#tunnels"' in last, "of the page that is shown"


def test_the_filter_is_kept_and_can_be_cleared():
    html = section(tunnels(100), View("user", "desc", 'a"<b'))
    assert '<label for="filter">Filter</label>' in html
    assert 'id="filter" name="filter" type="search" value="a&quot;&lt;b"' in html
    assert '<input type="hidden" name="sort" value="user"><input type="hidden" name="order" value="desc">' in html
    assert '<a href="?sort=user&amp;order=desc#tunnels">Clear</a>' in html
    assert "Clear" not in section(tunnels(100), View())


def test_the_number_of_matches():
    assert '<p class="count">13 of 100</p>' in section(tunnels(100), View(filter="pypi"))
    assert '<p class="count">200 of 5,000 matches (1 to 200)</p>' in section(tunnels(5000), View(filter="198.51"))
