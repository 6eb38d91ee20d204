"""The document as a whole: complete, in one request, and closed to everything that is not its own."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from tests.control.samples import hostile, recent, status, tunnels
from tunnelctl.control.page import HEADERS, render
from tunnelctl.control.snapshot import Recent, Status, Tunnels

VOID = {"meta", "link", "input", "img", "br"}
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "link",
        "style",
        "script",
        "body",
        "header",
        "main",
        "section",
        "nav",
        "div",
        "h1",
        "h2",
        "p",
    ),
    *("dl", "dt", "dd", "ol", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "form", "label", "input", "button"),
    *("a", "b", "em", "i", "small", "span", "time"),
}


class Checker(HTMLParser):
    """Checks that elements are nested, and collects what is of interest."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: dict[str, str] = {}

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]] = self.texts.get(self.open[-1], "") + data


def checked(html: bytes) -> Checker:
    checker = Checker()
    checker.feed(html.decode())
    checker.close()
    assert checker.open == []
    return checker


def policy() -> dict[str, str]:
    return dict(part.split(" ", 1) for part in dict(HEADERS)["Content-Security-Policy"].split("; "))


def everything(count: int = 3) -> tuple[Status, Tunnels, Recent]:
    return status(), tunnels(count), recent()


def hash_of(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_style_and_script_are_those_that_the_policy_admits():
    found = checked(render(*everything(), ""))
    assert policy()["style-src"] == hash_of(found.texts["style"])
    assert policy()["script-src"] == hash_of(found.texts["script"])
    assert len(found.texts["script"]) > 1000


def test_nothing_else_is_admitted():
    assert {name: value for name, value in policy().items() if name not in ("style-src", "script-src")} == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "data:",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert dict(HEADERS)["X-Content-Type-Options"] == "nosniff"
    assert dict(HEADERS)["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("facts", [everything(), everything(5000), hostile()], ids=["few", "5,000", "hostile"])
def test_the_document_is_well_formed_and_refers_to_nothing_elsewhere(facts: tuple[Status, Tunnels, Recent]):
    found = checked(render(*facts, "filter=a&sort=user"))
    assert found.elements <= ELEMENTS
    references = {value for _, name, value in found.attributes if name in ("src", "href", "action")}
    assert not [one for one in references if one[:1] not in "?#" and not one.startswith("data:image/svg+xml,")]
    assert not {name for _, name, _ in found.attributes if name.startswith("on") or name == "style"}


def test_ids_are_unique_and_labels_name_them():
    found = checked(render(*everything(5000), "filter=a"))
    ids = [value for _, name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value for _, name, value in found.attributes if name in ("for", "aria-labelledby")} <= set(ids)
    tables = [name for tag, name, _ in found.attributes if tag == "table"]
    assert tables.count("aria-labelledby") == tables.count("class")


def test_v55_hostile_names_make_no_elements():
    harmless = {(tag, name) for tag, name, _ in checked(render(*everything(30), "filter=a")).attributes}
    said = checked(render(*hostile(), "filter=%22%3E%3Cscript%3E%27"))
    assert {(tag, name) for tag, name, _ in said.attributes} <= harmless | {("span", "title")}


def test_the_title_says_how_many_tunnels_are_open():
    assert "<title>100 tunnels · egress-1 · tunnelctl</title>".encode() in render(*everything(), "")
    assert "<title>1 tunnel · run · tunnelctl</title>".encode() in render(
        status(tunnels=1, name="", command="run"), tunnels(1), recent(), ""
    )


@pytest.mark.parametrize(
    "query", ["", "sort=&order=&filter=&page=", "page=99999999999999999999", "%00=%ff&filter=%ED%A0%80", "a" * 9000]
)
def test_no_query_is_an_error(query):
    assert render(*everything(), query).startswith(b"<!DOCTYPE html>")


def test_a_program_that_does_nothing():
    html = render(status(tunnels=0), Tunnels([], 0), Recent([], [], [], [], 0, 0), "").decode()
    assert "No tunnel is open." in html


def test_workers_that_did_not_answer_either_question():
    said = status(), tunnels(1)._replace(silent_workers=1), recent()._replace(silent_workers=2)
    assert b"2 workers did not answer" in render(*said, "")


def test_the_size_is_bounded():
    said, found, past = hostile()
    html = render(said, found._replace(tunnels=found.tunnels * 500), past, "")
    assert len(re.findall(rb"<th scope=\"row\">", html)) < 500
    assert len(html) < 1_000_000
