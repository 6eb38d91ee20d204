"""Every command, and every environment variable, declared once: for help, the manual and the completions."""

from __future__ import annotations

from tunnelctl.cli.spec.flag import RULE
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
        "status", "[NAME...]",
        "list the running forward, run and serve of this user",
        "List the running forward, run and serve processes of this user: names, listeners, routes and tunnels. "
        "With NAMEs, only those.",
        (
            ("tunnelctl status", "everything"),
            ("tunnelctl status work --json", "one of them, for a script"),
            ("tunnelctl status serve && echo running", "the status is 75 if it does not run"),
        ),
    ),
    Command(
        "top", "[NAME...]",
        "show running processes live: tunnels, rates, targets",
        "Show the running forward, run and serve processes of this user and their open tunnels, live; h lists the keys. "
        "With NAMEs, only those; in a pipe, one snapshot.",
        (
            ("tunnelctl top", "everything that runs"),
            ("tunnelctl top work", "what was started by `forward --name work`"),
            ("tunnelctl top --json | jq .tunnels", "for a script"),
        ),
    ),
    Command(
        "stop", "NAME...",
        "stop running processes, and let their tunnels finish",
        "Stop each named process as SIGTERM does, and wait for its end. It accepts nothing more, and its open tunnels may finish "
        "within its --drain.",
        (
            ("tunnelctl stop forward", "the one that `tunnelctl status` lists by this name"),
            ("tunnelctl stop work test", "two of them"),
            ("tunnelctl status", "shows the names"),
        ),
    ),
    Command(
        "check", "[HOST PORT]",
        "diagnose the path to a host, or find the proxies here",
        "Open a tunnel to HOST and PORT as `connect` does, and show each phase with its time, what fails and what to do about it. "
        "Without HOST and PORT, find the settings of this machine that name a proxy, and try each proxy.",
        (
            ("tunnelctl check", "which proxies are there, and which of them work?"),
            ("tunnelctl check -x http://proxy:3128 host 22", "the path to an ssh server"),
            ("tunnelctl check --tls -x http://proxy:3128 www.example.com 443", "is TLS being intercepted?"),
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
            ("tunnelctl setup git --check -x http://proxy:3128", "are the lines for this proxy there?"),
        ),
    ),
    Command(
        "env", "",
        "print the proxy settings for a shell",
        "Print lines for a shell that set https_proxy and the like to the proxy of the flags, the settings file or the "
        "environment, or to a local port of a running `forward`. No file is changed.",
        (
            ('eval "$(tunnelctl env -x http://proxy:3128)"', "in sh, bash, dash and zsh"),
            ("tunnelctl env --via work --shell fish | source", "in fish, through the forward that is called work"),
            ('eval "$(tunnelctl env --port 8080)"', "through a local port, such as that of `forward -D 8080`"),
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
    Command(
        "help", "[COMMAND]",
        "show the manual page of a command",
        "Show the manual page of COMMAND, or that of tunnelctl itself, with man if it is installed. "
        "In a pipe it is plain text.",
        (
            ("tunnelctl help", "the program, with all exit statuses"),
            ("tunnelctl help forward", "one command"),
            ("tunnelctl help config", "the settings file; policy and messages are pages too"),
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
    Variable(
        ("GIT_SSH_COMMAND", "NODE_USE_ENV_PROXY"),
        "set by run for its command if they are not set already, so that git over ssh and Node use the private proxy",
    ),
    Variable(("JAVA_TOOL_OPTIONS",), "run --java adds the options that make a JVM use the private proxy"),
    Variable(("NO_COLOR",), "if set, check and top show no colours, and help no bold text"),
    Variable(("FORCE_COLOR",), "if set, check shows colours even if its output is not a terminal"),
    Variable(("TUNNELCTL_DEBUG",), "if set to 1, a fault in tunnelctl itself shows its traceback"),
)
