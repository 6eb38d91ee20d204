"""Messages about connections, responses of proxies, and tunnels: exit statuses 68 to 76."""

from __future__ import annotations

from tunnelctl.cli.spec.messages.model import (
    ASKED,
    FIND_PROXY,
    LATER_CERTIFICATE,
    PORT,
    REFUSED,
    SSH_ON_443,
    WITHOUT_TLS,
    When,
    declare,
)
from tunnelctl.errors import (
    ListenError,
    MalformedAnswer,
    NameNotFound,
    NoAnswer,
    Refused,
    TimedOut,
    TunnelBroken,
    TunnelctlError,
    Unreachable,
)

# For a target that could not be reached without a proxy.
_DIRECT = (
    When("unused", "{unused} is set, but tunnelctl ignores it: set https_proxy, or give -x URL"),
    When("unnamed", f"no proxy is configured: {FIND_PROXY}"),
    "no proxy was used ({without}); give one with -x URL",
)
_WEB_PORT = "{web_port} is the port of web servers, and of a URL without a port: most proxies listen on 3128 or 8080"
# For a proxy that closes without an answer: a TLS server that receives plain text mostly does so.
_IS_IT_TLS = (
    When("speaks_http", ""),
    When("no_tls_either", "it does not answer a TLS handshake either; are host and port{in_url} right?"),
    "if the proxy speaks TLS on that port, its URL begins with https://",
)
_LONGER = "--timeout sets the time limit for opening a tunnel"
_WAITING = "waiting for proxy {proxy} to reach {stop}: no answer within {n} s"
_BEYOND = "the proxy may not be able to reach {next}"
_LATE = "{next} did not answer the proxy in time"
_LIMIT = "this client or user has reached a limit of the proxy"
_PORTAL = "this may be a captive portal, which requires a login with a browser; or it is a web server, not a proxy"
_UNREACHED = "the proxy could not reach {next}; are host and port{in_url} right?"
_DIRECTORY = (
    When("of_mode", "chmod 700 {path} shuts them out"),
    "set XDG_RUNTIME_DIR to another directory, one that belongs to you, for `forward` and `connect` alike",
)
# For a tunnel that delivered no byte.
_NOTHING_CAME = (
    *_DIRECT,
    When("direct", "does the target let this client in? `tunnelctl check {host_port}` tells more"),
    "`tunnelctl check --idle {idle} {host_port}`, with the same flags for the proxy, tells how long a tunnel may be silent",
    "many proxies allow only TLS, and some open a tunnel before they reach the target; "
    "`tunnelctl check {host_port}`, with the same flags for the proxy, tells more",
)

