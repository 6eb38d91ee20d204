"""The page in a real browser: what it looks like is for people to judge; here it is that it works."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control import samples
from tests.control.site import Site, everything
from tests.peers.browser import Browser, Tab, driven
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import Proxy
from tunnelctl.control.snapshot import Recent, Status, Tunnels

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.once]

FIRST = "document.querySelector('table.tunnels tbody th').firstChild.textContent"
LIVE = "document.getElementById('live').textContent"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with driven(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def color(tab: Tab, selector: str, name: str = "color") -> tuple[int, ...]:
    value = tab.evaluate(f"getComputedStyle(document.querySelector({json.dumps(selector)})).{name}")
    return tuple(map(int, re.findall(r"\d+", value)[:3]))


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Returns the contrast of two colours (WCAG 2.2, 1.4.3)."""

    def luminance(color: tuple[int, ...]) -> float:
        parts = [part / 255 for part in color]
        red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    "facts", [everything(100), everything(5000, draining=True), samples.hostile()], ids=["100", "5,000", "hostile"]
)
def test_the_page_is_shown(
    chromium: Browser, site: Site, facts: tuple[Status, Tunnels, Recent], dark: bool, width: int, scripts: bool, tmp_path: Path
) -> None:
    site.facts = facts
    tab = chromium.tab(site.url, width, dark=dark, scripts=scripts)
    assert tab.evaluate("document.querySelectorAll('table.tunnels tbody tr').length") == min(200, len(facts[1].tunnels))
    assert tab.evaluate("document.documentElement.scrollWidth") == width, "nothing must be wider than the screen"
    assert tab.complaints() == []
    assert "taken" not in tab.evaluate("document.title").replace("'taken'", "")
    assert tab.evaluate(f"{LIVE}") == ("Live" if scripts else "")
    assert tab.evaluate("document.getElementById('pause').hidden") is not scripts
    page = color(tab, "section", "backgroundColor")
    assert (page[0] < 60) is dark
    for selector in ("td", "thead th", "h2", ".facts", "a", "td small"):
        assert contrast(color(tab, selector), page) >= 4.5, selector
    tab.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    tab.close()


def test_one_request_shows_the_page(chromium: Browser, site: Site) -> None:
    tab = chromium.tab(site.url, scripts=False)
    assert tab.requested() == [site.url]
    assert site.requests == ["/"]
    tab.close()


@pytest.mark.parametrize("width", [400, 1280])
def test_a_screen_reader_finds_tables(chromium: Browser, site: Site, width: int) -> None:
    """Cards are still rows of a table: some browsers forget that when `display` changes."""
    tab = chromium.tab(site.url, width)
    roles = tab.roles()
    assert roles.count("table") == 7
    assert roles.count("rowheader") == tab.evaluate("document.querySelectorAll('th[scope=row]').length") > 100
    assert roles.count("columnheader") == tab.evaluate("document.querySelectorAll('th[scope=col]').length")
    assert {"main", "banner", "search", "searchbox", "status", "heading"} <= set(roles)
    tab.close()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_headings_sort(chromium: Browser, site: Site, scripts: bool) -> None:
    tab = chromium.tab(site.url, scripts=scripts)
    for heading, order, first in (("a[href*='sort=sent&']", "descending", 99), ("[aria-sort] a", "ascending", 7)):
        tab.click(f"table.tunnels {heading}")
        wanted = samples.tunnel(first).target
        tab.wait(f"document.querySelector('thead [aria-sort={order}] a')?.textContent == 'Sent' && {FIRST}.trim() == '{wanted}'")
    assert tab.evaluate("location.hash") == "#tunnels"
    tab.close()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_the_filter_and_its_end(chromium: Browser, site: Site, scripts: bool) -> None:
    tab = chromium.tab(f"{site.url}?sort=user", scripts=scripts)
    tab.evaluate("document.getElementById('filter').focus()")
    tab.type("pypi")
    tab.press("Enter")
    tab.wait("document.querySelector('.count').textContent == '13 of 100' && location.search.includes('filter=pypi')")
    assert "sort=user" in tab.evaluate("location.search")
    assert tab.evaluate("document.getElementById('filter').value") == "pypi"
    tab.click("form a")
    tab.wait("document.querySelector('.count').textContent == '100' && !location.search.includes('pypi')")
    assert tab.evaluate("document.getElementById('filter').value") == ""
    tab.close()


def test_further_pages(chromium: Browser, site: Site) -> None:
    site.show(5000)
    tab = chromium.tab(site.url)
    tab.click("a[rel=next]")
    tab.wait("document.querySelector('.count').textContent.includes('(201 to 400)')")
    tab.evaluate("history.back()")
    tab.wait("document.querySelector('.count').textContent.includes('(1 to 200)')")
    tab.close()


