"""Every command, and every environment variable, declared once: for help, the manual and the completions."""

from __future__ import annotations

from tunnelctl.cli.spec.flags import RULE
from tunnelctl.namedtuple import NamedTuple

SHELLS = ("bash", "zsh", "fish")


class Command(NamedTuple):
    """One command, with the texts of its help."""

    name: str
    words: str  # its positional arguments as the usage line shows them
    summary: str  # one line, in the list of commands
    lead: str  # two sentences that most people need
    examples: tuple[tuple[str, str], ...]  # (command line, what it does)


class Variable(NamedTuple):
    """An environment variable, for the manual."""

    names: tuple[str, ...]
    meaning: str


COMMANDS = (
    Command(
        "connect", "HOST PORT",
        "open a tunnel through a proxy to stdin and stdout",
        "Open a tunnel to HOST and PORT through an HTTP or SOCKS proxy, and connect it to stdin and stdout. "
        "HOST:PORT and [IPV6]:PORT are accepted as well.",
        (
            ("ssh -o 'ProxyCommand tunnelctl connect -x http://proxy:3128 %h %p' host", "ssh through a proxy"),
            ("tunnelctl connect -x http://proxy:3128 mail.example.com 25 -v", "like netcat, but shows what it does"),
            ("tunnelctl connect -x http://edge:3128 -x http://inner:8080 host 22", "a chain of two proxies"),
        ),
    ),
    Command(
        "forward", "",
        "open local ports that lead through a proxy",
        "Open local ports that lead through a proxy, for programs without proxy support. "
        "-L leads to one target, -D to any that its clients ask for.",
        (
            ("tunnelctl forward -x http://proxy:3128 -L 5432:db.example.com:5432", "then: psql -h 127.0.0.1"),
            ("tunnelctl forward -x http://proxy:3128 -D 1080", "then: curl -x socks5h://127.0.0.1:1080 URL"),
            ("tunnelctl forward -x http://proxy:3128 -L ~/db.sock:db.example.com:5432", "a unix socket"),
        ),
    ),
    Command(
        "run", "COMMAND [ARGS]",
        "run a program behind a private proxy that needs no login",
        "Run COMMAND with http_proxy, https_proxy and all_proxy set to a private local proxy, which forwards to yours and "
        "logs in there. So programs that cannot log in to a proxy work behind one that requires it.",
        (
            ("tunnelctl run -x http://proxy:3128 --proxy-user me -- curl https://example.com", "tunnelctl logs in"),
            ("tunnelctl run -- git clone https://git.example.com/project", "through the proxy of the environment"),
            ("tunnelctl run -L 5432:db.example.com:5432 -- psql -h 127.0.0.1", "with a local port"),
        ),
    ),
    Command(
        "serve", "",
        "run the bundled proxy",
        "Open tunnels to the targets that the rules allow, and tell clients why others are refused. "
        "Without options it serves only this machine, and reaches only port 443 of public addresses.",
        (
            ("tunnelctl serve", "a proxy at http://127.0.0.1:3128"),
            ("tunnelctl serve --allow '*.example.com:22' --allow '*:443'", "with rules"),
            ("tunnelctl serve --listen 192.0.2.1:3128 --users /etc/tunnelctl.users", "for other machines, with logins"),
        ),
    ),
    Command(
        "check", "HOST PORT",
        "diagnose the path to a host: what fails or is slow, and why",
        "Open a tunnel to HOST and PORT as `connect` does, and show each phase with its time. "
        "A failure is explained, together with what to do about it.",
        (
            ("tunnelctl check -x http://proxy:3128 host 22", "the path to an ssh server"),
            ("tunnelctl check --tls -x http://proxy:3128 www.example.com 443", "is TLS being intercepted?"),
            ("tunnelctl check --count 20 --interval 0.5 host:22 --json", "for a script"),
        ),
    ),
    Command(
        "ssh-config", "HOST...",
        "print the lines for ~/.ssh/config",
        "Print a Host block whose ProxyCommand uses the proxies given by the flags; no file is changed. "
        "HOST is a name or a pattern of ssh_config(5).",
        (
            ("tunnelctl ssh-config -x http://proxy:3128 '*.example.com' >> ~/.ssh/config", "for a domain"),
            ("tunnelctl ssh-config -x http://proxy:3128 --proxy-auth-file ~/.proxy host", "with a login"),
            ("tunnelctl ssh-config --git -x http://proxy:3128 host >> ~/.gitconfig", "the same for git"),
        ),
    ),
    Command(
        "setup", "[TOOL]",
        "print the lines that send another tool through the proxy",
        "Print the lines for TOOL's own settings, and say into which file they go; no file is changed. "
        "Without TOOL, list the tools.",
        (
            ("tunnelctl setup npm -x http://proxy:3128 >> ~/.npmrc", "npm, through a proxy"),
            ("tunnelctl setup docker -D 8080", "through a port of `tunnelctl forward`, which logs in"),
            ("tunnelctl setup git --check", "are the lines for this machine's proxy there?"),
        ),
    ),
    Command(
        "check-policy", "FILE HOST PORT",
        "explain what `serve` would decide under a policy file",
        "Show whether `serve` would open a tunnel to HOST and PORT, and which rule decides; the status is 0 or 69. "
        "Names are looked up as by `serve`; HOST:PORT and [IPV6]:PORT are accepted as well.",
        (
            ("tunnelctl check-policy policy.toml www.example.com 443", "for anybody"),
            ("tunnelctl check-policy policy.toml 10.1.2.3:22 --user alice --client 192.0.2.7", "for one user"),
            ("tunnelctl check-policy policy.toml www.example.com 443 --json", "for a script"),
        ),
    ),
    Command(
        "hash-password", "USER",
        "make a line for the users file of `serve` and `forward`",
        "Print a line for a users file with the scrypt hash of a password, or with what Digest needs. "
        "The password is read from the terminal, or as one line from stdin if that is not a terminal.",
        (
            ("tunnelctl hash-password alice >> users", "asks twice, without echo"),
            ("pass show proxy | tunnelctl hash-password --digest alice", "from a password manager, for Digest"),
            ("tunnelctl serve --users users", "use the file"),
        ),
    ),
    Command(
        "completion", "{bash|zsh|fish}",
        "print a completion script",
        "Print the completion script for a shell; no file is changed. "
        "The script is static: no program runs when you press TAB.",
        (
            ("source <(tunnelctl completion bash)", "for this bash"),
            ("tunnelctl completion zsh > ~/.zfunc/_tunnelctl", "for zsh, where ~/.zfunc is in fpath"),
            ("tunnelctl completion fish > ~/.config/fish/completions/tunnelctl.fish", "for fish"),
        ),
    ),
    Command(
        "selftest", "",
        "test client and server against each other on loopback",
        "Start the bundled proxy and a target on loopback, tunnel through it, and print the result of each check. "
        "The exit status is 0 only if all checks pass.",
        (
            ("tunnelctl selftest", "takes a few seconds, needs no network"),
            ("tunnelctl selftest --json", "for a script"),
            ("tunnelctl selftest && echo ready", "for its exit status"),
        ),
    ),
)  # fmt: skip

