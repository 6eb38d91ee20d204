"""Every flag, declared once.

The Typer application, the direct parser, the manual's OPTIONS, the three completion scripts and the tables of the documents all
derive from this list. `connect` loads this module before it dials, so the module imports next to nothing and computes nothing.
The commands and their prose, which only help and the manual need, are in cli.spec.commands (0.2 ms).
"""

from __future__ import annotations

from tunnelctl.cli.spec.flag import (
    ALL,
    BIND,
    CHOICE,
    CONTROL,
    COUNT,
    FILE,
    JUDGING,
    KEEPALIVE,
    LEVEL,
    LOCAL,
    LOCAL_PORT,
    NO_CONTROL,
    PATH,
    REACH,
    RULE,
    SECONDS,
    SWITCH,
    TEXT,
    TUNNELS,
    UPSTREAM,
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
    Flag(
        "proxy", "x", "URL", TEXT,
        "proxy to use; repeat it for a chain, nearest first; `direct`: none",
        (*REACH, "env"), "Proxy",
        brief="proxy to use, or `direct`; repeat it for a chain", common=(*REACH, "env"),
        detail="A URL is SCHEME://[USER:PASSWORD@]HOST[:PORT]. The schemes are http (the default; port 80), "
        "https (TLS to the proxy; 443), socks5 and socks4a (1080), with socks5h, socks and socks4 as aliases: the proxy looks "
        "names up in any case. Commas separate alternatives: if one cannot be reached, the next is tried. "
        "`direct` as the last of them goes straight to the target while no proxy can be reached, with a warning; a proxy that "
        "refuses, or that ends the connection, can be reached. "
        "The nearest proxy may have a link-local address with its interface, as in http://[fe80::1%25eth0]:3128. "
        "An explicit proxy is never overruled by NO_PROXY. "
        "A password in the URL can be seen by every user of the machine in the list of processes: "
        "prefer a file or TUNNELCTL_PROXY_PASSWORD.",
        env=("TUNNELCTL_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
        repeat=True,
        choices=("direct", "http://", "https://", "socks5://"),
    ),
    Flag(
        "pac", "", "FILE|URL", FILE, "take the proxies for each target from a PAC file", REACH, "Proxy",
        common=LOCAL,
        detail="A path, or a URL with http, https or file, which is fetched without a proxy. The variables that name a "
        "proxy and NO_PROXY are then ignored; -x takes precedence. The script is asked for https://HOST:PORT/, and its "
        "time, memory and lookups are limited. It needs the package mini-racer: `pip install '.[pac]'` in the source tree.",
    ),
    Flag(
        "proxy", "x", "URL", TEXT, "send every tunnel through this proxy; repeat for a chain", ("serve",), "Proxy",
        brief="proxy for every tunnel; repeat it for a chain", common=("serve",),
        detail="A URL as for connect, with commas between alternatives. "
        "The proxies of the environment are ignored. Names are then looked up by that proxy, so rules on networks apply to "
        "targets that are addresses, and rules on names to the others. The login sent to it is the one given here, never "
        "that of a client. This server adds its own name to Via, and refuses a request that has passed through it before.",
        repeat=True,
        choices=("http://", "https://", "socks5://"),
    ),
    Flag(
        "http", "", "VERSION", CHOICE, "version of HTTP to speak with the proxy: 1.1, 2 or auto", UPSTREAM, "Proxy",
        brief="version of HTTP for the proxy: 1.1, 2 or auto",
        detail="With auto, HTTP/2 is used if an https:// proxy offers it (by ALPN), and otherwise HTTP/1.1. "
        "With 2, an http:// proxy must support HTTP/2 as well. HTTP/2 carries many tunnels on one connection, so a new "
        "tunnel needs no new handshake. A single bulk transfer is faster over HTTP/1.1, and on a line that loses packets, "
        "tunnels on one connection wait for each other. If a proxy offers HTTP/2 without CONNECT, or requires "
        "NTLM or Negotiate, HTTP/1.1 is used. The default is 1.1 for connect, ssh-config and check, and auto for the others.",
        choices=("1.1", "2", "auto"),
    ),
    Flag(
        "connections", "", "N", COUNT, "spread tunnels over N connections of HTTP/2", (*LOCAL, "serve"), "Proxy",
        default="1", least=1,
        detail="On a line with a long round trip or with losses, several connections carry more than one. If all of them have as "
        "many tunnels as the proxy allows, more are opened in any case.",
    ),
    Flag(
        "proxy-user", "", "NAME", TEXT, "user name for the proxy", UPSTREAM, "Proxy",
        common=REACH,
        detail="For a URL that names no user. In a chain it is for the nearest proxy; the others have theirs in the URL.",
    ),
    Flag(
        "proxy-password-file", "", "FILE", FILE, "file whose first line is the password", UPSTREAM, "Proxy",
        common=REACH,
        env=("TUNNELCTL_PROXY_PASSWORD",),
        detail="The variable holds the password itself; the file takes precedence.",
    ),
    Flag(
        "password-command", "", "COMMAND", TEXT, "shell command that prints the password", UPSTREAM, "Proxy",
        detail="Run by /bin/sh when the password is needed, with neither stdin nor stdout of tunnelctl; the first line that it "
        "prints is the password. It has 60 seconds. Example: --password-command 'pass show proxy'. "
        "`tunnelctl setup pass` and `tunnelctl setup keyring` print the lines for a store of passwords.",
    ),
    Flag(
        "ask-password", "", "", SWITCH, "ask for the password on the terminal", UPSTREAM, "Proxy",
        detail="The prompt uses the terminal itself, never stdin, which is the tunnel; so it also works under ssh.",
    ),
    Flag(
        "proxy-auth-file", "", "FILE", FILE, "file with a line `user:password`, as for corkscrew", UPSTREAM, "Proxy",
    ),
    Flag(
        "auth", "", "SCHEME", CHOICE, "how to log in: any, basic, digest, bearer, ntlm or negotiate", UPSTREAM, "Proxy",
        brief="basic, digest, bearer, ntlm, negotiate or any", common=("connect", "check"),
        detail="With `any`, the first request carries no login; then the strongest scheme is used that the proxy offers and that "
        "can work: negotiate, digest, ntlm, bearer, basic. A scheme given here is used at once (digest after a challenge), and no "
        "other. For bearer, the password is the token. Negotiate uses a Kerberos ticket, or user and password. "
        "It needs the package pyspnego[kerberos], and ntlm pyspnego: `pip install '.[negotiate]'` in the source tree.",
        default="any", choices=("any", "basic", "digest", "bearer", "ntlm", "negotiate"),
    ),
    Flag(
        "proxy-cacert", "", "FILE", FILE, "trust these authorities for https:// proxies, and no others", UPSTREAM, "Proxy",
        brief="trust only these authorities for https:// proxies",
        detail="Certificates in PEM form. Without it, those of the system are trusted.",
    ),
    Flag(
        "proxy-cert", "", "FILE", FILE, "client certificate for an https:// proxy, in PEM form", UPSTREAM, "Proxy",
        brief="client certificate for an https:// proxy",
        detail="For the first https:// proxy of a chain. Its key is in the same file, or in --proxy-key.",
    ),
    Flag(
        "proxy-key", "", "FILE", FILE, "key of the client certificate, in PEM form, without a passphrase", UPSTREAM, "Proxy",
        brief="key of that client certificate",
    ),
    Flag(
        "proxy-pin", "", "SHA256", TEXT, "accept an https:// proxy only with this fingerprint or pin", UPSTREAM, "Proxy",
        brief="fingerprint or pin required of an https:// proxy",
        detail="The fingerprint of the certificate, as `openssl x509 -fingerprint -sha256` prints it, or the pin of its key, as "
        "for curl's --pinnedpubkey. If it matches, issuer, name and dates of the certificate are not checked; with "
        "--proxy-cacert, they are checked as well. It is for the first https:// proxy of a chain.",
    ),
    Flag(
        "proxy-insecure", "", "", SWITCH, "do not check the certificates of https:// proxies; warns each time", UPSTREAM, "Proxy",
        brief="do not check certificates of https:// proxies",
    ),
    Flag(
        "tls", "", "", SWITCH, "speak TLS to the target, inside the tunnel", ("connect", "check"), "TLS",
        common=("connect", "check"),
        detail="stdin and stdout then carry the plain text, as with `openssl s_client`.",
    ),
    Flag(
        "tls-name", "", "NAME", TEXT, "name that the certificate of the target must be valid for", ("connect", "check"), "TLS",
        brief="name that the certificate must be valid for",
        detail="The default is HOST. It is also the name sent to the target (SNI).",
    ),
    Flag(
        "tls-cacert", "", "FILE", FILE, "trust these authorities for the target, and no others", ("connect", "check"), "TLS",
        brief="trust only these authorities for the target",
    ),
    Flag(
        "tls-alpn", "", "PROTOCOL", TEXT, "offer this protocol to the target, such as http/1.1", ("connect", "check"), "TLS",
        brief="offer this protocol to the target by ALPN",
        repeat=True,
    ),
    Flag(
        "header", "", "'NAME: VALUE'", TEXT, "field added to the CONNECT request", REACH, "Proxy",
        repeat=True,
        detail="In a chain it is sent to the nearest proxy, and never to a SOCKS proxy. The value is sent as "
        "typed, in UTF-8. User-Agent replaces the default. So does Host, with a warning: some proxies are "
        "name-based virtual hosts and need their own name there; others refuse a Host that is not the target.",
    ),
    Flag(
        "timeout", "", "SECONDS", SECONDS, "time limit for opening the tunnel; 0: none", REACH, "Time limits",
        common=("connect",),
        default="30",
    ),
    Flag(
        "connect-timeout", "", "SECONDS", SECONDS, "time limit for one attempt to connect; 0: none", REACH, "Time limits",
        default="0",
    ),
    Flag(
        "idle-timeout", "", "SECONDS", SECONDS, "end a tunnel after SECONDS without a byte; 0: never", TUNNELS, "Time limits",
        brief="end a tunnel silent for SECONDS; 0: never",
        default="0",
    ),
    Flag(
        "", "4", "", SWITCH, "connect to the proxy by IPv4 only", REACH, "Connection",
        field="family", constant=4,
    ),
    Flag(
        "", "6", "", SWITCH, "connect to the proxy by IPv6 only", REACH, "Connection",
        field="family", constant=6,
    ),
    Flag(
        "keepalive", "", "SECONDS", SECONDS, "TCP keepalive after SECONDS of silence; 0: off", REACH, "Connection",
        default="60",
        detail=KEEPALIVE,
    ),
    Flag(
        "retry", "", "N", COUNT, "retry up to N times if the proxy cannot be reached", TUNNELS, "Connection",
        brief="retries if the proxy cannot be reached",
        default="0",
        detail="Retries happen only before the first byte of the tunnel, and only where they can help.",
    ),
    Flag(
        "warm", "", "N", COUNT, "keep N idle connections to the proxy", LOCAL, "Connection",
        default="0",
        detail="A new tunnel then saves the round trips to the proxy. A connection that was used, or that the proxy closed, is "
        "replaced. With several proxies, the first has idle connections until others are used, then the four used last; with "
        "--pac, only these four.",
    ),
    Flag(
        "via", "", "NAME", TEXT, "open the tunnel through the running forward NAME, the socket at PATH, or auto",
        ("connect", "ssh-config"), "Connection",
        brief="use the running forward NAME, or auto", common=("connect", "ssh-config"),
        detail="The forward has the flags for the proxies and logs in to them, so those flags cannot be given beside NAME. A NAME "
        "with a / is the path of a control socket. If that forward is not running, connect fails; if its backlog is full, "
        "connect waits within --timeout. With `auto`, the flags and variables for the proxies are given as usual. A "
        "forward that was started with the same proxies, user, TLS files and header fields opens the tunnel. If none is "
        "running, if it shows no sign of life within 0.25 seconds, or if it cannot open the tunnel, connect reaches the proxies "
        "itself, unless the time limit is used up.",
        choices=("auto",),
    ),
    Flag(
        "fdpass", "", "", SWITCH, "hand the connected socket to ssh and exit", ("connect",), "Connection",
        common=("connect",),
        detail="For `ProxyUseFdpass yes` of ssh_config(5), with which stdout is a unix socket: no process remains between ssh and "
        "the proxy. TLS and HTTP/2 require a process that keeps running, so an https:// proxy requires --via NAME: that forward "
        "keeps running, and no other process remains between ssh and it. It cannot be combined with --tls or, for an HTTP proxy, "
        "with --http 2.",
    ),
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
    Flag(
        "profile", "", "NAME", TEXT, "profile of the settings file to use", (*REACH, "env", "serve"), "Settings",
        common=("connect", *LOCAL),
        env=("TUNNELCTL_PROFILE",),
        detail="The file is ~/.config/tunnelctl/config.toml; see tunnelctl-config(5).",
    ),
    Flag(
        "verbose", "v", "", LEVEL, "a line for each stage on stderr; -vv: with heads, secrets masked", ("connect",), "Output",
        brief="show each stage; -vv: with heads, secrets masked", common=("connect",),
    ),
    Flag(
        "verbose", "v", "", LEVEL, "a line for each connection; -vv: for each stage as well, with heads, secrets masked",
        LOCAL, "Output",
        brief="show each connection; -vv: each stage as well", common=LOCAL,
    ),
    Flag(
        "progress", "", "", SWITCH, "show tunnels, bytes and rates, live on a terminal", ("connect", "forward"),
        "Output",
        common=("forward",),
        detail="On stderr, and only if that is a terminal; with --json it is an object twice a second.",
    ),
    Flag(
        "verbose", "v", "", LEVEL, "a line on stderr for each decision and for each end of a tunnel", ("serve",), "Output",
        brief="show each decision and each end of a tunnel", common=("serve",),
        detail="They show what the access log records. A second -v adds nothing.",
    ),
    Flag(
        "quiet", "q", "", SWITCH, "print nothing but errors", ALL, "Output",
    ),
    Flag(
        "json", "", "", SWITCH, "messages on stderr as JSON objects, one per line", ALL, "Output",
        detail="Keys are only ever added.",
    ),
    *OTHER_FLAGS,
)  # fmt: skip

# Flags that contradict each other: giving both is an error.
CONFLICTS = (
    ("-4", "-6"), ("-v", "-q"), ("--fdpass", "--progress"), ("--git", "--port-443"),
    ("--watch", "--get"), ("--watch", "--expect"), ("--watch", "--idle"), ("--watch", "--wait"),
)  # fmt: skip


def flags_of(command: str) -> list[Flag]:
    """Returns the flags of a command in the order of its help."""
    return [flag for flag in FLAGS if command in flag.commands]
