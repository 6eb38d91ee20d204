"""The command line, and addresses in it: exit status 2."""

from __future__ import annotations

from tunnelctl.cli.spec.messages.model import BACKSLASH, NEAR, When, declare
from tunnelctl.errors import AddressError, UsageProblem

_HELP = "{help}"
_VERSION = When("version", "tunnelctl --version")
_CORKSCREW = "in place of corkscrew: {corkscrew}"
_STRANGERS = "listen on 127.0.0.1, or give --open-proxy if something else, such as a firewall, keeps strangers out"
_LISTEN = "for example 127.0.0.1:3128 or [::1]:3128"

USAGE = (
    declare(UsageProblem, "syntax", ("{command}: {cause}", "usage error: {cause}"), _HELP),
    declare(UsageProblem, "no-value", "{flag}: takes no value", _HELP),
    declare(UsageProblem, "value-missing", "{flag}: the value is missing", _HELP),
    declare(UsageProblem, "value-empty", "{flag}: the value is empty"),
    declare(UsageProblem, "value-not-listed", "{flag}: `{text}` is none of {list}"),
    declare(UsageProblem, "value-malformed", "{flag}: `{text}` is {reason}"),
    declare(UsageProblem, "value-too-small", "{flag}: `{text}` is less than {n}"),
    declare(UsageProblem, "contradiction", "usage error: {one} and {other} cannot be used together"),
    declare(
        UsageProblem,
        "unknown-flag",
        ("{command}: unknown flag {flag}", "usage error: unknown flag {flag}"),
        _VERSION,
        "{habit}",
        "{early} comes after the command: tunnelctl connect {early} …",
        "{flag} is a flag of {owners}",
        NEAR,
        _HELP,
    ),
    declare(
        UsageProblem,
        "unknown-command",
        "usage error: unknown command `{word}`",
        _VERSION,
        NEAR,
        _CORKSCREW,
        "with flags, the command must be named: tunnelctl connect {with_flags} …",
        "tunnelctl connect {target}",
        _HELP,
    ),
    declare(
        UsageProblem,
        "missing-argument",
        ("{command}: missing argument {list}", "{command}: missing arguments {list}"),
        _CORKSCREW,
        When("bare", "tunnelctl {command} {usage}"),
        _HELP,
    ),
    declare(UsageProblem, "word-count", "{command}: takes {usage}, got {n} arguments", _CORKSCREW, _HELP),
    declare(UsageProblem, "takes-no-words", "{command}: takes no arguments, got {n}", _HELP),
    declare(UsageProblem, "missing-command", "run: missing argument COMMAND", "tunnelctl run -x URL -- COMMAND ARGS"),
    declare(UsageProblem, "missing-host", "ssh-config: missing argument HOST", "tunnelctl ssh-config --help"),
    declare(UsageProblem, "unknown-shell", "completion: unknown shell `{word}`", "bash, zsh and fish are known"),
    declare(
        UsageProblem,
        "no-local-port",
        "forward: no local port is named",
        "-L 8022:HOST:22 leads to one target, -D 1080 to any; --name NAME alone serves connect --via NAME",
    ),
    declare(
        UsageProblem,
        "forward-name",
        ("--name {name}: it cannot be the name of a forward", "--via {name}: it cannot be the name of a forward"),
        "up to 40 letters, digits and _ - . that do not begin with - or ., and not auto",
    ),
    declare(UsageProblem, "needs-tls", "{flag}: it requires TLS to the target", "add --tls"),
    declare(
        UsageProblem, "not-a-path", "--get {path}: it is not a path", "a path begins with /; host and port are those of the target"
    ),
    declare(UsageProblem, "client-not-ip", "--client: `{client}` is not an IP address"),
    declare(
        UsageProblem,
        "stdout-no-socket",
        "--fdpass: stdout is not a unix socket",
        "--fdpass is for ssh: set `ProxyUseFdpass yes` next to the ProxyCommand",
    ),
    declare(
        UsageProblem, "fdpass-http2", "--fdpass: the route includes HTTP/2, so tunnelctl must keep running", "leave --http 2 out"
    ),
    declare(
        UsageProblem,
        "fdpass-tls",
        "--fdpass: the route includes TLS, so tunnelctl must keep running",
        When(
            "shareable",
            "leave --fdpass out; or give the flags for the proxy to `tunnelctl forward --name NAME`, and --via NAME in their place",
        ),
        "leave --fdpass out",
    ),
    declare(
        UsageProblem,
        "pin-without-tls",
        "--proxy-pin: no proxy on the route speaks TLS",
        "the URL of one that does begins with https://",
    ),
    declare(
        UsageProblem, "key-without-certificate", "--proxy-key: the certificate that it is for is missing", "add --proxy-cert FILE"
    ),
    declare(
        UsageProblem,
        "direct-in-list",
        ("-x direct: it cannot be part of a chain or a list",),
        "give it alone, to go without a proxy",
    ),
    declare(UsageProblem, "serve-direct", "-x direct: serve goes straight to the targets unless it has a proxy", "leave -x out"),
    declare(
        UsageProblem,
        "own-listener",
        "proxy {proxy}: tunnelctl itself listens on this address",
        "give the address of the next proxy on the route",
    ),
    declare(
        UsageProblem,
        "password-missing",
        ("--proxy-user {name}: there is no password for this user", "proxy {proxy}: there is no password for this user"),
        When("nearest", "give --proxy-password-file FILE or --ask-password, or set TUNNELCTL_PROXY_PASSWORD"),
        "the login flags are for the nearest proxy only; put the password of this one into ~/.netrc, or into its URL",
    ),
    declare(
        UsageProblem,
        "user-missing",
        "{flag}: no user name is given",
        "add --proxy-user NAME; or, if the password is a token without a user, --auth bearer",
    ),
    declare(UsageProblem, "no-password-typed", "{who}: no password was given on the terminal"),
    declare(
        UsageProblem,
        "no-terminal",
        "{who}: there is no terminal to ask on ({reason})",
        When("proxy", "--proxy-password-file FILE and --password-command COMMAND need no terminal"),
        "hash-password reads the password from stdin if that is not a terminal",
    ),
    declare(UsageProblem, "terminal-echo", "{who}: the terminal does not hide what is typed"),
    declare(UsageProblem, "password-empty", "{who}: the password is empty"),
    declare(UsageProblem, "password-not-utf8", "{who}: the password is not UTF-8"),
    declare(UsageProblem, "password-too-long", "hash-password: the password is longer than {n} bytes"),
    declare(UsageProblem, "password-control-character", "hash-password: the password has control characters"),
    declare(UsageProblem, "passwords-differ", "hash-password: the two passwords differ"),
    declare(UsageProblem, "stdin-unreadable", "hash-password: stdin cannot be read: {reason}"),
    declare(UsageProblem, "no-md5", "hash-password: this system's OpenSSL refuses MD5, which a digest line has too"),
    declare(
        UsageProblem,
        "user-name",
        "hash-password: a user name must not be empty, begin with #, or contain a colon or control characters",
    ),
    declare(UsageProblem, "realm-without-digest", "--realm: only a digest line has a realm", "add --digest"),
    declare(
        UsageProblem,
        "realm-characters",
        "--realm: it has at most {n} ASCII characters, no quotes, colons, backslashes or controls",
    ),
    declare(
        UsageProblem,
        "host-pattern",
        "ssh-config: a host, or a pattern such as *.example.com, must not contain blanks, quotes, #, = or control characters",
    ),
    declare(UsageProblem, "git-pattern", "ssh-config: git does not support the pattern {host}", "use HOST, *.DOMAIN or *"),
    declare(
        UsageProblem,
        "password-in-url",
        "ssh-config: the URL has a password, which must not be in a configuration file",
        "leave it out of the URL, and give --proxy-password-file FILE",
    ),
    declare(
        UsageProblem,
        "password-in-user",
        "ssh-config: --proxy-user has a password after the colon, which must not be in a configuration file",
        "leave it out, and give --proxy-password-file FILE",
    ),
    declare(
        UsageProblem, "secret-header", "ssh-config: the header field {name} is a secret, which must not be in a configuration file"
    ),
    declare(UsageProblem, "line-break", "ssh-config: a path or a value has a line break, which a configuration file cannot hold"),
    declare(UsageProblem, "header-name", "header {name}: not a field name: letters, digits and hyphens"),
    declare(UsageProblem, "header-control-character", "header {name}: a control character in its value"),
    declare(UsageProblem, "header-character", "header {name}: a character in its value that a header cannot carry"),
    declare(UsageProblem, "header-surrogate", "header {name}: an unpaired surrogate in its value"),
    declare(UsageProblem, "header-colon", "header: no colon in it", "write it as 'Name: value'"),
    declare(UsageProblem, "header-twice", "header Host: given more than once"),
    declare(UsageProblem, "header-reserved", "header {name}: not to be set in a CONNECT request"),
    declare(UsageProblem, "pin", "pin {text}: not a SHA-256", "64 hexadecimal digits, colons allowed, or sha256// and base64"),
    declare(UsageProblem, "socks4-ipv6", "target {target}: SOCKS4a carries no IPv6 address", "socks5:// does"),
    declare(UsageProblem, "control-character", "{name}: a control character in it", BACKSLASH.text),
    declare(UsageProblem, "listener-twice", "--listen: the same inherited socket is named twice"),
    declare(UsageProblem, "local-port-twice", "local ports: the same local port is named twice"),
    declare(
        UsageProblem,
        "open-proxy",
        "cannot listen on {address}: no login is required there, so it would be an open proxy",
        When("serve", "give --users FILE, --client-ca FILE, or clients in each allow rule of --policy FILE, " + _STRANGERS),
        "give --users FILE, " + _STRANGERS,
    ),
    declare(
        UsageProblem,
        "open-local-port",
        "cannot listen on {address}: other machines could use it, and a port that leads to one target cannot require a login",
        _STRANGERS,
    ),
    declare(
        UsageProblem,
        "open-admin",
        "--admin {text}: other machines could read which clients use which targets",
        "use 127.0.0.1 or unix:PATH, or give --open-admin if something else, such as a firewall, keeps strangers out",
    ),
    declare(
        UsageProblem,
        "without-certificate",
        "{flag}: it has no effect without a server certificate",
        "add --tls-cert FILE, for listeners that speak TLS",
    ),
    declare(
        UsageProblem,
        "client-prefix",
        "--client-prefix: `{text}` is not two numbers of bits, for IPv4 and IPv6",
        "for example 32,64",
    ),
    declare(
        UsageProblem,
        "network",
        "--proxy-protocol: `{text}` is not an address or a network",
        "for example 192.0.2.7 or 10.0.0.0/8",
    ),
    declare(AddressError, "port", "port {text}: not a number from 1 to 65535"),
    declare(AddressError, "port-missing", "address {text}: the port is missing", "write HOST:PORT"),
    declare(AddressError, "after-bracket", "address {text}: after ] there can only be :PORT"),
    declare(
        AddressError,
        "colons",
        ("address {text}: it takes a host, not a URL", "address {text}: an IPv6 address needs brackets: [ADDRESS]:PORT"),
    ),
    declare(
        AddressError,
        "host",
        (
            "host {text}: empty",
            "host {text}: longer than {n} characters",
            "host {text}: a blank or control character in it",
            "host {text}: a character in it that no host name has",
            "host {text}: labels have 1 to {n} characters and do not start with a hyphen",
            "host {text}: user information has no place in a host",
        ),
    ),
    declare(AddressError, "numeric-host", "host {text}: an IPv4 address must be four decimal numbers with dots, like 192.0.2.1"),
    declare(AddressError, "international-name", "host {text}: not a valid international name"),
    declare(AddressError, "url-for-host", "host {text}: it takes a host, not a URL"),
    declare(AddressError, "brackets", "host {text}: brackets belong round an IPv6 address, and only there"),
    declare(AddressError, "ipv6", "host {text}: not an IPv6 address"),
    declare(
        AddressError,
        "scope-id",
        (
            "host {text}: it has a scope id (after %), which has a meaning on one machine only",
            "scope id {text}: it is no name or number of an interface",
        ),
    ),
    declare(
        AddressError,
        "scheme",
        "proxy URL {text}: {scheme}:// is not supported",
        "http, https, socks5, socks5h, socks, socks4a and socks4 are",
    ),
    declare(
        AddressError,
        "url-path",
        "proxy URL {text}: a path, query or fragment has no place in it",
        When("user", "a / ? # or @ in a user name or password is written %2F %3F %23 %40"),
    ),
    declare(AddressError, "url-part", "proxy URL {text}: {cause}"),
    declare(
        AddressError,
        "comma",
        (
            "proxy URL {text}: part {place} of {n} is no proxy URL",
            "proxy URL {text}: part {place} of {n} has a user and no scheme",
        ),
        "a comma in a user name or password is written %2C",
    ),
    declare(
        AddressError,
        "quoted",
        "proxy URL {text}: it is in quotation marks",
        "quotes are for the shell: leave them out where no shell reads the value",
    ),
    declare(
        AddressError,
        "windows-list",
        "proxy URL {text}: it is a list of proxies by scheme, as Windows has it",
        "give one proxy, such as the one after https=",
    ),
    declare(
        AddressError,
        "variable-name",
        "proxy URL {text}: it begins with the name of a variable",
        "the value is what comes after the =",
    ),
    declare(
        AddressError,
        "pac-file",
        "proxy URL {text}: it names a PAC file, not a proxy",
        "connect, forward, run and check take a PAC file with --pac",
    ),
    declare(AddressError, "variable", "proxy URL {text}: it contains a variable that was not expanded", "write the value itself"),
    declare(
        AddressError, "comment", "proxy URL {text}: a comment follows it", "comments are not allowed in the value: leave it out"
    ),
    declare(
        AddressError,
        "semicolon",
        "proxy URL {text}: a semicolon cannot separate proxies",
        "separate alternatives with commas; for a chain, repeat -x",
    ),
    declare(AddressError, "two-schemes", "proxy URL {text}: it has two schemes", "leave one of them out"),
    declare(
        AddressError,
        "scheme-separator",
        "proxy URL {text}: its scheme does not end in ://",
        "a URL begins with its scheme and ://, as in http://HOST:PORT",
    ),
    declare(
        AddressError,
        "local-spec",
        "-L {text}: the local port or the target is missing",
        "write [BIND:]PORT:HOST:HOSTPORT or /PATH:HOST:HOSTPORT, for example 5432:db.example.com:5432",
    ),
    declare(
        AddressError,
        "local-spec-part",
        "-L {text}: {cause}",
        "write [BIND:]PORT:HOST:HOSTPORT or /PATH:HOST:HOSTPORT, for example 5432:db.example.com:5432",
    ),
    declare(AddressError, "dynamic-spec", "-D {text}: {cause}", "write [BIND:]PORT or /PATH, for example 1080"),
    declare(AddressError, "listen-path", "listening address `{text}`: the path is missing", "write unix:PATH"),
    declare(AddressError, "listen-format", "listening address `{text}`: it is not ADDRESS:PORT", _LISTEN),
    declare(
        AddressError, "listen-brackets", "listening address `{text}`: an IPv6 address needs brackets", "for example [::1]:3128"
    ),
    declare(
        AddressError,
        "listen-name",
        "listening address `{text}`: it must be an address, not a name",
        When("localhost", "127.0.0.1:{port}"),
        _LISTEN,
    ),
    declare(AddressError, "rule-port-missing", "rule {text}: the port is missing", "write HOST:PORT, HOST:LO-HI or HOST:*"),
    declare(AddressError, "rule-part", "rule {text}: {cause}"),
    declare(AddressError, "port-range", "ports {text}: the range ends before it begins"),
    declare(AddressError, "domain-address", "domain {text}: *. goes before a domain, not before an address"),
    declare(AddressError, "network-brackets", "network {text}: brackets belong round an IPv6 address or network, and only there"),
    declare(AddressError, "network-name", "network {text}: not a network ADDRESS/BITS: before the / there is a name"),
    declare(AddressError, "network-bits", "network {text}: after / there is a number of bits, {n} at most"),
    declare(
        AddressError,
        "network-host-bits",
        "network {text}: not a network ADDRESS/BITS: the address has bits set beyond the prefix",
        "for example 10.0.0.0/8, not 10.0.0.1/8",
    ),
    # Entries of NO_PROXY and of a PAC script end nothing: they are passed over, and a line of -v or a warning shows the cause.
    declare(
        AddressError,
        "no-proxy-entry",
        (
            "entry {entry}: it is a URL: an entry is a host, without a scheme",
            "entry {entry}: <local> is the only word in angle brackets that has a meaning here",
            "entry {entry}: port {port} is not a number from 1 to 65535",
        ),
    ),
    declare(
        AddressError,
        "no-proxy-pattern",
        "pattern {text}: it is too long, or has a character that neither names in ASCII nor addresses have",
    ),
    declare(
        AddressError,
        "no-proxy-network",
        "network {text}: it is neither a network ADDRESS/BITS nor a range of addresses FIRST-LAST",
    ),
    declare(AddressError, "pac-entry", "entry: it is none of those that are known"),
)