# Command lines of other tools, each with the equivalent tunnelctl line.
OTHERS = (
    ("corkscrew proxy 3128 host 22", "tunnelctl connect -x proxy:3128 host 22"),
    ("corkscrew proxy 3128 host 22 ~/.auth", "tunnelctl connect -x proxy:3128 --proxy-auth-file ~/.auth host 22"),
    ("nc -X connect -x proxy:3128 host 22", "tunnelctl connect -x proxy:3128 host 22"),
    ("nc -F -X connect -x proxy:3128 host 22", "tunnelctl connect --fdpass -x proxy:3128 host 22"),
    ("connect-proxy -H proxy:3128 host 22", "tunnelctl connect -x proxy:3128 host 22"),
    ("connect-proxy -H alice@proxy:3128 host 22", "tunnelctl connect -x alice@proxy:3128 host 22"),
    ("connect-proxy -h host 22", "tunnelctl connect host 22"),
    ("ncat --proxy proxy:3128 host 22", "tunnelctl connect -x proxy:3128 host 22"),
    ("ncat --proxy proxy:3128 --proxy-auth alice:password host 22", "tunnelctl connect -x alice:password@proxy:3128 host 22"),
    ("ncat -l 127.0.0.1 3128 --keep-open --proxy-type http", "tunnelctl serve --allow '*:*'"),
    ("proxytunnel -q -p proxy:3128 -d host:22", "tunnelctl connect -x proxy:3128 host:22"),
    ("proxytunnel -q -p edge:3128 -r inner:8080 -d host:22", "tunnelctl connect -x edge:3128 -x inner:8080 host:22"),
    ("proxytunnel -a 5432 -p proxy:3128 -d db:5432", "tunnelctl forward -x proxy:3128 -L 5432:db:5432"),
    ("socat - PROXY:proxy:host:22,proxyport=3128", "tunnelctl connect -x proxy:3128 host 22"),
    ("socat TCP-LISTEN:5432,fork PROXY:proxy:db:5432,proxyport=3128", "tunnelctl forward -x proxy:3128 -L 5432:db:5432"),
    ("cntlm -f -u alice -p password -L 5432:db:5432 proxy 3128", "tunnelctl forward -x alice:password@proxy:3128 -L 5432:db:5432"),
    ("cntlm -f -u alice -p password -l 8080 proxy 3128", "tunnelctl forward -x alice:password@proxy:3128 -D 8080"),
)

