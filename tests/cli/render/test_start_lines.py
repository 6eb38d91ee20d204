"""The text of the start lines of serve; tests/server/test_announcement.py has those of a running proxy."""

import pytest

from tests.cli.screen import Screen
from tunnelctl.cli.render.start_lines import listed
from tunnelctl.server.events import Serving
from tunnelctl.stream.events import Admin

NOTHING = Serving(
    allow=[], deny=[], report=[], policy="", reach="machine", personal=False, networks=[], users=None, client_ca="", proxies=[],
    certificate="", plain_http=False, port_80=False, workers=1, access_log="", url="",
)  # fmt: skip


def with_facts(**facts: object) -> Serving:
    return Serving(**{**NOTHING.facts(), **facts})


def test_the_start_line_on_plain_http() -> None:
    screen = Screen()
    screen(with_facts(plain_http=True))
    screen(with_facts(plain_http=True, allow=["*:443"]))
    screen(with_facts(plain_http=True, allow=["*:80"], port_80=True))
    screen(with_facts(plain_http=True, allow=["*:80"], port_80=True, url="http://127.0.0.1:3128"))
    assert [line.removeprefix("tunnelctl: plain http: ") for line in screen.lines if "plain http" in line] == [
        "no rule for port 80: --allow 'HOST:80' --allow '*:443'",
        "no rule for port 80: --allow 'HOST:80'",
        "served",
        "export http_proxy=http://127.0.0.1:3128",
    ]


def test_the_text_of_the_start_lines():
    screen = Screen()
    screen(with_facts(deny=["*:25", "a.example:443"], report=["*:22"], policy="policy.toml"))
    screen(with_facts(allow=["127.0.0.0/8:*"], access_log="-", certificate="valid until \x1b[0m"))
    screen(Admin("127.0.0.1:9", ["/", "/a", "/b", "/c"]))
    screen(Admin("127.0.0.1:9", ["/", "/a", "/b"]))
    screen(Admin("unix:/a b", ["/", "/metrics"]))
    assert screen.lines == [
        "tunnelctl: targets: every public address, port 443",
        "tunnelctl: denied: *:25, a.example:443",
        "tunnelctl: report only: *:22",
        "tunnelctl: policy file: policy.toml",
        "tunnelctl: clients: this machine",
        "tunnelctl: targets: 127.0.0.0/8:*",
        "tunnelctl: clients: this machine",
        r"tunnelctl: TLS: certificate valid until \x1b[0m",
        "tunnelctl: access log: stdout",
        "tunnelctl: status page: http://127.0.0.1:9/ (also /a, /b …)",
        "tunnelctl: status page: http://127.0.0.1:9/ (also /a, /b)",
        "tunnelctl: metrics: curl --unix-socket '/a b' http://localhost/metrics",
    ]


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "this machine"),
        ({"reach": "network"}, "anyone"),
        ({"reach": "socket"}, "anyone who may open the socket"),
        ({"users": 1}, "this machine, login required (1 user)"),
        ({"reach": "network", "users": 2}, "anyone, login required (2 users)"),
        ({"reach": "network", "client_ca": "ca.pem"}, "anyone, certificate of ca.pem required"),
        ({"users": 2, "client_ca": "ca.pem"}, "this machine, login required (2 users), certificate of ca.pem required"),
        ({"personal": True, "reach": "network", "networks": ["10.0.0.0/8", "::1"]}, "10.0.0.0/8, ::1"),
        ({"personal": True, "reach": "network", "networks": ["10.0.0.0/8"], "users": 2}, "10.0.0.0/8, login required (2 users)"),
        ({"reach": "machine", "networks": ["10.0.0.0/8", "127.0.0.1"]}, "this machine"),
        ({"personal": True, "reach": "machine", "networks": ["198.51.100.0/24"]}, "198.51.100.0/24"),
        ({"users": 0}, "this machine, login required (the users file names nobody)"),
        ({"personal": True, "reach": "network", "users": 2}, "anyone, login required (2 users)"),
        ({"personal": True}, "nobody: the rules name users, and no login is set up"),
    ],
)
def test_the_start_line_on_clients(facts, line):
    screen = Screen()
    screen(with_facts(**facts))
    assert f"tunnelctl: clients: {line}" in screen.lines


@pytest.mark.parametrize(("name", "after"), [("targets", ""), ("clients", ", login required (1 user)")])
def test_a_long_list_is_cut_at_80_columns(name, after):
    values = [f"10.{number}.0.0/16" for number in range(1000)]
    for count in range(1, len(values)):
        text = listed(name, values[:count], after)
        assert len(f"tunnelctl: {name}: {text}") <= 80
        shown, _, more = text.removesuffix(after).partition(" and ")
        assert len(shown.split(", ")) + int(more.removesuffix(" more") or 0) == count
    assert len(f"tunnelctl: {name}: {text}") > 60  # most of the columns are used


def test_a_list_has_at_least_one_value():
    assert listed("targets", ["a" * 90, "b"]) == "a" * 90 + " and 1 more"
    assert listed("targets", ["a", "b"], after="c" * 90) == "a and 1 more" + "c" * 90
    assert listed("targets", []) == ""
