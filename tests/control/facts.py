"""Records of a program for tests."""

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

STATUS = Status(
    command="serve",
    name="work",
    pid=7,
    version="0.1.0",
    started=1.5,
    now=3.0,
    listeners=[ListenerFacts("127.0.0.1:3128"), ListenerFacts("127.0.0.1:5432", "db.example:5432")],
    route=["http://one:80,http://two:80", "socks5://three:1080"],
    draining=True,
    connections=3,
    tunnels=2,
    sent=4,
    received=5,
    workers=[WorkerFacts(0, 8, 0.25)],
    certificate=CertificateFacts(9.0, 3),
    reloads=[Note(2.0, "policy: 2 rules")],
    warnings=[Note(2.5, "something")],
    last_failure=Note(2.75, "db.example:5432: a cause"),
)
TUNNELS = Tunnels(
    [
        TunnelFacts("c-1", "c-1.1", "192.0.2.1:4000", "alice", "h.test:22", "198.51.100.1:22", "tunnel", 60.0, 1, 2, 3.0, 4.0, 5.0),
        TunnelFacts("c-2", "c-2.1", "192.0.2.2:4000", "", "x:1", "", "dns", 0.1, 0, 0, None, None, None),
    ],
    1,
)
RECENT = Recent(
    [EndedFacts(2.0, "192.0.2.1:4001", "alice", "h.example:22", 3.0, 10, 20, "client", "reset", "ECONNRESET")],
    [RefusedFacts(2.0, "192.0.2.1:4002", "", "10.0.0.1:22", 403, "destination_ip_prohibited", "internal", "no")],
    [RefusalCount(403, "destination_ip_prohibited", "internal", 9, 2.0)],
    [RuleCount("*:443", 7, 0)],
    4,
    0,
)
