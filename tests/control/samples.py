"""What a running `serve` could say about itself: for the page, with any number of tunnels, and with hostile names."""

from __future__ import annotations

from typing import Any

from tunnelctl.control.snapshot import (
    CertificateFacts,
    EndedFacts,
    ListenerFacts,
    Note,
    Recent,
    RefusalCount,
    RefusedFacts,
    RuleCount,
    Status,
    TunnelFacts,
    Tunnels,
    WorkerFacts,
)

NOW = 1_795_000_000.0  # 2026-11-18 10:26:40 UTC
DAY = 86400.0

HOSTS = (
    ("registry.npmjs.org:443", "104.16.2.34:443"),
    ("github.com:443", "140.82.121.4:443"),
    ("pypi.org:443", "151.101.0.223:443"),
    ("files.pythonhosted.org:443", "151.101.1.63:443"),
    ("build-artifacts.eu-central-1.s3.example.com:443", "52.219.47.12:443"),
    ("git.internal.example.com:22", "10.20.0.7:22"),
    ("api.example.net:443", "203.0.113.80:443"),
    ("[2001:db8::25]:443", "[2001:db8::25]:443"),
)
USERS = ("anna", "build", "carla", "deploy", "")
HOSTILE = (
    "<script>document.title='taken'</script>",
    '"><img src=x onerror="document.title=\'taken\'">',
    "' onmouseover='x",
    "bank.example\u202egpj.exe",
    "two\nlines\r\tand\x1b[31mred\x00",
    "lone\ud800surrogate\udcff",
    "zero\u200bwidth\u2066isolate\u2069",
    "x" * 5000,
    "&lt;b&gt;&amp;#60;",
    "</style></title></table><h1>other</h1>",
    "{braces} %s %(x)s",
)


def status(**changes: Any) -> Status:
    one = Status(
        command="serve",
        name="egress-1",
        pid=4127,
        version="0.9.0",
        started=NOW - 3 * DAY - 4 * 3600,
        now=NOW,
        listeners=[
            ListenerFacts("192.0.2.10:3128"),
            ListenerFacts("[2001:db8::10]:3128"),
            ListenerFacts("127.0.0.1:2222", "git.example.com:22"),
        ],
        route=["https://proxy-a.example.net:3129,https://proxy-b.example.net:3129"],
        draining=False,
        connections=112,
        tunnels=100,
        sent=48_318_382_080,
        received=912_680_550_400,
        workers=[WorkerFacts(0, 4130, 0.2), WorkerFacts(1, 4131, 0.7)],
        certificate=CertificateFacts(NOW + 61 * DAY, 61),
        reloads=[
            Note(NOW - 5400, "policy: 14 rules"),
            Note(NOW - 5400, "users file: 23 users"),
        ],
        warnings=[Note(NOW - 7300, "access log: no space left on device: 12 records lost so far")],
    )
    return one._replace(**changes)


def tunnel(number: int, **changes: Any) -> TunnelFacts:
    target, address = HOSTS[number % len(HOSTS)]
    busy = number % 3 == 0
    if number % 29 == 7:  # it is being opened
        changes = {"phase": "connect", "sent": 0, "received": 0, "sent_rate": None, "received_rate": None, "idle": None} | changes
    one = TunnelFacts(
        connection=f"k{number:x}",
        tunnel=f"k{number:x}.1",
        client=f"198.51.100.{number % 250 + 1}:{40000 + number % 20000}",
        user=USERS[number % len(USERS)],
        target=target,
        address=address,
        phase="tunnel",
        seconds=3.4 + number * 37.0,
        sent=1200 + number * 7919,
        received=5200 + number * number * 611,
        idle=0.2 if busy else number % 90 * 7.0,
        sent_rate=number * 97.0 % 9000 if busy else 0.0,
        received_rate=number * 40961.0 % 3_000_000 if busy else 0.0,
    )
    return one._replace(**changes)


def tunnels(count: int) -> Tunnels:
    return Tunnels([tunnel(number) for number in range(count)], 0)


def recent() -> Recent:
    return Recent(
        ended=[
            EndedFacts(
                NOW - 340, "198.51.100.9:40812", "build", "github.com:443", 71.2, 90_200, 31_700_000,
                "target", "reset", "ECONNRESET",
            ),
            EndedFacts(NOW - 92, "198.51.100.77:51020", "", "api.example.net:443", 600.0, 4_100, 9_870, "tunnelctl", "idle", ""),
            EndedFacts(NOW - 41, "198.51.100.3:40022", "anna", "pypi.org:443", 2.8, 2_130, 812_400, "client", "eof", ""),
        ],
        refused=[
            RefusedFacts(NOW - 600, "198.51.100.14:41990", "", "", 407, "http_request_denied", "", "credentials are required"),
            RefusedFacts(
                NOW - 75, "198.51.100.21:43110", "carla", "169.254.169.254:80", 403, "destination_ip_prohibited",
                "internal address", "the rules of this proxy do not allow the address of the target",
            ),
            RefusedFacts(
                NOW - 12, "198.51.100.21:43112", "carla", "tracker.example.org:443", 403, "http_request_denied",
                "deny *.example.org:443", "the rules of this proxy do not allow the target",
            ),
        ],
        refusals=[
            RefusalCount(403, "http_request_denied", "deny *.example.org:443", 412, NOW - 12),
            RefusalCount(403, "destination_ip_prohibited", "internal address", 38, NOW - 75),
            RefusalCount(407, "http_request_denied", "", 21, NOW - 600),
            RefusalCount(504, "connection_timeout", "allow *:443", 6, NOW - 4210),
        ],
        rules=[
            RuleCount("allow *:443", 182_340, 6),
            RuleCount("allow git.internal.example.com:22", 2_117, 0),
            RuleCount("deny *.example.org:443", 0, 412),
            RuleCount("internal address", 0, 38),
        ],
        failed_logins=21,
        silent_workers=0,
    )  # fmt: skip


def hostile() -> tuple[Status, Tunnels, Recent]:
    """Every text is hostile that comes from a peer, a file or a flag."""
    names = HOSTILE
    found = [
        tunnel(number, connection=name, tunnel=name, client=name, user=name, target=name, address=name[::-1], phase=name)
        for number, name in enumerate(names)
    ]
    ended = [EndedFacts(NOW - 5, name, name, name, 1.0, 1, 1, name, name, name) for name in names]
    refused = [RefusedFacts(NOW - 5, name, name, name, 403, name, name, name) for name in names]
    refusals = [RefusalCount(403, name, name, 1, NOW - 5) for name in names]
    rules = [RuleCount(name, 1, 1) for name in names]
    said = status(
        command=names[0],
        name=names[0],
        version=names[1],
        listeners=[ListenerFacts(name, name) for name in names],
        route=list(names),
        reloads=[Note(NOW, name) for name in names],
        warnings=[Note(NOW, name) for name in names],
        tunnels=len(found),
    )
    return said, Tunnels(found, 0), Recent(ended, refused, refusals, rules, 3, 0)