NETWORK = (
    declare(NameNotFound, "no-address", "cannot resolve {host}: no such host", "give an address in place of the name"),
    declare(
        Unreachable,
        "no-name-service",
        "cannot resolve {host}: the name service does not answer",
        "give an address in place of the name",
    ),
    declare(
        NameNotFound,
        "name-unknown",
        ("cannot resolve {role} {host}: no such host", "cannot resolve {role} {host}: no IPv{family} address"),
        *_DIRECT,
        "if it has an IPv{other_family} address, leave -{family} out",
        When("proxied", "is it spelled right? Some names are known inside a company's network or VPN only"),
    ),
    declare(
        NameNotFound, "name-unknown-to-proxy", f"{REFUSED}: {{cause}}", "the proxy cannot resolve that name; is it spelled right?"
    ),
    declare(Unreachable, "name-service", "cannot resolve {role} {host}: the name service does not answer", *_DIRECT),
    declare(
        Unreachable,
        "lookups-hang",
        ("cannot resolve {role} {host}: too many lookups are pending", "PAC file {source}: too many lookups are pending"),
    ),
    declare(Unreachable, "lookup-failed", "cannot resolve {role} {host}: {reason}"),
    declare(Unreachable, "login-unavailable", "login at proxy {proxy}: {reason}"),
    declare(
        Unreachable,
        "not-connected",
        "cannot connect to {role} {address}: {causes}",
        *_DIRECT,
        "a link-local address needs its interface, as in [{link_local}%25eth0]",
        _WEB_PORT,
        When("refused", "nothing listens there; is the port right?"),
    ),
    declare(
        Unreachable, "no-instance", "{name}: no running process has this name", "these are running: {running}", "nothing is running"
    ),
    declare(
        Unreachable,
        "instance-mute",
        "{name}: no answer within {n} s",
        "it may hang, or the machine is overloaded: try again later",
    ),
    declare(Unreachable, "instance-gone", "{name}: it does not answer", "it may have ended just now: tunnelctl status"),
    declare(Refused, "own-admin", "target {target}: it is the admin port of this forward"),
    declare(
        Unreachable,
        "instance-elsewhere",
        "{name}: it runs in another PID namespace",
        "run this command where it runs, for example in the same container",
    ),
    declare(
        Unreachable,
        "instance-orphaned",
        "{name}: its main process, {pid}, was killed, and its workers continue",
        "kill {workers} ends them",
    ),
    declare(
        Unreachable,
        "instance-version",
        "{name}: it is another version of tunnelctl",
        "restart it with this version",
    ),
    declare(
        Unreachable,
        "no-forward",
        "cannot connect to proxy {proxy}: {reason}",
        "is it running? `tunnelctl forward --name {name}` starts it, with the flags for the proxy",
        "does a forward listen there?",
    ),
    declare(
        Unreachable,
        "forward-busy",
        ("cannot connect to proxy {proxy}: its backlog is full", "cannot connect to proxy {proxy}: its backlog was full for {n} s"),
        "the forward runs, but is overloaded or stopped: try again later, or give the flags for the proxy in place of --via",
    ),
    declare(
        Unreachable,
        "forward-of-another",
        "cannot connect to proxy {proxy}: it belongs to another user",
        "only a forward of the same user can be used",
    ),
    declare(Unreachable, "forward-mute", f"{ASKED}: no answer within {{n}} s"),
    declare(
        Unreachable,
        "forward-closed",
        (f"{ASKED}: closed without a response", f"{ASKED}, broke the connection before it responded: {{reason}}"),
        "the forward is ending, or has reached its --max-connections",
    ),
    declare(Unreachable, "control-directory", "control directory {path}: {reason}", *_DIRECTORY),
    declare(
        Unreachable,
        "broke",
        f"{ASKED}, broke the connection before it responded: {{reason}}",
        When("later_tls", f"it may require a client certificate; {LATER_CERTIFICATE}"),
        When("tls_without_certificate", "it may require a client certificate (--proxy-cert)"),
    ),
    declare(
        Unreachable,
        "stream-refused",
        f"{ASKED}: it accepts no further requests on this connection",
        "it has reached a limit, or is about to stop; --retry N tries again",
    ),
    declare(Unreachable, "broke-mute", f"{ASKED}, broke the connection before it responded: {{reason}}", *_IS_IT_TLS),
    declare(
        Unreachable, "tls-hung-up", "{what}: {reason}", PORT, f"it closes the connection during the TLS handshake; {WITHOUT_TLS}"
    ),
    declare(
        TimedOut,
        "timed-out",
        (
            "preparing the login to proxy {proxy}: no answer within {n} s",
            "looking up {role} {host}: no answer within {n} s",
            "connecting to {role} {address}: no answer within {n} s",
        ),
        *_DIRECT,
        _WEB_PORT,
        _LONGER,
    ),
    declare(
        TimedOut,
        "http-mute",
        _WAITING,
        f"{_BEYOND}; or it is not an HTTP proxy: its URL is https://{{proxy}} if it speaks TLS, or begins with socks5:// for SOCKS",
    ),
    declare(
        TimedOut,
        "http2-mute",
        _WAITING,
        f"{_BEYOND}; or it does not support HTTP/2 without TLS: try --http 1.1",
    ),
    declare(
        TimedOut,
        "socks-mute",
        _WAITING,
        f"{_BEYOND}; or it is not a SOCKS proxy: its URL is http://{{proxy}} if it speaks HTTP, or begins with https:// for TLS",
    ),
    declare(TimedOut, "proxy-mute", _WAITING, f"{_BEYOND}; {_LONGER}"),
    declare(
        TimedOut,
        "tls-mute",
        "TLS handshake with {role} {address}: no answer within {n} s",
        When("target", "it may not speak TLS on that port; is the port right?"),
        WITHOUT_TLS,
    ),
    declare(TimedOut, "pac-late", "choosing the proxies for {target}: the PAC file has not answered within {n} s", _LONGER),
    declare(
        TimedOut,
        "idle",
        ("tunnel to {target}: no byte moved for {n} s", "tunnel to {target} via proxy {proxy}: no byte moved for {n} s"),
        "--idle-timeout sets the limit",
    ),
    declare(TimedOut, "local-request-late", "request to the local port: no complete request within {n} s"),
    declare(TimedOut, "name-service-of-proxy", f"{REFUSED}: {{cause}}", "the proxy's name service is slow or not working"),
    declare(TimedOut, "target-late", f"{REFUSED}: {{cause}}", _LATE),
    declare(TimedOut, "socks-expired", f"{ASKED}: timed out ({{reply}})", _LATE),
    declare(Refused, "refused", f"{REFUSED}: {{cause}}"),
    declare(
        Refused,
        "retry-later",
        f"{REFUSED}: {{cause}}",
        When("limit", f"{_LIMIT}; it says: try again {{when}}"),
        "the proxy is busy, or could not reach {next}; it says: try again {when}",
    ),
    declare(
        Refused,
        "busy-or-unreached",
        f"{REFUSED}: {{cause}}",
        "the proxy could not reach {next}, or has reached one of its limits; are host and port{in_url} right?",
    ),
    declare(
        Refused,
        "denied-by-serve",
        f"{REFUSED}: {{cause}}",
        SSH_ON_443,
        "the proxy's operator can allow it: add --allow '{target}' to the flags of serve",
    ),
    declare(Refused, "denied-host", f"{REFUSED}: {{cause}}", "the proxy's rules decide which hosts may be reached"),
    declare(
        Refused,
        "denied",
        f"{REFUSED}: {{cause}}",
        SSH_ON_443,
        "the proxy's rules decide which hosts and ports may be reached; many allow only port 443",
    ),
    declare(Refused, "denied-address", f"{REFUSED}: {{cause}}", "the proxy's rules deny that address"),
    declare(
        Refused,
        "proxy-loop",
        f"{REFUSED}: {{cause}}",
        "{next} is the proxy itself, or the proxy forwards to one that leads back to it",
    ),
    declare(Refused, "portal", f"{REFUSED}: {{cause}}", _PORTAL),
    declare(Refused, "connect-unknown", f"{REFUSED}: {{cause}}", "this server does not support CONNECT; is it a proxy?"),
    declare(Refused, "connect-not-allowed", f"{REFUSED}: {{cause}}", "this server does not allow CONNECT; is it a proxy?"),
    declare(Refused, "bad-request", f"{REFUSED}: {{cause}}", "the proxy did not understand the request; is it an HTTP proxy?"),
    declare(Refused, "web-server", f"{REFUSED}: {{cause}}", "this looks like a web server; is it a proxy?"),
    declare(Refused, "target-unreached", f"{REFUSED}: {{cause}}", SSH_ON_443, _UNREACHED),
    declare(Refused, "gateway-timeout", f"{REFUSED}: {{cause}}", _LATE),
    declare(Refused, "busy", f"{REFUSED}: {{cause}}", "the proxy has reached one of its limits; try again later"),
    declare(Refused, "over-limit", f"{REFUSED}: {{cause}}", f"{_LIMIT}; end another tunnel, or try again later"),
    declare(
        Refused,
        "socks4-failed",
        f"{ASKED}: request rejected or failed",
        "SOCKS4 gives no reason: the proxy's rules may forbid it, or the proxy could not reach {next}",
    ),
    declare(
        Refused,
        "socks-failure",
        f"{ASKED}: general failure ({{reply}})",
        "the proxy gives no reason; are host and port{in_url} right?",
    ),
    declare(Refused, "socks-rules", f"{ASKED}: not allowed by its rules ({{reply}})", SSH_ON_443),
    declare(Refused, "socks-network-unreachable", f"{ASKED}: network unreachable ({{reply}})", "the proxy has no route to {next}"),
    declare(
        Refused,
        "socks-host-unreachable",
        f"{ASKED}: host unreachable ({{reply}})",
        "the proxy could not resolve or reach the host; is it spelled right?",
    ),
    declare(
        Refused,
        "socks-connection-refused",
        f"{ASKED}: connection refused ({{reply}})",
        "nothing listens there, seen from the proxy; is the port right?",
    ),
    declare(Refused, "socks-command", f"{ASKED}: it does not support CONNECT ({{reply}})"),
    declare(
        Refused,
        "socks-address-type",
        f"{ASKED}: it does not support this address type ({{reply}})",
        "it may not support IPv6, or no host names",
    ),
    declare(Refused, "socks-unknown-reply", f"{ASKED}: unknown reply ({{reply}})"),
    declare(Refused, "loop", "tunnel to {target}: the next proxies lead back to this one"),
    declare(Refused, "too-many-to-target", "tunnel to {target}: too many to this target are being opened"),
    declare(Refused, "forward-ending", "this forward: it is ending"),
    declare(Refused, "too-many-connections", "too many connections: the limit is {n}"),
    declare(Refused, "local-request-refused", "request to the local port: {cause}"),
    declare(
        TunnelctlError,
        "fault",
        "fault in tunnelctl: {name}: {fault}",
        When("debug", ""),
        "TUNNELCTL_DEBUG=1 in the environment shows the traceback",
    ),
    declare(ListenError, "cannot-listen", "cannot listen on {address}: {reason}"),
    declare(ListenError, "not-our-address", "cannot listen on {address}: {reason}", "give an address that this machine has"),
    declare(
        ListenError,
        "port-privileged",
        "cannot listen on {address}: {reason}",
        "ports below 1024 need a privilege; choose a higher one",
    ),
    declare(
        ListenError,
        "port-in-use",
        "cannot listen on {address}: {reason}",
        "{given_flag} {any_port} picks a free port",
        "port 0 picks a free port",
    ),
    declare(
        ListenError,
        "path-in-use",
        "cannot listen on {address}: {reason}",
        "{given_flag} unix:PATH names another one",
        "choose another path",
    ),
    declare(
        ListenError,
        "name-in-use",
        "--name {name}: {command} (process {pid}) has this name",
        "choose another --name, or end it: tunnelctl stop {name}",
    ),
    declare(ListenError, "control-directory", "control directory {path}: {reason}", *_DIRECTORY),
    declare(
        ListenError,
        "no-inherited-socket",
        "inherited socket {name}: none was passed (LISTEN_FDS)",
        "start tunnelctl from a .socket unit, or with systemd-socket-activate",
    ),
    declare(ListenError, "unknown-inherited-socket", "inherited socket {name}: no such socket; the sockets passed are {list}"),
    declare(ListenError, "inherited-socket-failed", "inherited socket {name}: {reason}"),
    declare(
        ListenError,
        "inherited-socket-type",
        "inherited socket {name}: it does not listen for connections",
        "Accept=no and ListenStream= in the .socket unit",
    ),
    declare(
        TunnelBroken,
        "tunnel-broke",
        ("tunnel to {target}: {reason}", "tunnel to {target} via proxy {proxy}: {reason}"),
        When("portal", "the tunnel delivered a web page: a captive portal or a filter may require a login with a browser"),
        *_NOTHING_CAME,
    ),
    declare(
        TunnelBroken,
        "tunnel-empty",
        (
            "tunnel to {target}: ended by {who} after {n} s, 0 bytes received",
            "tunnel to {target} via proxy {proxy}: ended by {who} after {n} s, 0 bytes received",
        ),
        *_NOTHING_CAME,
    ),
    declare(TunnelBroken, "stdio-failed", ("stdin: {reason}", "stdout: {reason}")),
    declare(TunnelBroken, "stdout-failed", ("stdout: it is closed", "stdout: {reason}")),
    declare(TunnelBroken, "fdpass-failed", "cannot hand the connection over: {reason}"),
    declare(TunnelBroken, "target-broke", "target {target}: {reason}"),
    declare(MalformedAnswer, "target-answer", "target {target}: {cause}"),
    declare(MalformedAnswer, "not-http", f"{ASKED}: not HTTP: it starts with {{octets}}"),
    declare(
        MalformedAnswer,
        "ssh-server",
        (f"{ASKED}: not HTTP: it starts with {{octets}}", f"{ASKED}: not SOCKS: it starts with {{octets}}"),
        "an SSH server answers there, not a proxy: check the proxy's host and port",
    ),
    declare(
        MalformedAnswer,
        "socks5-proxy",
        (f"{ASKED}: not HTTP: it starts with {{octets}}", f"{ASKED}: not SOCKS: it starts with {{octets}}"),
        "this looks like a SOCKS5 proxy: its URL begins with socks5://",
    ),
    declare(
        MalformedAnswer,
        "socks4-proxy",
        (f"{ASKED}: not HTTP: it starts with {{octets}}", f"{ASKED}: not SOCKS: it starts with {{octets}}"),
        "this looks like a SOCKS4 proxy: its URL begins with socks4a://",
    ),
    declare(
        MalformedAnswer,
        "http-proxy",
        f"{ASKED}: not SOCKS: it starts with {{octets}}",
        "this looks like an HTTP proxy: its URL begins with http://",
    ),
    declare(MalformedAnswer, "not-socks", f"{ASKED}: not SOCKS: it starts with {{octets}}"),
    declare(MalformedAnswer, "not-http1", f"{ASKED}: not HTTP/1: it starts with {{octets}}"),
    declare(
        MalformedAnswer,
        "not-http2",
        f"{ASKED}: not HTTP/2: it starts with {{octets}}",
        "try --http 1.1",
    ),
    declare(
        MalformedAnswer,
        "no-http2",
        f"{ASKED}: it does not offer HTTP/2 over TLS",
        "try --http auto, which falls back to HTTP/1.1",
    ),
    declare(
        MalformedAnswer,
        "http2-suite",
        f"{ASKED}: it chose HTTP/2 with {{suite}}, which HTTP/2 forbids",
        "try --http auto, which falls back to HTTP/1.1; HTTP/2 requires TLS 1.3, or a suite such as ECDHE with AES-GCM in TLS 1.2",
    ),
    declare(
        MalformedAnswer,
        "stream-reset",
        (f"{ASKED}: it reset the request: {{code}}", f"{ASKED}: {{reason}}"),
        "try --http 1.1: some servers do not support CONNECT in HTTP/2",
    ),
    declare(MalformedAnswer, "malformed-head", f"{ASKED}: malformed head: {{reason}}"),
    declare(MalformedAnswer, "no-status-code", f"{ASKED}: no status code in {{line}}"),
    declare(MalformedAnswer, "switching-protocols", f"{ASKED}: it switches protocols unasked (101)"),
    declare(MalformedAnswer, "informational", f"{ASKED}: more than {{n}} informational responses and no final one"),
    declare(MalformedAnswer, "closed-inside", f"{ASKED}: closed in the middle of the response head"),
    declare(
        MalformedAnswer,
        "socks-closed-request",
        f"{ASKED}: closed before it responded to the request",
        "some SOCKS proxies, such as ssh -D, do this if they cannot reach {next}",
    ),
    declare(
        MalformedAnswer,
        "socks-closed-inside",
        f"{ASKED}: closed in the middle of the reply",
        "it may not speak SOCKS, or only another version; is the port right?",
    ),
    declare(MalformedAnswer, "socks-reply-version", f"{ASKED}: its reply has version {{version}}"),
    declare(MalformedAnswer, "socks-reply-address", f"{ASKED}: its reply has an address of unknown type {{kind}}"),
    declare(MalformedAnswer, "socks-reply", f"{ASKED}: it has the unknown reply {{n}}"),
    declare(MalformedAnswer, "socks-method", f"{ASKED}: it chose an authentication method that was not offered ({{method}})"),
    declare(NoAnswer, "closed", f"{ASKED}: closed without a response"),
    declare(NoAnswer, "closed-mute", f"{ASKED}: closed without a response", *_IS_IT_TLS),
    declare(
        NoAnswer,
        "socks-closed",
        f"{ASKED}: closed without a response",
        "it may not speak SOCKS, or only another version; is the port right?",
    ),
)
