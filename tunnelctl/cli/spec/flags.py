"""Every flag, declared once.

From this list come the Typer application, the direct parser, the manual's OPTIONS, the three completion scripts and the tables
of the README. `connect` reads it before it dials, so it imports next to nothing and computes nothing; the commands and their
prose, which only help and the manual need, stand in cli.spec.commands (0.2 ms).
"""

from __future__ import annotations

from tunnelctl.namedtuple import NamedTuple

# Kinds. They decide how a value is read (cli.parse.values) and what a shell completes.
SWITCH = "switch"  # takes no value; stores `constant`
LEVEL = "level"  # takes no value; counts
SECONDS = "seconds"  # plain decimal, 0 is off
COUNT = "count"  # plain whole number
TEXT = "text"
FILE = "file"  # a path; "-" where the help says so
CHOICE = "choice"  # one of `choices`, and nothing else


class Flag(NamedTuple):
    """One flag of one or more commands. Texts are lower case without a full stop; `help` is a line, `detail` whole sentences."""

    name: str  # long spelling without the dashes; "" where there is only a short one
    short: str  # one letter, or ""
    metavar: str  # what to type for the value; "" for kinds without one
    kind: str
    help: str
    commands: tuple[str, ...]
    group: str  # heading in --help
    detail: str = ""  # more for the manual
    default: str = ""  # as a user would type it; "" where there is none to show
    env: tuple[str, ...] = ()  # variables consulted, in this order, when the flag is not given
    repeat: bool = False
    field: str = ""  # name in the options; made from `name` when empty
    constant: object = True  # what a switch stores
    least: int = 0  # smallest value of a COUNT
    choices: tuple[str, ...] = ()  # of a CHOICE, all; else those worth completing. One that ends in / is only a beginning

    @property
    def destination(self) -> str:
        """The field of the options record that this flag fills."""
        return self.field or self.name.replace("-", "_")

    @property
    def spellings(self) -> tuple[str, ...]:
        """As typed, the short one first."""
        return tuple(s for s in (self.short and f"-{self.short}", self.name and f"--{self.name}") if s)

    @property
    def takes_value(self) -> bool:
        """Whether a value follows."""
        return self.kind not in (SWITCH, LEVEL)


TUNNELS = ("connect", "forward", "run", "ssh-config")  # what makes tunnels for others, or writes down how
REACH = (*TUNNELS, "check")  # what reaches a proxy
LOCAL = ("forward", "run")  # what opens local ports
UPSTREAM = (*REACH, "serve")  # and serve, where it leads on through another proxy
ALL = ("connect", *LOCAL, "serve")
JUDGING = ("serve", "check-policy")  # what has rules on targets

KEEPALIVE = (
    "Nine probes follow, a quarter of that apart; then the connection is given up. So is one whose peer has left data "
    "unacknowledged for as long as all of that takes and does not answer. A peer that answers, and merely does not read, keeps its "
    "connection; should such a one vanish, that can take some minutes to show, because the kernel asks it at growing intervals."
)
RULE = "A RULE is HOST, *.DOMAIN, CIDR or *, then :PORT, :LO-HI or :*; IPv6 stands in brackets, as in [2001:db8::/32]:443."

LOCAL_PORT = "local port that leads to one target: [BIND:]PORT:HOST:HOSTPORT"
BIND = "BIND is an address, 127.0.0.1 unless given, or * for all; IPv6 stands in brackets."
PATH = "A path in place of [BIND:]PORT is a unix socket, of mode 0600. fd:NAME in its place is a socket that systemd passed."

