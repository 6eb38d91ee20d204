"""Every flag, declared once: here, in connect_flags and in other_flags.

The Typer application, the direct parser, the manual's OPTIONS, the three completion scripts and the tables of the documents all
derive from this list. The commands and their prose, which only help and the manual need, are in cli.spec.commands.
"""

from __future__ import annotations

from tunnelctl.cli.spec.connect_flags import OPENING, REPORTING
from tunnelctl.cli.spec.flag import (
    BIND,
    CONTROL,
    COUNT,
    FILE,
    JUDGING,
    KEEPALIVE,
    LOCAL,
    LOCAL_PORT,
    NO_CONTROL,
    PATH,
    RULE,
    SECONDS,
    SWITCH,
    TEXT,
    Flag,
)
from tunnelctl.cli.spec.other_flags import OTHER_FLAGS

FLAGS = (
    Flag(
        "local", "L", "SPEC", TEXT, LOCAL_PORT, ("forward",), "Local ports",
        brief="local port to one target: PORT:HOST:HOSTPORT", common=("forward",),
        detail=f"{BIND} With PORT 0 the system picks a free one, which `listening on ADDR:PORT` shows. {PATH}",
        repeat=True,
    ),
    Flag(
        "local", "L", "SPEC", TEXT, LOCAL_PORT, ("run",), "Local ports",
        brief="local port to one target: PORT:HOST:HOSTPORT", common=("run",),
        detail=f"{BIND} With PORT 0 the system picks a free one. The command finds it in TUNNELCTL_PORT_1, that of the "
        f"second -L in TUNNELCTL_PORT_2, and so on. {PATH}",
        repeat=True,
    ),
    Flag(
        "dynamic", "D", "[BIND:]PORT", TEXT,
        "local port that leads anywhere: a SOCKS and HTTP proxy", ("forward",), "Local ports",
        brief="local SOCKS and HTTP port that leads anywhere", common=("forward",),
        detail="It speaks SOCKS5, SOCKS4, SOCKS4a and HTTP: CONNECT, and plain http:// requests, which are tunnelled too. "
        "Names are looked up by the proxy. A path or fd:NAME is also accepted, as with -L.",
        repeat=True,
    ),
    Flag(
        "name", "", "NAME", TEXT,
        "name for `connect --via NAME`, `status` and `stop`; needs no -L or -D", ("forward",), "Local ports",
        common=("forward",), brief="name for `connect --via`, status, stop",
        detail=f"{CONTROL} The default name is forward, or forward-PID if that is in use. {NO_CONTROL} "
        "`connect --via NAME` opens tunnels through the socket, without a handshake or a login of its own. They count toward "
        "--max-connections.",
    ),
    Flag(
        "name", "", "NAME", TEXT, "name for `status` and `stop`", ("run",), "Local ports",
        detail=f"{CONTROL} The default name is run, or run-PID if that is in use. {NO_CONTROL}",
    ),
    Flag(
        "name", "", "NAME", TEXT, "name for `status` and `stop`", ("serve",), "Output",
        detail=f"{CONTROL} The default name is serve, or serve-PID if that is in use. {NO_CONTROL} While it drains, its name is "
        "NAME-PID, so that a successor can take the name.",
    ),
    Flag(
        "background", "", "", SWITCH, "return once the ports are open, and continue in the background", ("forward",), "Local ports",
        brief="return once the ports are open", common=("forward",),
        detail="The command returns 0 once every port accepts connections; otherwise it fails with the same error as in the "
        "foreground. It asks for a password before that. Later messages are not printed: `tunnelctl status`, `top` and the page of "
        "--admin show what happens. `tunnelctl stop NAME` ends it.",
    ),
    Flag(
        "dynamic", "D", "[BIND:]PORT", TEXT, "use this port of `tunnelctl forward`, which logs in", ("setup",), "Local ports",
        brief="use this port of `forward`, which logs in", common=("setup",),
        detail="The lines then name that port, and the command that opens it is printed with them. A tool that cannot use the "
        "proxy by itself is sent to 127.0.0.1:8080 unless this flag names another port.",
    ),
    Flag(
        "users", "", "FILE", FILE, "users who may use -D; lines from `hash-password`", ("forward",), "Local ports",
        detail="Each client of a -D port then has to log in: with Basic over HTTP, with user and password over SOCKS5. SOCKS4 has "
        "no password and is refused. A -L port cannot require a login. The file has the same format as for serve, and is read "
        "once, at start.",
    ),
    Flag(
        "open-proxy", "", "", SWITCH, "let other machines use a port without a login", ("forward",), "Local ports",
        detail="Without it, a -D port beyond loopback needs --users, and a -L port there is refused.",
    ),
    Flag(
        "java", "", "", SWITCH, "let Java programs use the proxy too, by JAVA_TOOL_OPTIONS", ("run",), "Local ports",
        brief="let Java programs use the proxy too", common=("run",),
        detail="Opens another port on loopback, which requires no login, because a JVM has no setting for one. It serves only "
        "connections of this user, as the tables of the kernel (Linux) or lsof (macOS) show, and closes all others with a warning. "
        "The options are added to those that JAVA_TOOL_OPTIONS has. The entries of NO_PROXY become http.nonProxyHosts, except "
        "those that it cannot express.",
    ),
    Flag(
        "open-proxy", "", "", SWITCH, "let other machines use a port without a login", ("run",), "Local ports",
        detail="Without it, a -L port beyond loopback is refused.",
    ),
    *OPENING,
    Flag(
        "listen", "", "ADDR:PORT", TEXT, "address to listen on, or unix:PATH or fd:NAME", ("serve",), "Listening",
        brief="address to listen on", common=("serve",),
        default="127.0.0.1:3128", repeat=True,
        detail="With port 0 the system picks a free one; the line `listening on ADDR:PORT` shows it. "
        "An address beyond loopback needs --users, --client-ca, or --open-proxy. fd:NAME is a socket that "
        "systemd passed.",
    ),
    Flag(
        "tls-cert", "", "FILE", FILE, "speak TLS, with this certificate and its chain", ("serve",), "Listening",
        common=("serve",),
        detail="This holds for all listening addresses; the proxy URL then begins with https://. On SIGHUP, this file, the key and "
        "--client-ca are read again.",
    ),
    Flag(
        "tls-key", "", "FILE", FILE, "key of that certificate, if not in the same file", ("serve",), "Listening",
        detail="A key with a passphrase is refused.",
    ),
    Flag(
        "client-ca", "", "FILE", FILE, "admit only clients with a certificate of this authority", ("serve",), "Listening",
        brief="admit only clients with its certificates",
        detail="The access log shows its common name as the user, such as `CN=alice`, or else its first other name. "
        "With --users as well, clients need both.",
    ),
    Flag(
        "open-proxy", "", "", SWITCH, "listen beyond loopback without requiring a login", ("serve",), "Listening",
    ),
    Flag(
        "proxy-protocol", "", "CIDR", TEXT, "load balancers trusted to send a PROXY header", ("serve",), "Listening",
        repeat=True,
        detail="An address or a network of load balancers, such as HAProxy with send-proxy. They must send the header, version 1 "
        "or 2; rules, caps and the log then apply to the client that it names. From all others it is refused.",
    ),
    Flag(
        "workers", "", "N", COUNT, "processes that share the listening addresses", ("serve",), "Listening",
        default="1", least=1,
        detail="One more process supervises them, and replaces one that dies.",
    ),
    Flag(
        "allow", "", "RULE", TEXT, "targets that may be reached; without any: `*:443`", JUDGING, "Policy",
        common=JUDGING,
        repeat=True,
        detail=f"{RULE} An internal address is reached only where a rule names that address, its network or that exact host name: "
        "* never means internal.",
    ),
    Flag(
        "deny", "", "RULE", TEXT, "targets that may not be reached; deny beats allow", JUDGING, "Policy",
        common=JUDGING,
        repeat=True,
    ),
    Flag(
        "policy", "", "FILE", FILE, "file of rules, also for users and clients; reread on SIGHUP", ("serve",), "Policy",
        brief="file of rules; reread on SIGHUP", common=("serve",),
        detail="tunnelctl-policy(5) describes the format. Its rules and those of --allow and --deny are combined, as if all were "
        "in one place. A file with an error changes nothing: a warning names the line and the key. "
        "An address beyond loopback needs no --users if each allow rule names clients.",
    ),
    Flag(
        "plain-http", "", "", SWITCH, "serve requests for http:// URLs too, by the same rules", ("serve",), "Policy",
        brief="serve http:// URLs too, by the same rules",
        detail="For apt, wget and OCSP. Such a request needs an allow rule for its port, mostly 80. The first --allow replaces the "
        "default `*:443`, so give that one as well: --allow 'deb.debian.org:80' --allow '*:443'.",
    ),
    Flag(
        "users", "", "FILE", FILE, "users who may connect; lines from `hash-password`", ("serve",), "Policy",
        common=("serve",),
        detail="Read again on SIGHUP, like the policy.",
    ),
    Flag(
        "head-timeout", "", "SECONDS", SECONDS, "time limit for a request head, from accept on", ("serve",), "Limits",
        default="10",
        detail="In HTTP/2, each further request of a connection has this time from its first octet on.",
    ),
    Flag(
        "dial-timeout", "", "SECONDS", SECONDS, "time limit for reaching a target", ("serve",), "Limits",
        default="15",
    ),
    Flag(
        "idle-timeout", "", "SECONDS", SECONDS, "end a tunnel after SECONDS without a byte; 0: never", ("serve",), "Limits",
        brief="end a tunnel silent for SECONDS; 0: never",
        default="900",
    ),
    Flag(
        "half-close-timeout", "", "SECONDS", SECONDS, "time limit for the other direction once one has ended", ("serve",), "Limits",
        brief="limit for one direction after the other's end",
        default="60",
    ),
    Flag(
        "max-tunnels", "", "N", COUNT, "open tunnels; 0: as many as descriptors allow", ("serve",), "Limits",
        default="0",
        detail="Each process has its own descriptors, of which a tunnel takes two; the cap is on all --workers together.",
    ),
    Flag(
        "max-per-client", "", "N", COUNT, "open tunnels of one client network; 0: no cap", ("serve",), "Limits",
        default="0",
        detail="Further ones get 429.",
    ),
    Flag(
        "client-prefix", "", "V4,V6", TEXT, "prefix lengths that define a client network", ("serve",), "Limits",
        default="32,64",
    ),
    Flag(
        "max-per-user", "", "N", COUNT, "open tunnels of one user; 0: no cap", ("serve",), "Limits",
        default="0",
        detail="Further ones get 429.",
    ),
    Flag(
        "max-per-target", "", "N", COUNT, "open tunnels to one host and port; 0: no cap", ("serve",), "Limits",
        default="0",
        detail="Further ones get 503.",
    ),
    Flag(
        "max-dials", "", "N", COUNT, "name lookups and connects in progress; 0: no cap", ("serve",), "Limits",
        default="0",
        detail="Further ones get 503.",
    ),
    Flag(
        "max-lifetime", "", "SECONDS", SECONDS, "end a tunnel of this age, busy or not; 0: never", ("serve",), "Limits",
        default="0",
    ),
    Flag(
        "max-connections", "", "N", COUNT, "open local connections; 0: no cap", LOCAL, "Limits",
        default="0",
        detail="Further ones are reset at once.",
    ),
    Flag(
        "drain", "", "SECONDS", SECONDS, "time for open tunnels to end after SIGTERM", ("forward", "serve"), "Limits",
        default="30",
        detail="A second SIGTERM or Ctrl-C stops at once.",
    ),
    Flag(
        "keepalive", "", "SECONDS", SECONDS, "TCP keepalive after SECONDS of silence; 0: off", ("serve",), "Limits",
        default="60",
        detail=KEEPALIVE,
    ),
    Flag(
        "access-log", "", "FILE", FILE, "write a JSON record for each decision and end; -: stdout", ("serve",), "Output",
        brief="JSON record of each decision and end; -: stdout", common=("serve",),
        detail="The file is reopened on SIGHUP, for logrotate. Records that cannot be written are counted, and delay no tunnel.",
    ),
    Flag(
        "log-interval", "", "SECONDS", SECONDS, "also a record of each open tunnel every SECONDS; 0: never", ("serve",), "Output",
        brief="record open tunnels every SECONDS; 0: never",
        default="0",
    ),
    Flag(
        "log-bytes", "", "N", COUNT, "also a record every N bytes of a tunnel, both directions; 0: never", ("serve",), "Output",
        brief="record a tunnel every N bytes; 0: never",
        default="0",
        detail="Tunnels are checked once a second.",
    ),
    Flag(
        "admin", "", "ADDR:PORT", TEXT, "show a status page, metrics and health here, or at unix:PATH", ("serve",), "Output",
        brief="status page, metrics, or unix:PATH", common=("serve",),
        detail="HTTP: / is a page for people, /status, /tunnels and /recent are what it shows, in JSON, /metrics is for "
        "Prometheus, /healthz succeeds while the server runs, and /readyz fails while it drains. The proxy itself never connects "
        "to this address. The control socket has the same pages; without --admin, it has fewer metrics.",
    ),
    Flag(
        "admin", "", "ADDR:PORT", TEXT, "show a status page here, or at unix:PATH", LOCAL, "Output",
        detail="HTTP: / is a page for people, /status, /tunnels and /recent are what it shows, in JSON, /metrics is for "
        "Prometheus, /healthz succeeds while the program runs, and /readyz fails while it drains. The control socket has them too.",
    ),
    Flag(
        "open-admin", "", "", SWITCH, "let other machines use --admin without a login", ("serve", *LOCAL), "Output",
        detail="The Host field of requests to the admin port may then have any name; on loopback, only an address or localhost.",
    ),
    *REPORTING,
    *OTHER_FLAGS,
)  # fmt: skip


def flags_of(command: str) -> list[Flag]:
    """Returns the flags of a command in the order of its help."""
    return [flag for flag in FLAGS if command in flag.commands]
