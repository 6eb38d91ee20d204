"""The proxy that a tool is sent to: this machine's, or a forward; and no secret in what is said about it."""

import pytest

from tunnelctl.cli.commands.setup import SetupOptions
from tunnelctl.cli.commands.ssh_config import own_flags
from tunnelctl.cli.parse.typer_app import parse
from tunnelctl.cli.parse.values import build
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.cli.setup.choice import Choice, choose
from tunnelctl.cli.setup.tools import TOOLS
from tunnelctl.errors import UsageProblem


def chosen(tool: str, *words: str, **environ: str) -> Choice:
    call = parse(["setup", tool, *words])
    options = build(SetupOptions, call.pairs)
    record = next(one for one in TOOLS if one.name == tool)
    return choose(record, options.reach, options.dynamic, own_flags(call.pairs), environ)


@pytest.mark.parametrize(
    ("tool", "words", "environ", "url", "origin"),
    [
        ("npm", ("-x", "http://p:3128"), {"https_proxy": "http://q"}, "http://p:3128", "-x"),
        ("npm", (), {"https_proxy": "http://q:1"}, "http://q:1", "https_proxy"),
        ("npm", (), {"TUNNELCTL_PROXY": "p:2", "https_proxy": "http://q"}, "http://p:2", "TUNNELCTL_PROXY"),
        ("npm", (), {"ALL_PROXY": "https://q"}, "https://q:443", "ALL_PROXY"),
        ("curl", ("-x", "socks5://p"), {}, "socks5h://p:1080", "-x"),
        ("go", ("-x", "socks5://p"), {}, "socks5://p:1080", "-x"),
        ("npm", ("-D", "8080"), {}, "http://127.0.0.1:8080", "-D"),
        ("npm", ("-D", "127.0.0.2:8080"), {"https_proxy": "http://q"}, "http://127.0.0.2:8080", "-D"),
        ("npm", ("-D", "*:8080"), {}, "http://127.0.0.1:8080", "-D"),
        ("npm", ("-D", "[::1]:8080"), {}, "http://[::1]:8080", "-D"),
    ],
)
def test_the_proxy_of_this_machine(tool, words, environ, url, origin):
    choice = chosen(tool, *words, **environ)
    assert (choice.proxy.url, choice.origin, choice.reason) == (url, origin, "")


@pytest.mark.parametrize(
    ("tool", "words", "environ", "reason"),
    [
        ("npm", ("-x", "http://alice:swordfish@p"), {}, "would have to store the login"),
        ("npm", ("-x", "http://alice@p"), {}, "would have to store the login"),
        ("npm", (), {"https_proxy": "http://alice:swordfish@p"}, "would have to store the login"),
        ("npm", ("-x", "p", "--password-command", "x"), {}, "would have to store the login"),
        ("npm", ("-x", "p"), {"TUNNELCTL_PROXY_PASSWORD": "swordfish"}, "would have to store the login"),
        ("npm", ("-x", "p", "--header", "Proxy-Authorization: Basic swordfish"), {}, "would have to store the login"),
        ("npm", ("-x", "socks5://p"), {}, "npm cannot use a proxy socks5://"),
        ("maven", ("-x", "https://p"), {}, "maven cannot use a proxy https://"),
        ("git", ("-x", "https://p"), {}, "git often stalls at a proxy https:// if its libcurl uses GnuTLS, as in Debian"),
        ("kubectl", ("-x", "https://p"), {}, "kubectl fails at a proxy https:// that knows HTTP/2"),
        ("npm", ("-x", "p", "-x", "q"), {}, "several proxies are configured"),
        ("npm", ("-x", "p,q"), {}, "several proxies are configured"),
        ("npm", ("--pac", "proxy.pac"), {}, "a PAC file names the proxies"),
        (
            "npm",
            ("-x", "https://p", "--proxy-cacert", "ca.pem"),
            {},
            "only tunnelctl has the certificate settings for the proxy https://p:443",
        ),
    ],
)
def test_what_the_tool_cannot_do_by_itself_a_forward_does(tool, words, environ, reason):
    choice = chosen(tool, *words, **environ)
    assert choice.proxy.url == "http://127.0.0.1:8080"
    assert reason in choice.reason
    assert choice.start.startswith("tunnelctl forward --background --name tools ")
    assert choice.start.endswith(" -D 8080")
    assert "swordfish" not in repr(choice)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (("-x", "http://alice:swordfish@p"), "-x http://alice@p:80 -D 8080"),
        (("-x", "http://alice:swordfish@p,q:1"), "-x http://alice@p:80,q:1 -D 8080"),
        (
            ("-x", "p", "--proxy-user", "alice:swordfish"),
            "-x p --proxy-user alice -D 8080",
        ),
        (
            ("-x", "p", "--header", "Cookie: swordfish"),
            "-x p --header 'Cookie: ***' -D 8080",
        ),
        (
            ("-x", "p", "--password-command", "pass show p"),
            "-x p --password-command 'pass show p' -D 8080",
        ),
        (("-x", "p", "-D", "127.0.0.2:1080"), "-x p -D 127.0.0.2:1080"),
        (("--profile", "work", "-D", "1080"), "--profile work -D 1080"),
    ],
)
def test_the_command_that_starts_the_forward_has_the_flags_and_no_secret(words, start):
    assert chosen("npm", *words).start == f"tunnelctl forward --background --name tools {start}"


def test_entries_of_no_proxy_without_a_form_are_named():
    choice = chosen("wget", "-x", "p", NO_PROXY="a.example,10.0.0.0/8,<local>,*.corp.*,http://x:swordfish@y")
    assert choice.left_out == ("10.0.0.0/8", "<local>", "*.corp.*")


FIND_PROXY = "run `tunnelctl check` to find a proxy, and give it with -x URL, or a port of `tunnelctl forward` with -D PORT"


@pytest.mark.parametrize(
    ("tool", "words", "environ", "cause", "hint"),
    [
        (
            "npm",
            (),
            {},
            "no proxy is configured",
            FIND_PROXY,
        ),
        ("npm", ("-x", "direct"), {}, "no proxy is configured", "give one with -x URL"),
        ("npm", (), {"http_proxy": "http://p"}, "no proxy is configured", "http_proxy is set, but tunnelctl ignores it"),
        ("npm", ("-D", "0"), {}, "not a number from 1 to 65535", "other tools need an address and a port"),
        ("npm", ("-D", "/run/x.sock"), {}, "not a number from 1 to 65535", "other tools need an address and a port"),
        ("npm", ("-D", "fd:x"), {}, "not a number from 1 to 65535", "other tools need an address and a port"),
        ("keyring", ("-x", "p"), {}, "no user is named for the proxy", "give the name with --proxy-user NAME"),
        ("npm", ("-x", "ftp://p"), {}, "ftp:// is not supported", ""),
    ],
)
def test_what_cannot_be_told_to_a_tool(tool, words, environ, cause, hint):
    with pytest.raises(UsageProblem) as caught:
        chosen(tool, *words, **environ)
    assert caught.value.cause == cause
    assert hint in hint_of(caught.value)


@pytest.mark.parametrize("words", [("-x", "http://alice:swordfish@p:1"), ("-x", "p:1", "--proxy-user", "alice")])
def test_a_store_of_passwords_is_asked_for_that_of_the_nearest_proxy(words):
    proxy = chosen("keyring", *words, "-x", "http://bob@q").proxy
    assert (str(proxy.address), proxy.user) == ("p:1", "alice")