FLAGS = (
    Flag(
        "local", "L", "SPEC", TEXT, LOCAL_PORT, ("forward",), "Local ports",
        detail=f"{BIND} PORT 0 takes a free one, and `listening on ADDR:PORT` tells which. {PATH}",
        repeat=True,
    ),
    Flag(
        "local", "L", "SPEC", TEXT, LOCAL_PORT, ("run",), "Local ports",
        detail=f"{BIND} PORT 0 takes a free one; the command finds it in TUNNELCTL_PORT_1, that of the second -L in "
        f"TUNNELCTL_PORT_2, and so on. {PATH}",
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
        "users", "", "FILE", FILE, "users who may use -D, a line each from `hash-password`", ("forward",), "Local ports",
        detail="Each client of a -D port then has to log in: with Basic over HTTP, with user and password over SOCKS5. SOCKS4 has "
        "no password and is refused. A -L port cannot ask for a login. The file is as for serve, and read once, at the start.",
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
        "proxy to ask for the tunnel; repeated: a chain, nearest first; `direct`: none",
        REACH, "Proxy",
        detail="A URL is SCHEME://[USER:PASSWORD@]HOST[:PORT]. The schemes are http (meant without one as well; its port is 80), "
        "https (TLS to the proxy; 443), socks5 and socks4a (1080), with socks5h, socks and socks4 as other names: the proxy looks "
        "names up in any case. Commas separate proxies that stand for each other: the next is asked where one cannot be reached. "
        "The nearest proxy may have a link-local address with its interface, as in http://[fe80::1%25eth0]:3128. "
        "An explicit proxy is never overruled by NO_PROXY. "
        "A password in the URL can be seen by every user of the machine in the list of processes: "
        "prefer a file or TUNNELCTL_PROXY_PASSWORD.",
        env=("TUNNELCTL_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
        repeat=True,
        choices=("direct", "http://", "https://", "socks5://"),
    ),
    Flag(
        "pac", "", "FILE|URL", FILE, "ask a PAC file for the proxies to each target", REACH, "Proxy",
        detail="A path, or a URL with http, https or file, which is fetched without a proxy. Neither the variables that name a "
        "proxy nor NO_PROXY count then; -x does, before it. The script is asked for https://HOST:PORT/, and has bounds on "
        "time, memory and names looked up. It needs the package mini-racer, which `pip install '.[pac]'` in the sources brings.",
    ),
    Flag(
        "proxy", "x", "URL", TEXT, "lead every tunnel on through this proxy; repeated: a chain, nearest first", ("serve",), "Proxy",
        detail="A URL as for connect, and commas between proxies that stand for each other. "
        "The environment's proxies are not asked. Names are then looked up by that proxy, so rules on networks hold for "
        "targets that are addresses, and rules on names for the others. It is logged in to with what is given here, never with "
        "what a client sent. A request keeps its Via, which gets a name of this server alone; one that comes round is refused.",
        repeat=True,
        choices=("http://", "https://", "socks5://"),
    ),
    Flag(
        "proxy-user", "", "NAME", TEXT, "user name for the proxy", UPSTREAM, "Proxy",
        detail="Used where the URL names no user. With several proxies it is for the nearest; the others have theirs in the URL.",
    ),
    Flag(
        "proxy-password-file", "", "FILE", FILE, "file whose first line is the password", UPSTREAM, "Proxy",
        env=("TUNNELCTL_PROXY_PASSWORD",),
        detail="The variable holds the password itself; the file comes first.",
    ),
    Flag(
        "password-command", "", "COMMAND", TEXT, "shell command that prints the password", UPSTREAM, "Proxy",
        detail="Run by /bin/sh when the password is needed, without our stdin and stdout; the first line that it prints is the "
        "password. It has 60 seconds. As in --password-command 'pass show proxy'.",
    ),
    Flag(
        "ask-password", "", "", SWITCH, "ask for the password on the terminal", UPSTREAM, "Proxy",
        detail="On the terminal itself, never on stdin, which is the tunnel; so it works below ssh as well.",
    ),
    Flag(
        "proxy-auth-file", "", "FILE", FILE, "file with a line `user:password`, as corkscrew has it", UPSTREAM, "Proxy",
    ),
    Flag(
        "auth", "", "SCHEME", CHOICE, "how to log in: any, basic, digest, bearer, ntlm or negotiate", UPSTREAM, "Proxy",
        detail="With `any` the proxy is asked without a login first, and then gets the strongest that it offers and that can work: "
        "negotiate, digest, ntlm, bearer, basic. A scheme that is named is used at once (digest has to be asked for), and no other "
        "is. The token of bearer comes from where the password would. Negotiate takes a Kerberos ticket, or user and password. "
        "It needs the package pyspnego[kerberos], and ntlm pyspnego; `pip install '.[negotiate]'` in the sources brings both.",
        default="any", choices=("any", "basic", "digest", "bearer", "ntlm", "negotiate"),
    ),
    Flag(
        "proxy-cacert", "", "FILE", FILE, "trust these authorities for https:// proxies, and no others", UPSTREAM, "Proxy",
        detail="Certificates in PEM form. Without it, the authorities that the system trusts count.",
    ),
    Flag(
        "proxy-cert", "", "FILE", FILE, "client certificate for an https:// proxy, in PEM form", UPSTREAM, "Proxy",
        detail="For the first https:// proxy on the way. Its key is in the same file, or in --proxy-key.",
    ),
    Flag(
        "proxy-key", "", "FILE", FILE, "key of the client certificate, in PEM form, without a passphrase", UPSTREAM, "Proxy",
    ),
    Flag(
        "proxy-pin", "", "SHA256", TEXT, "take an https:// proxy with this certificate only", UPSTREAM, "Proxy",
    ),
    Flag(
        "proxy-insecure", "", "", SWITCH, "do not check the certificates of https:// proxies; warns each time", UPSTREAM, "Proxy",
    ),
    Flag(
        "tls", "", "", SWITCH, "speak TLS to the target, inside the tunnel", ("connect", "check"), "TLS",
        detail="What goes in and out is then in the clear, as with `openssl s_client`.",
    ),
    Flag(
        "tls-name", "", "NAME", TEXT, "name that the certificate of the target has to be for", ("connect", "check"), "TLS",
        detail="HOST, unless given. It is the name that is asked for (SNI) as well.",
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
        detail="With several proxies it goes to the nearest one; where that speaks SOCKS, to none. A value is sent as "
        "it was typed, in UTF-8. A field of the name User-Agent replaces ours. So does Host, with a warning: some proxies are "
        "name-based virtual hosts and need their own name there; others refuse a Host that is not the target.",
    ),
    Flag(
        "timeout", "", "SECONDS", SECONDS, "limit for the whole way to the tunnel; 0 is none", REACH, "Time limits",
        default="30",
    ),
    Flag(
        "connect-timeout", "", "SECONDS", SECONDS, "limit for one attempt to connect; 0 is none", REACH, "Time limits",
        default="0",
    ),
    Flag(
        "idle-timeout", "", "SECONDS", SECONDS, "end a tunnel silent for so long; 0 is never", TUNNELS, "Time limits",
        default="0",
    ),
    Flag(
        "", "4", "", SWITCH, "use IPv4 only on the way to the proxy", REACH, "Connection",
        field="family", constant=4,
    ),
    Flag(
        "", "6", "", SWITCH, "use IPv6 only on the way to the proxy", REACH, "Connection",
        field="family", constant=6,
    ),
    Flag(
        "keepalive", "", "SECONDS", SECONDS, "TCP keepalive probes after so much silence; 0 is off", REACH, "Connection",
        default="60",
        detail=KEEPALIVE,
    ),
    Flag(
        "retry", "", "N", COUNT, "try again so often while the proxy cannot be reached", TUNNELS, "Connection",
        default="0",
        detail="A retry happens only before the first byte of the tunnel, and only where it can help.",
    ),
    Flag(
        "warm", "", "N", COUNT, "keep so many connections to the proxy ready", LOCAL, "Connection",
        default="0",
        detail="A new tunnel then saves the round trips of reaching the proxy. One that was used, or that the proxy closed, "
        "is replaced. Of several proxies it is the first until others are used, then the four used last; with --pac, those alone.",
    ),
    Flag(
        "fdpass", "", "", SWITCH, "hand the connected socket to ssh and exit", ("connect",), "Connection",
        detail="For `ProxyUseFdpass yes` of ssh_config(5): no process and no copy remains between ssh and the proxy.",
    ),
    Flag(
        "listen", "", "ADDR:PORT", TEXT, "address to listen on, or unix:PATH or fd:NAME", ("serve",), "Listening",
        default="127.0.0.1:3128", repeat=True,
        detail="Port 0 takes a free one; the line `listening on ADDR:PORT` tells which. "
        "An address beyond loopback needs --users, --client-ca, or --open-proxy. fd:NAME is a socket that "
        "systemd passed.",
    ),
    Flag(
        "tls-cert", "", "FILE", FILE, "speak TLS, with this certificate and its chain", ("serve",), "Listening",
        detail="All listening addresses do. Its proxy URL begins with https://. SIGHUP has this file, the key and --client-ca "
        "read again.",
    ),
    Flag(
        "tls-key", "", "FILE", FILE, "key of that certificate, if not in the same file", ("serve",), "Listening",
        detail="A key with a password is refused.",
    ),
    Flag(
        "client-ca", "", "FILE", FILE, "let in only who has a certificate of this authority", ("serve",), "Listening",
        detail="The access log has its common name as the user, such as `CN=alice`, or else its first other name. "
        "With --users as well, clients need both.",
    ),
    Flag(
        "open-proxy", "", "", SWITCH, "listen beyond loopback although nobody has to log in", ("serve",), "Listening",
    ),
    Flag(
        "proxy-protocol", "", "CIDR", TEXT, "peers that say in a PROXY header whose connection it is", ("serve",), "Listening",
        repeat=True,
        detail="An address or a network of load balancers, such as HAProxy with send-proxy. From them the header, version 1 or 2, "
        "is demanded; rules, caps and the log are then about the client that it names. From all others it is refused.",
    ),
    Flag(
        "workers", "", "N", COUNT, "processes that share the listening addresses", ("serve",), "Listening",
        default="1", least=1,
        detail="One more watches over them, and puts another in the place of one that dies.",
    ),
    Flag(
        "allow", "", "RULE", TEXT, "targets that may be reached; without any: `*:443`", JUDGING, "Policy",
        repeat=True,
        detail=f"{RULE} An internal address is reached only where a rule names that address, its network or that exact host name: "
        "* never means internal.",
    ),
    Flag(
        "deny", "", "RULE", TEXT, "targets that may not; deny beats allow", JUDGING, "Policy",
        repeat=True,
    ),
    Flag(
        "policy", "", "FILE", FILE, "more rules, also for users and clients; read again on SIGHUP", ("serve",), "Policy",
        detail="The form is that of tunnelctl-policy(5). Its rules and those of --allow and --deny hold together, as if all stood "
        "in one place. A file with a mistake changes nothing: a warning names the line and the key. "
        "An address beyond loopback may do without --users where each allow rule names clients.",
    ),
    Flag(
        "users", "", "FILE", FILE, "users who may connect, a line each from `hash-password`", ("serve",), "Policy",
        detail="Read again on SIGHUP, like the policy.",
    ),
    Flag(
        "head-timeout", "", "SECONDS", SECONDS, "limit for a request head, from accept on", ("serve",), "Limits",
        default="10",
    ),
    Flag(
        "dial-timeout", "", "SECONDS", SECONDS, "limit for reaching a target", ("serve",), "Limits",
        default="15",
    ),
    Flag(
        "idle-timeout", "", "SECONDS", SECONDS, "end a tunnel silent for so long; 0 is never", ("serve",), "Limits",
        default="900",
    ),
    Flag(
        "half-close-timeout", "", "SECONDS", SECONDS, "limit for the second half once one side has ended", ("serve",), "Limits",
        default="60",
    ),
    Flag(
        "max-tunnels", "", "N", COUNT, "tunnels at once; 0 is as many as descriptors allow", ("serve",), "Limits",
        default="0",
        detail="Each process has its own descriptors, of which a tunnel takes two; the cap is on all --workers together.",
    ),
    Flag(
        "max-per-client", "", "N", COUNT, "tunnels at once from one client network; 0 is no cap", ("serve",), "Limits",
        default="0",
        detail="One more is answered 429.",
    ),
    Flag(
        "client-prefix", "", "V4,V6", TEXT, "bits of an address that make a client network", ("serve",), "Limits",
        default="32,64",
    ),
    Flag(
        "max-per-user", "", "N", COUNT, "tunnels at once of one user; 0 is no cap", ("serve",), "Limits",
        default="0",
        detail="One more is answered 429.",
    ),
    Flag(
        "max-per-target", "", "N", COUNT, "tunnels at once to one host and port; 0 is no cap", ("serve",), "Limits",
        default="0",
        detail="One more is answered 503.",
    ),
    Flag(
        "max-dials", "", "N", COUNT, "name lookups and connects under way at once; 0 is no cap", ("serve",), "Limits",
        default="0",
        detail="One more is answered 503.",
    ),
    Flag(
        "max-lifetime", "", "SECONDS", SECONDS, "end a tunnel of this age, busy or not; 0 is never", ("serve",), "Limits",
        default="0",
    ),
    Flag(
        "max-connections", "", "N", COUNT, "local connections at once; 0 is no cap", LOCAL, "Limits",
        default="0",
        detail="One more is reset at once.",
    ),
    Flag(
        "drain", "", "SECONDS", SECONDS, "time for open tunnels to end after SIGTERM", ("forward", "serve"), "Limits",
        default="30",
        detail="A second SIGTERM or Ctrl-C stops at once.",
    ),
    Flag(
        "keepalive", "", "SECONDS", SECONDS, "TCP keepalive probes after so much silence; 0 is off", ("serve",), "Limits",
        default="60",
        detail=KEEPALIVE,
    ),
    Flag(
        "access-log", "", "FILE", FILE, "write a JSON record for each decision and each end; - is stdout", ("serve",), "Output",
        detail="The file is opened anew at SIGHUP, for logrotate. What cannot be written is counted, and holds up no tunnel.",
    ),
    Flag(
        "log-interval", "", "SECONDS", SECONDS, "and a record of each open tunnel so often; 0 is never", ("serve",), "Output",
        default="0",
    ),
    Flag(
        "log-bytes", "", "N", COUNT, "and one after so many bytes, both ways together; 0 is never", ("serve",), "Output",
        default="0",
        detail="Tunnels are looked at once a second.",
    ),
    Flag(
        "admin", "", "ADDR:PORT", TEXT, "show metrics, health and open tunnels there, or at unix:PATH", ("serve",), "Output",
        detail="HTTP: /metrics is for Prometheus, /healthz answers while it runs, /readyz fails while it drains, /tunnels is a "
        "list in JSON. It is no target of the proxy.",
    ),
    Flag(
        "open-admin", "", "", SWITCH, "let --admin listen beyond loopback, to whoever gets there", ("serve",), "Output",
        detail="Beyond loopback it may be asked by any host name.",
    ),
    Flag(
        "profile", "", "NAME", TEXT, "profile of the settings file to use", (*REACH, "serve"), "Settings",
        env=("TUNNELCTL_PROFILE",),
        detail="The file is ~/.config/tunnelctl/config.toml; see tunnelctl-config(5).",
    ),
    Flag(
        "verbose", "v", "", LEVEL, "a line for each stage on stderr; -vv shows the heads, secrets masked", ("connect",), "Output",
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
        detail="They tell what the access log records. A second -v adds nothing.",
    ),
    Flag(
        "quiet", "q", "", SWITCH, "nothing but errors", ALL, "Output",
    ),
    Flag(
        "json", "", "", SWITCH, "messages on stderr as JSON objects, one a line", ALL, "Output",
        detail="Keys are only ever added.",
    ),
    Flag(
        "expect", "", "SHA256", TEXT, "fingerprint or pin that the certificate of the target must have", ("check",), "Questions",
        detail="As `openssl x509 -fingerprint -sha256` prints it, or as curl's --pinnedpubkey has it. It wants --tls.",
    ),
    Flag(
        "get", "", "PATH", TEXT, "fetch this path from the target, by HTTP over the tunnel", ("check",), "Questions",
        detail="By https:// with --tls, and on port 443.",
    ),
    Flag(
        "idle", "", "SECONDS", SECONDS, "see whether a tunnel bears so much silence; 0 asks nothing", ("check",), "Questions",
        default="0",
    ),
    Flag(
        "wait", "", "SECONDS", SECONDS, "try for so long until the way works; 0 is once", ("check",), "Questions",
        default="0",
        detail="Only what may pass is waited for: a name without an address, a proxy that cannot be reached, not one that refuses.",
    ),
    Flag(
        "count", "", "N", COUNT, "go the way so often, and show how the times spread", ("check",), "Questions",
        default="1", least=1, field="times",
    ),
    Flag(
        "interval", "", "SECONDS", SECONDS, "pause between two of them", ("check",), "Questions",
        default="1",
    ),
    Flag(
        "verbose", "v", "", LEVEL, "say where each setting came from", ("check",), "Output",
    ),
    Flag(
        "color", "", "WHEN", CHOICE, "colours and bars: auto, always or never", ("check",), "Output",
        default="auto", choices=("auto", "always", "never"),
        detail="`auto` is for a terminal; NO_COLOR and FORCE_COLOR are obeyed.",
    ),
    Flag(
        "json", "", "", SWITCH, "what is found on stdout as JSON objects, one a line", ("check",), "Output",
        detail="Keys are only ever added.",
    ),
    Flag(
        "git", "", "", SWITCH, "the lines for ~/.gitconfig instead", ("ssh-config",), "Output",
        detail="core.sshCommand for ssh:// URLs and HOST:PATH, and core.gitProxy for git:// URLs without a port. "
        "core.sshCommand holds for the HOSTs only; core.gitProxy also for the hosts below each, and with *.DOMAIN for DOMAIN "
        "itself. git obeys the last core.sshCommand, so name all HOSTs in one call. "
        "It gives core.gitProxy no flags: there the proxy comes from the environment or the settings file. "
        "https:// URLs have a setting of git's own, http.proxy.",
    ),
    Flag(
        "digest", "", "", SWITCH, "a line for Digest logins instead", ("hash-password",), "Output",
        detail="It is worth the password to whoever reads it; see Users file in tunnelctl-serve(1).",
    ),
    Flag(
        "realm", "", "TEXT", TEXT, "what the login is for; one for all digest lines of a file", ("hash-password",), "Output",
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
        "json", "", "", SWITCH, "the answer on stdout as a JSON object", ("check-policy",), "Output",
        detail="Keys are only ever added.",
    ),
    Flag(
        "json", "", "", SWITCH, "verdicts on stdout as JSON objects, one a line", ("selftest",), "Output",
        detail="Keys are only ever added.",
    ),
)  # fmt: skip

# Given together they contradict each other, so neither is obeyed in silence.
CONFLICTS = (("-4", "-6"), ("-v", "-q"), ("--fdpass", "--progress"))


def flags_of(command: str) -> list[Flag]:
    """The flags of a command in the order of its help."""
    return [flag for flag in FLAGS if command in flag.commands]