# Text before a group of flags in --help; the manual has this text, and more, at the flag itself.
NOTES = {"Policy": RULE}

VARIABLES = (
    Variable(("TUNNELCTL_PROXY",), "the proxy when -x is not given"),
    Variable(("TUNNELCTL_PROXY_PASSWORD",), "the password for the proxy, if neither a URL nor a file has one"),
    Variable(("TUNNELCTL_PROFILE",), "the profile of the settings file when --profile is not given"),
    Variable(
        ("https_proxy", "HTTPS_PROXY"), "the proxy when neither TUNNELCTL_PROXY nor the settings file names one; lower case wins"
    ),
    Variable(("all_proxy", "ALL_PROXY"), "consulted last"),
    Variable(
        ("http_proxy", "HTTP_PROXY"),
        "ignored: it is for web pages, and need not name a proxy that opens tunnels. A failure without a proxy "
        "mentions it where it is set",
    ),
    Variable(
        ("no_proxy", "NO_PROXY"),
        "targets reached without a proxy, separated by commas, blanks, ; or |: a name with its subdomains, an address, a network "
        "such as 10.0.0.0/8, a range FIRST-LAST of addresses, a pattern with * or ? such as 10.* or *.corp.*, each "
        "optionally with :PORT; <local>, which is every name without a dot; or *. It overrules the variables above, never -x or "
        "the settings file; lower case wins. With -v, connect, forward, run and check list the entries that they ignore",
    ),
    Variable(("XDG_CONFIG_HOME",), "the directory of tunnelctl/config.toml; ~/.config if not set"),
    Variable(
        ("XDG_RUNTIME_DIR",),
        "the directory of tunnelctl/NAME.sock, the control sockets of forward, if it belongs to this user; otherwise they are in "
        "/tmp/tunnelctl-UID, which no other user may enter",
    ),
    Variable(
        ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"),
        "sockets that a service manager passed to forward or serve; see sd_listen_fds(3)",
    ),
    Variable(("NOTIFY_SOCKET",), "where forward and serve report that they are ready or stopping; see sd_notify(3)"),
    Variable(("WATCHDOG_USEC", "WATCHDOG_PID"), "how often serve has to report that it is alive; see sd_watchdog_enabled(3)"),
    Variable(
        ("TUNNELCTL_PORT", "TUNNELCTL_PORT_1"),
        "set by run for its command: the port of the private proxy, and of each -L in their order",
    ),
    Variable(("NO_COLOR",), "if set, check shows no colours"),
    Variable(("FORCE_COLOR",), "if set, check shows colours even if its output is not a terminal"),
    Variable(("TUNNELCTL_DEBUG",), "if set to 1, a fault in tunnelctl itself shows its traceback"),
)