def test_the_page_follows_the_program_and_leaves_the_person_alone(chromium: Browser, site: Site) -> None:
    """Focus, the text that is typed, the selection and the scroll position survive an update."""
    tab = chromium.tab(site.url)
    tab.evaluate("document.getElementById('filter').focus()")
    tab.evaluate("getSelection().selectAllChildren(document.querySelector('table.refusals tbody th'))")
    tab.evaluate("document.getElementById('filter').focus()")
    selected = tab.evaluate("getSelection().toString()")
    tab.evaluate("scrollTo(0, 900)")
    site.show(60)
    tab.wait("document.title.startsWith('60 tunnels')")
    assert tab.evaluate("document.querySelectorAll('table.tunnels tbody tr').length") == 60
    assert tab.evaluate("scrollY") == 900
    assert tab.evaluate("document.activeElement.id") == "filter"
    assert tab.evaluate("getSelection().toString()") == selected
    # Typed, and not yet applied.
    tab.evaluate("document.addEventListener('input', (event) => event.stopImmediatePropagation(), true)")
    tab.type("half a na")
    site.show(70)
    tab.wait("document.title.startsWith('70 tunnels')")
    assert tab.evaluate("document.getElementById('filter').value") == "half a na"
    assert tab.complaints() == []
    tab.close()


def test_typing_filters(chromium: Browser, site: Site) -> None:
    tab = chromium.tab(site.url)
    tab.evaluate("document.getElementById('filter').focus()")
    tab.type("pypi")
    tab.wait("document.querySelector('.count').textContent == '13 of 100'")
    assert tab.evaluate("document.activeElement.id") == "filter"
    assert tab.evaluate("location.search") == "?sort=seconds&order=asc&filter=pypi"
    tab.close()


def test_a_pause_holds_the_page(chromium: Browser, site: Site) -> None:
    tab = chromium.tab(site.url)
    tab.click("#pause")
    assert tab.evaluate(LIVE) == "Paused"
    asked = tab.requested()
    site.show(60)
    tab.evaluate("new Promise((done) => setTimeout(done, 2500))")  # longer than the time between two updates
    assert tab.requested() == asked
    tab.click("#pause")
    tab.wait("document.title.startsWith('60 tunnels')")
    assert tab.evaluate(LIVE) == "Live"
    tab.close()


def test_a_hidden_tab_asks_nothing(chromium: Browser, site: Site) -> None:
    tab = chromium.tab(site.url)
    hide = (
        "Object.defineProperty(document, 'hidden', {{ value: {}, configurable: true }});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    tab.evaluate(hide.format("true"))
    asked = tab.requested()
    site.show(60)
    tab.evaluate("new Promise((done) => setTimeout(done, 2500))")
    assert tab.requested() == asked
    tab.evaluate(hide.format("false"))
    tab.wait("document.title.startsWith('60 tunnels')")
    tab.close()


def test_a_program_that_has_gone_is_noticed(chromium: Browser, site: Site) -> None:
    tab = chromium.tab(site.url)
    site.close()
    tab.wait(f"{LIVE}.startsWith('No answer since ')")
    assert tab.evaluate("document.documentElement.dataset.state") == "lost"
    assert tab.evaluate("document.querySelectorAll('table.tunnels tbody tr').length") == 100, "what was known stays readable"
    tab.close()


def test_another_program_at_that_port_is_not_shown(chromium: Browser, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tab = chromium.tab(site.url)
    monkeypatch.setattr(site, "render", lambda _: b"<!DOCTYPE html><title>other</title><p>something else")
    tab.wait(f"{LIVE}.startsWith('No answer since ')")
    assert tab.evaluate("document.title") == "100 tunnels · egress-1 · tunnelctl"
    monkeypatch.undo()
    tab.wait(f"{LIVE} == 'Live'")
    tab.close()


def test_v55_the_policy_holds_where_the_escaping_would_fail(chromium: Browser, site: Site) -> None:
    """The second line of defence is tried by itself: an element and an attribute that run scripts are put into the document."""
    tab = chromium.tab(site.url)
    tab.evaluate(
        "document.querySelector('h1').innerHTML = '<img src=x onerror=\"document.title=`taken`\">'; "
        "document.body.append(Object.assign(document.createElement('script'), { textContent: 'document.title=`taken`' }))"
    )
    tab.evaluate("fetch('http://127.0.0.1:1/').catch(() => 0)")
    assert tab.evaluate("document.title") != "taken"
    assert sum("Content Security Policy" in text for text in tab.complaints()) >= 3
    tab.close()


def test_the_page_of_a_real_server(chromium: Browser) -> None:
    with ScriptedServer(echo) as target, Proxy(admin="127.0.0.1:0") as proxy:
        tab = chromium.tab(f"http://127.0.0.1:{proxy.admin_port}/")
        assert "No tunnel is open." in tab.evaluate("document.body.textContent")
        with proxy.tunnel(target.authority) as client:
            assert client.echoes()
            tab.wait(f"{FIRST}.trim() == {json.dumps(target.authority)}")
        proxy.refusal("10.0.0.1:1")
        tab.wait("document.querySelector('table.ended') && document.querySelector('table.refusals')")
        assert "the rules do not allow the address of the target" in tab.evaluate("document.body.textContent")
        assert tab.complaints() == []
        tab.close()
