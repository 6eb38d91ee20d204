"""Every flag, declared once.

The Typer application, the direct parser, the manual's OPTIONS, the three completion scripts and the tables of the README all
derive from this list. `connect` loads this module before it dials, so the module imports next to nothing and computes nothing.
The commands and their prose, which only help and the manual need, are in cli.spec.commands (0.2 ms).
"""

from __future__ import annotations

from tunnelctl.namedtuple import NamedTuple

# Kinds. They decide how a value is read (cli.parse.values) and what a shell completes.
SWITCH = "switch"  # takes no value; stores `constant`
LEVEL = "level"  # takes no value; counts its occurrences
SECONDS = "seconds"  # plain decimal, 0 is off
COUNT = "count"  # plain whole number
TEXT = "text"
FILE = "file"  # a path, or "-" if the help allows it
CHOICE = "choice"  # one of `choices`, and nothing else


class Flag(NamedTuple):
    """One flag of one or more commands. `help` is one line in lower case without a full stop; `detail` is whole sentences."""

    name: str  # long spelling without the dashes; "" if there is only a short one
    short: str  # one letter, or ""
    metavar: str  # placeholder for the value; "" for kinds without one
    kind: str
    help: str
    commands: tuple[str, ...]
    group: str  # heading in --help
    detail: str = ""  # more for the manual
    default: str = ""  # as a user would type it; "" if there is none to show
    env: tuple[str, ...] = ()  # variables consulted, in this order, when the flag is not given
    repeat: bool = False
    field: str = ""  # name in the options; derived from `name` if empty
    constant: object = True  # what a switch stores
    least: int = 0  # smallest value of a COUNT
    choices: tuple[str, ...] = ()  # of a CHOICE, all values; otherwise those to complete, where a final / marks a prefix

    @property
    def destination(self) -> str:
        """The field of the options record that this flag fills."""
        return self.field or self.name.replace("-", "_")

    @property
    def spellings(self) -> tuple[str, ...]:
        """The spellings as typed, the short one first."""
        return tuple(s for s in (self.short and f"-{self.short}", self.name and f"--{self.name}") if s)

    @property
    def takes_value(self) -> bool:
        """Whether a value follows the flag."""
        return self.kind not in (SWITCH, LEVEL)


TUNNELS = ("connect", "forward", "run", "ssh-config")  # commands that open tunnels for other programs, or print how to
REACH = (*TUNNELS, "check", "setup")  # clients of a proxy, and what is told of one
LOCAL = ("forward", "run")  # commands that open local ports
UPSTREAM = (*REACH, "serve")  # and serve, if it forwards through another proxy
ALL = ("connect", *LOCAL, "serve")
JUDGING = ("serve", "check-policy")  # commands with rules on targets

KEEPALIVE = (
    "Nine probes follow, a quarter of that apart; then the connection is closed. So is one whose peer leaves data "
    "unacknowledged for the same time and sends nothing. A peer that answers, but does not read, keeps its connection; if it "
    "then vanishes, some minutes can pass before that shows, because the kernel probes at growing intervals."
)
RULE = "A RULE is HOST, *.DOMAIN, CIDR or *, then :PORT, :LO-HI or :*; IPv6 is written in brackets, as in [2001:db8::/32]:443."

LOCAL_PORT = "local port that leads to one target: [BIND:]PORT:HOST:HOSTPORT"
BIND = "BIND is an address, 127.0.0.1 unless given, or * for all; IPv6 is written in brackets."
PATH = "A path in place of [BIND:]PORT is a unix socket, of mode 0600. fd:NAME in its place is a socket that systemd passed."

