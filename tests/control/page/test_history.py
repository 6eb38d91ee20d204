"""What was refused, and what has ended."""

from tests.control.samples import NOW, recent
from tunnelctl.control.page.history import ROWS, sections
from tunnelctl.control.page.view import View
from tunnelctl.control.snapshot import EndedFacts, Recent, RefusedFacts, RuleCount


def cell(html: str) -> str:
    return f"<td>{html}</td>"


def test_refusals_are_told_in_words_with_their_codes():
    html = sections(recent(), View(), NOW)
    assert '<th scope="row">a login is required, or it was wrong <small>407 http_request_denied</small></th>' in html
    assert '<th scope="row">the rules do not allow the target <small>403 http_request_denied</small></th>' in html
    assert cell("deny *.example.org:443") + cell("412") in html


def test_the_most_frequent_come_first():
    html = sections(recent(), View(), NOW)
    assert html.index("connection_timeout") > html.index("412")
    assert html.index("182,340") < html.index("2,117")


def test_the_newest_come_first():
    html = sections(recent(), View(), NOW)
    assert html.index('row">tracker.example.org:443') < html.index('row">169.254.169.254:80')
    assert html.index('row">pypi.org:443') < html.index('row">github.com:443')


def test_a_refused_request_has_the_words_that_its_client_was_told():
    html = sections(recent(), View(), NOW)
    assert "the rules of this proxy do not allow the target <small>403 http_request_denied</small>" in html
    unknown = RefusedFacts(NOW, "c", "", "", 0, "", "", "")
    html = sections(Recent([], [unknown], [], [], 0, 0), View(), NOW)
    assert "no reason was given <small></small>" in html


def test_an_end_is_told_in_words():
    html = sections(recent(), View(), NOW)
    assert cell("target reset <small>ECONNRESET</small>") in html
    assert cell("client closed") in html
    assert cell("idle too long") in html


def test_the_filter_chooses_requests_and_tunnels_and_leaves_the_counts():
    html = sections(recent(), View(filter="carla"), NOW)
    assert "credentials are required" not in html
    assert "tracker.example.org:443" in html
    assert html.count("None matches the filter.") == 1
    assert "412" in html


def test_tables_are_bounded():
    ended = [EndedFacts(NOW, "c", "", f"target{number}", 1.0, 1, 1, "client", "eof", "") for number in range(ROWS + 30)]
    rules = [RuleCount(f"allow host{number}:1", number, 0) for number in range(ROWS + 30)]
    html = sections(Recent(ended, [], [], rules, 0, 0), View(), NOW)
    assert html.count('row">target') == ROWS
    assert f"target{ROWS + 29}<" in html
    assert html.count('row">allow') == ROWS
    assert "allow host0:1" not in html


def test_a_program_without_rules_shows_none():
    assert "Tunnels by rule" in sections(recent(), View(), NOW)
    assert "Tunnels by rule" not in sections(recent(), View(), NOW, ruled=False)


def test_nothing_has_happened():
    html = sections(Recent([], [], [], [], 0, 0), View(), NOW)
    assert html.count('class="none"') == 4
