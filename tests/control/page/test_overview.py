"""The upper part of the page."""

import pytest

from tests.control.samples import DAY, NOW, recent, status, tunnel, tunnels
from tunnelctl.control.page.overview import notices, panels, sums, title
from tunnelctl.control.snapshot import CertificateFacts, Recent, RefusalCount, Tunnels, WorkerFacts


def test_title():
    html = title(status())
    assert "<h1>tunnelctl serve <b>egress-1</b></h1>" in html
    assert "version 0.9.0" in html
    assert "process 4127" in html
    assert "3d 4h ago" in html


def test_nothing_needs_attention():
    assert notices(status(), 0) == ""


@pytest.mark.parametrize(
    ("days", "kind", "words"),
    [
        (15, "", ""),
        (14, "warn", "expires in 14 days, on "),
        (1, "warn", "expires in 1 day, on "),
        (0, "warn", "expires in 0 days, on "),
        (-1, "bad", "expired on "),
    ],
)
def test_a_certificate_that_expires(days, kind, words):
    said = status(certificate=CertificateFacts(NOW + days * DAY, days))
    html = notices(said, 0)
    assert (f'<p class="notice {kind}">' in html, words in html) == (bool(kind), True)
    assert ("<em>" in panels(said)) is bool(kind)


def test_draining_and_silent_workers():
    html = notices(status(draining=True, tunnels=1), 2)
    assert "Draining: new connections are not accepted; 1 tunnel still open." in html
    assert "2 workers did not answer" in html


def test_sums():
    html = sums(status(), tunnels(100), recent())
    for name, value in (("Open tunnels", "100"), ("Connections", "112"), ("Refused", "477"), ("Failed logins", "21")):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in html
    assert "<dd>45.0 GiB <small>" in html


def test_rates_are_summed_as_far_as_they_are_known():
    nothing = Recent([], [], [], [], 0, 0)
    known = Tunnels([tunnel(0, sent_rate=2048.0, received_rate=None), tunnel(1, sent_rate=None, received_rate=None)], 0)
    html = sums(status(), known, nothing)
    assert "<dd>45.0 GiB <small>2.0 KiB/s</small></dd>" in html
    assert "<dd>850.0 GiB <small>–</small></dd>" in html
    assert "<small>0</small>" in sums(status(), Tunnels([], 0), nothing)


def test_requests_that_only_lacked_a_login_are_not_refused_but_those_of_a_forward_are():
    """407 is the answer of serve to its clients, and to a forward the answer of the next proxy."""
    counts = Recent([], [], [RefusalCount(407, "", "", 9, 0.0), RefusalCount(403, "", "", 2, 0.0)], [], 1, 0)
    for command, refused in (("serve", 3), ("forward", 11)):
        assert f"<dt>Refused</dt><dd>{refused}" in sums(status(command=command), Tunnels([], 0), counts)


def test_panels():
    html = panels(status(workers=[WorkerFacts(0, 4130, 0.1), WorkerFacts(1, 4131, 31.0)]))
    assert '<th scope="row">127.0.0.1:2222</th><td>git.example.com:22</td>' in html
    assert '<th scope="row">192.0.2.10:3128</th><td>what its rules allow</td>' in html
    assert "<li>https://proxy-a.example.net:3129 or https://proxy-b.example.net:3129</li>" in html
    assert "<em>silent for 31s</em>" in html
    assert html.count("responds") == 1
    assert "61 days left" in html
    assert html.index("23 users") < html.index("14 rules"), "the newest comes first"


def test_what_a_program_has_not_is_left_out():
    html = panels(status(command="forward", route=[], workers=[], certificate=None, reloads=[], warnings=[], listeners=[]))
    assert "Workers" not in html
    assert "Certificate" not in html
    assert html.count('class="none"') == 3
    assert '<ol class="route"><li>client</li><li>tunnelctl</li><li>target</li></ol>' in html
