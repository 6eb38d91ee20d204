"""The text of the start lines of serve; tests/server/test_announcement.py has those of a running proxy."""

from tests.cli.screen import Screen
from tunnelctl.server.events import Admin, Serving

NOTHING = Serving(
    allow=0, deny=0, report=0, policy="", reach="machine", personal=False, users=None, client_ca="", proxies=[], certificate="",
    plain_http=False, port_80=False, workers=1, access_log="", url="",
)  # fmt: skip


def with_facts(**facts: object) -> Serving:
    return Serving(**{**NOTHING.facts(), **facts})


def test_the_start_line_on_plain_http() -> None:
    screen = Screen()
    screen(with_facts(plain_http=True))
    screen(with_facts(plain_http=True, allow=2))
    screen(with_facts(plain_http=True, allow=2, port_80=True))
    screen(with_facts(plain_http=True, allow=2, port_80=True, url="http://127.0.0.1:3128"))
    assert [line.removeprefix("tunnelctl: plain http: ") for line in screen.lines if "plain http" in line] == [
        "no rule for port 80: --allow 'HOST:80' --allow '*:443'",
        "no rule for port 80: --allow 'HOST:80'",
        "served",
        "export http_proxy=http://127.0.0.1:3128",
    ]


def test_the_text_of_the_start_lines():
    screen = Screen()
    screen(with_facts(deny=2, reach="network", personal=True))
    screen(with_facts(allow=1, users=1, access_log="-", certificate="good until \x1b[0m"))
    screen(with_facts(allow=1, reach="socket", client_ca="ca.pem"))
    screen(Admin("unix:/a b", ["/metrics"]))
    assert screen.lines == [
        "tunnelctl: targets: port 443 of public addresses, 2 deny rules",
        "tunnelctl: clients: those whom the rules name",
        "tunnelctl: targets: 1 allow rule",
        "tunnelctl: clients: 1 user",
        r"tunnelctl: TLS: certificate good until \x1b[0m",
        "tunnelctl: access log: stdout",
        "tunnelctl: targets: 1 allow rule",
        "tunnelctl: clients: anybody with a certificate by ca.pem",
        "tunnelctl: admin: curl --unix-socket '/a b' http://localhost/metrics",
    ]