FLAGS = (
    Flag(
        "local", "L", "SPEC", TEXT, LOCAL_PORT, ("forward",), "Local ports",
        detail=f"{BIND} With PORT 0 the system picks a free one, which `listening on ADDR:PORT` shows. {PATH}",
        repeat=True,
    ),
    Flag(
        "local", "L", "SPEC", TEXT, LOCAL_PORT, ("run",), "Local ports",
        detail=f"{BIND} With PORT 0 the system picks a free one. The command finds it in TUNNELCTL_PORT_1, that of the "
        f"second -L in TUNNELCTL_PORT_2, and so on. {PATH}",
        repeat=True,
    ),
    Flag(
        "dynamic", "D", "[BIND:]PORT", TEXT,
        "local port that leads anywhere: a SOCKS and HTTP proxy", ("forward",), "Local ports",
        detail="It speaks SOCKS5, SOCKS4, SOCKS4a and HTTP: CONNECT, and plain http:// requests, which are tunnelled too. "
        "Names are looked up by the proxy. A path and fd:NAME are understood as with -L.",
        repeat=True,
    ),
    Flag(
        "dynamic", "D", "[BIND:]PORT", TEXT, "use this port of `tunnelctl forward`, which logs in", ("setup",), "Local ports",
        detail="The lines then name that port, and the command that opens it is printed with them. A tool that cannot use the "
        "proxy by itself is sent to 127.0.0.1:8080 unless this flag names another port.",
    ),
    Flag(
        "name", "", "NAME", TEXT, "name for `connect --via NAME`; needs no -L or -D", ("forward",), "Local ports",
        detail="Every forward has a control socket, through which `connect --via` opens tunnels without a handshake or a login of "
        "its own. They count toward --max-connections. It is NAME.sock in $XDG_RUNTIME_DIR/tunnelctl, or in /tmp/tunnelctl-UID if "
        "that variable is not set or names a directory of another user. Only processes of the same user can use it. The default "
        "name is forward, or forward-PID if that is in use. A socket that cannot be opened is an error with --name, and a warning "
        "without.",
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
        "open-proxy", "", "", SWITCH, "let other machines use a port without a login", ("run",), "Local ports",
        detail="Without it, a -L port beyond loopback is refused.",
    ),
    Flag(
        "proxy", "x", "URL", TEXT,
        "proxy to use; repeat it for a chain, nearest first; `direct`: none",
        REACH, "Proxy",
        detail="A URL is SCHEME://[USER:PASSWORD@]HOST[:PORT]. The schemes are http (the default; port 80), "
        "https (TLS to the proxy; 443), socks5 and socks4a (1080), with socks5h, socks and socks4 as other names: the proxy looks "
        "names up in any case. Commas separate alternatives: if one cannot be reached, the next is tried. "
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
        detail="A path, or a URL with http, https or file, which is fetched without a proxy. The variables that name a "
        "proxy and NO_PROXY are then ignored; -x takes precedence. The script is asked for https://HOST:PORT/, and its "
        "time, memory and lookups are limited. It needs the package mini-racer: `pip install '.[pac]'` in the source tree.",
    ),
    Flag(
        "proxy", "x", "URL", TEXT, "send every tunnel through this proxy; repeat for a chain", ("serve",), "Proxy",
        detail="A URL as for connect, with commas between alternatives. "
        "The proxies of the environment are ignored. Names are then looked up by that proxy, so rules on networks apply to "
        "targets that are addresses, and rules on names to the others. The login sent to it is the one given here, never "
        "that of a client. This server adds its own name to Via, and refuses a request that has passed through it before.",
        repeat=True,
        choices=("http://", "https://", "socks5://"),
    ),
    Flag(
        "http", "", "VERSION", CHOICE, "version of HTTP to speak with the proxy: 1.1, 2 or auto", UPSTREAM, "Proxy",
        detail="With auto, an https:// proxy that offers HTTP/2 (by ALPN) is spoken to in HTTP/2, and every other one in HTTP/1.1. "
        "With 2, an http:// proxy is expected to know HTTP/2 as well. HTTP/2 carries many tunnels on one connection, so a new "
        "tunnel needs no new handshake. A single bulk transfer is faster over HTTP/1.1, and on a line that loses packets, "
        "tunnels on one connection wait for each other. A proxy that offers HTTP/2 and knows no CONNECT there, or that requires "
        "NTLM or Negotiate, gets HTTP/1.1. The default is 1.1 for connect, ssh-config and check, and auto for the others.",
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
        detail="For a URL that names no user. In a chain it is for the nearest proxy; the others have theirs in the URL.",
    ),
    Flag(
        "proxy-password-file", "", "FILE", FILE, "file whose first line is the password", UPSTREAM, "Proxy",
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
        detail="With `any`, the first request carries no login; then the strongest scheme is used that the proxy offers and that "
        "can work: negotiate, digest, ntlm, bearer, basic. A scheme given here is used at once (digest after a challenge), and no "
        "other. For bearer, the password is the token. Negotiate uses a Kerberos ticket, or user and password. "
        "It needs the package pyspnego[kerberos], and ntlm pyspnego: `pip install '.[negotiate]'` in the source tree.",
        default="any", choices=("any", "basic", "digest", "bearer", "ntlm", "negotiate"),
    ),
    Flag(
        "proxy-cacert", "", "FILE", FILE, "trust these authorities for https:// proxies, and no others", UPSTREAM, "Proxy",
        detail="Certificates in PEM form. Without it, those of the system are trusted.",
    ),
    Flag(
        "proxy-cert", "", "FILE", FILE, "client certificate for an https:// proxy, in PEM form", UPSTREAM, "Proxy",
        detail="For the first https:// proxy of a chain. Its key is in the same file, or in --proxy-key.",
    ),
    Flag(
        "proxy-key", "", "FILE", FILE, "key of the client certificate, in PEM form, without a passphrase", UPSTREAM, "Proxy",
    ),
    Flag(
        "proxy-pin", "", "SHA256", TEXT, "accept an https:// proxy only with this fingerprint or pin", UPSTREAM, "Proxy",
        detail="The fingerprint of the certificate, as `openssl x509 -fingerprint -sha256` prints it, or the pin of its key, as "
        "for curl's --pinnedpubkey. If it matches, issuer, name and dates of the certificate are not checked; with "
        "--proxy-cacert, they are checked as well. It is for the first https:// proxy of a chain.",
    ),
    Flag(
        "proxy-insecure", "", "", SWITCH, "do not check the certificates of https:// proxies; warns each time", UPSTREAM, "Proxy",
    ),
    Flag(
        "tls", "", "", SWITCH, "speak TLS to the target, inside the tunnel", ("connect", "check"), "TLS",
        detail="stdin and stdout then carry the plain text, as with `openssl s_client`.",
    ),
    Flag(
        "tls-name", "", "NAME", TEXT, "name that the certificate of the target must be valid for", ("connect", "check"), "TLS",
        detail="The default is HOST. It is also the name sent to the target (SNI).",
    ),
    Flag(
        "tls-cacert", "", "FILE", FILE, "trust these authorities for the target, and no others", ("connect", "check"), "TLS",
    ),
    Flag(
        "tls-alpn", "", "PROTOCOL", TEXT, "offer this protocol to the target, such as http/1.1", ("connect", "check"), "TLS",
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
        default="30",
    ),
    Flag(
        "connect-timeout", "", "SECONDS", SECONDS, "time limit for one attempt to connect; 0: none", REACH, "Time limits",
        default="0",
    ),
    Flag(
        "idle-timeout", "", "SECONDS", SECONDS, "end a tunnel after SECONDS without a byte; 0: never", TUNNELS, "Time limits",
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
        detail="For `ProxyUseFdpass yes` of ssh_config(5), with which stdout is a unix socket: no process remains between ssh and "
        "the proxy. TLS and HTTP/2 require a process that keeps running, so an https:// proxy requires --via NAME: that forward "
        "keeps running, and no other process remains between ssh and it. It cannot be combined with --tls or, for an HTTP proxy, "
        "with --http 2.",
    ),
    Flag(
        "listen", "", "ADDR:PORT", TEXT, "address to listen on, or unix:PATH or fd:NAME", ("serve",), "Listening",
        default="127.0.0.1:3128", repeat=True,
        detail="With port 0 the system picks a free one; the line `listening on ADDR:PORT` shows it. "
        "An address beyond loopback needs --users, --client-ca, or --open-proxy. fd:NAME is a socket that "
        "systemd passed.",
    ),
    Flag(
        "tls-cert", "", "FILE", FILE, "speak TLS, with this certificate and its chain", ("serve",), "Listening",
        detail="This holds for all listening addresses; the proxy URL then begins with https://. On SIGHUP, this file, the key and "
        "--client-ca are read again.",
    ),
    Flag(
        "tls-key", "", "FILE", FILE, "key of that certificate, if not in the same file", ("serve",), "Listening",
        detail="A key with a passphrase is refused.",
    ),
    Flag(
        "client-ca", "", "FILE", FILE, "admit only clients with a certificate of this authority", ("serve",), "Listening",
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
        repeat=True,
        detail=f"{RULE} An internal address is reached only where a rule names that address, its network or that exact host name: "
        "* never means internal.",
    ),
    Flag(
        "deny", "", "RULE", TEXT, "targets that may not be reached; deny beats allow", JUDGING, "Policy",
        repeat=True,
    ),
    Flag(
        "policy", "", "FILE", FILE, "file of rules, also for users and clients; reread on SIGHUP", ("serve",), "Policy",
        detail="tunnelctl-policy(5) describes the format. Its rules and those of --allow and --deny are combined, as if all were "
        "in one place. A file with an error changes nothing: a warning names the line and the key. "
        "An address beyond loopback needs no --users if each allow rule names clients.",
    ),
    Flag(
        "users", "", "FILE", FILE, "users who may connect; lines from `hash-password`", ("serve",), "Policy",
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
        default="900",
    ),
    Flag(
        "half-close-timeout", "", "SECONDS", SECONDS, "time limit for the other direction once one has ended", ("serve",), "Limits",
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
        detail="The file is reopened on SIGHUP, for logrotate. Records that cannot be written are counted, and delay no tunnel.",
    ),
    Flag(
        "log-interval", "", "SECONDS", SECONDS, "also a record of each open tunnel every SECONDS; 0: never", ("serve",), "Output",
        default="0",
    ),
    Flag(
        "log-bytes", "", "N", COUNT, "also a record every N bytes of a tunnel, both directions; 0: never", ("serve",), "Output",
        default="0",
        detail="Tunnels are checked once a second.",
    ),
    Flag(
        "admin", "", "ADDR:PORT", TEXT, "show metrics, health and open tunnels here, or at unix:PATH", ("serve",), "Output",
        detail="HTTP: /metrics is for Prometheus, /healthz succeeds while the server runs, /readyz fails while it drains, and "
        "/tunnels is a list in JSON. The proxy itself never connects to this address.",
    ),
    Flag(
        "open-admin", "", "", SWITCH, "let other machines use --admin without a login", ("serve",), "Output",
        detail="The Host field of requests to the admin port may then have any name; on loopback, only an address or localhost.",
    ),
    Flag(
        "profile", "", "NAME", TEXT, "profile of the settings file to use", (*REACH, "serve"), "Settings",
        env=("TUNNELCTL_PROFILE",),
        detail="The file is ~/.config/tunnelctl/config.toml; see tunnelctl-config(5).",
    ),
    Flag(
        "verbose", "v", "", LEVEL, "a line for each stage on stderr; -vv: with heads, secrets masked", ("connect",), "Output",
    ),
    Flag(
        "verbose", "v", "", LEVEL, "a line for each connection; -vv: for each stage as well, with heads, secrets masked",
        LOCAL, "Output",
    ),
    Flag(
        "progress", "", "", SWITCH, "show tunnels, bytes and rates, live on a terminal", ("connect", "forward"),
        "Output",
        detail="On stderr, and only if that is a terminal; with --json it is an object twice a second.",
    ),
    Flag(
        "verbose", "v", "", LEVEL, "a line on stderr for each decision and for each end of a tunnel", ("serve",), "Output",
        detail="They show what the access log records. A second -v adds nothing.",
    ),
    Flag(
        "quiet", "q", "", SWITCH, "print nothing but errors", ALL, "Output",
    ),
    Flag(
        "json", "", "", SWITCH, "messages on stderr as JSON objects, one per line", ALL, "Output",
        detail="Keys are only ever added.",
    ),
    Flag(
        "expect", "", "SHA256", TEXT, "fingerprint or pin that the certificate of the target must have", ("check",), "Checks",
        detail="As `openssl x509 -fingerprint -sha256` prints it, or as for curl's --pinnedpubkey. It requires --tls.",
    ),
    Flag(
        "get", "", "PATH", TEXT, "fetch this path from the target, by HTTP over the tunnel", ("check",), "Checks",
        detail="By https:// with --tls, and on port 443.",
    ),
    Flag(
        "idle", "", "SECONDS", SECONDS, "test whether a tunnel survives SECONDS of silence; 0: skip", ("check",), "Checks",
        default="0",
    ),
    Flag(
        "wait", "", "SECONDS", SECONDS, "keep trying for up to SECONDS until it works; 0: try once", ("check",), "Checks",
        default="0",
        detail="Only failures that may pass are retried: a name without an address, an unreachable proxy, but not a refusal.",
    ),
    Flag(
        "count", "", "N", COUNT, "measure N times, and show how the times spread", ("check",), "Checks",
        default="1", least=1, field="times",
    ),
    Flag(
        "interval", "", "SECONDS", SECONDS, "pause between two measurements", ("check",), "Checks",
        default="1",
    ),
    Flag(
        "verbose", "v", "", LEVEL, "show where each setting came from", ("check",), "Output",
    ),
    Flag(
        "color", "", "WHEN", CHOICE, "colours and bars: auto, always or never", ("check",), "Output",
        default="auto", choices=("auto", "always", "never"),
        detail="`auto` means on a terminal; NO_COLOR and FORCE_COLOR are obeyed.",
    ),
    Flag(
        "json", "", "", SWITCH, "results on stdout as JSON objects, one per line", ("check",), "Output",
        detail="Keys are only ever added.",
    ),
    Flag(
        "git", "", "", SWITCH, "print the lines for ~/.gitconfig instead", ("ssh-config",), "Output",
        detail="core.sshCommand for ssh:// URLs and HOST:PATH, and core.gitProxy for git:// URLs without a port. "
        "core.sshCommand holds for the HOSTs only; core.gitProxy also for the hosts below each, and with *.DOMAIN for DOMAIN "
        "itself. git obeys the last core.sshCommand, so name all HOSTs in one call. "
        "core.gitProxy gets no flags: there the proxy comes from the environment or the settings file. "
        "https:// URLs have a setting of git's own, http.proxy.",
    ),
    Flag(
        "port-443", "", "", SWITCH, "use port 443 of GitHub, GitLab and Bitbucket, for networks that refuse 22",
        ("ssh-config", "setup"), "Output",
        detail="For the hosts github.com, gitlab.com and bitbucket.org, lines with Hostname and Port lead to the ssh servers that "
        "these sites have on port 443, as ssh.github.com. ssh asks once whether to trust the key of such a server.",
    ),
    Flag(
        "check", "", "", SWITCH, "tell whether the lines are there; status 0 if they are, 78 if not", ("setup",), "Output",
        detail="Files are read, and for a tool without a file its own command is asked. The values that are there are not shown.",
    ),
    Flag(
        "json", "", "", SWITCH, "everything on stdout as a JSON object", ("setup",), "Output",
        detail="Keys are only ever added.",
    ),
    Flag(
        "digest", "", "", SWITCH, "print a line for Digest logins instead", ("hash-password",), "Output",
        detail="Whoever reads it can log in; see Users file in tunnelctl-serve(1).",
    ),
    Flag(
        "realm", "", "TEXT", TEXT, "realm of the login; the same for all digest lines of a file", ("hash-password",), "Output",
        default="tunnelctl",
    ),
    Flag(
        "user", "", "NAME", TEXT, "as if this user had logged in", ("check-policy",), "Request",
    ),
    Flag(
        "client", "", "IP", TEXT, "as if the request came from this address", ("check-policy",), "Request",
        default="127.0.0.1",
    ),
    Flag(
        "json", "", "", SWITCH, "the verdict on stdout as a JSON object", ("check-policy",), "Output",
        detail="Keys are only ever added.",
    ),
    Flag(
        "json", "", "", SWITCH, "verdicts on stdout as JSON objects, one per line", ("selftest",), "Output",
        detail="Keys are only ever added.",
    ),
)  # fmt: skip

# Flags that contradict each other: giving both is an error.
CONFLICTS = (("-4", "-6"), ("-v", "-q"), ("--fdpass", "--progress"), ("--git", "--port-443"))


def flags_of(command: str) -> list[Flag]:
    """Returns the flags of a command in the order of its help."""
    return [flag for flag in FLAGS if command in flag.commands]
