"""The start lines of serve in words; what a running proxy says is in tests/server/test_announcement.py."""

from tests.cli.screen import Screen


def test_the_start_lines_of_serve():
    screen = Screen()
    screen(
        "serving",
        allow=0,
        deny=2,
        report=0,
        policy="",
        reach="network",
        personal=True,
        users=None,
        client_ca="",
        proxies=[],
        workers=1,
    )
    screen("serving", allow=1, users=1, client_ca="", access_log="-", certificate="good until \x1b[0m", workers=1)
    screen("serving", allow=1, reach="socket", client_ca="ca.pem")
    screen("admin", address="unix:/a b", pages=["/metrics"])
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
