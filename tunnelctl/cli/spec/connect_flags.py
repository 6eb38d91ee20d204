"""The flags of `connect`, most of which other commands have as well, and flags of others that come between them in the help.

`connect` loads this module before it dials, so the module imports next to nothing and computes nothing. It does without the other
flags, in cli.spec.flags.
"""

from __future__ import annotations

from tunnelctl.cli.spec.flag import (
    ALL,
    CHOICE,
    COUNT,
    FILE,
    KEEPALIVE,
    LEVEL,
    LOCAL,
    REACH,
    SECONDS,
    SWITCH,
    TEXT,
    TUNNELS,
    UPSTREAM,
    Flag,
)

OPENING = (
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
)  # fmt: skip

REPORTING = (
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
)  # fmt: skip

# Flags that contradict each other: giving both is an error.
CONFLICTS = (
    ("-4", "-6"), ("-v", "-q"), ("--fdpass", "--progress"), ("--git", "--port-443"),
    ("--watch", "--get"), ("--watch", "--expect"), ("--watch", "--idle"), ("--watch", "--wait"),
)  # fmt: skip
