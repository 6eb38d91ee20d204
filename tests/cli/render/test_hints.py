"""The text for an error, from the subject of the error and from what the user typed."""

import pytest

from tunnelctl.cli.render.hints import chosen, hint_of, in_words, line_of, message_of, place, what_of
from tunnelctl.cli.spec.messages.model import When
from tunnelctl.client.check.events import Failure, Finding
from tunnelctl.client.forward.events import Failed
from tunnelctl.errors import AddressError, Refused, SettingsError, TimedOut, TLSFailed, Unanswered, UsageProblem
from tunnelctl.events import Explained, Lookup, Warning, explained
from tunnelctl.packages import install_command
from tunnelctl.proto.address import Address


@pytest.mark.parametrize(
    ("option", "what", "line"),
    [
        ("", "host x", "host x: cause"),
        ("admin", "0.0.0.0:1", "--admin 0.0.0.0:1: cause"),
        ("proxy_pin", "", "--proxy-pin: cause"),
        ("proxy", "direct", "-x direct: cause"),
        ("local", "1:a", "-L 1:a: cause"),
        ("dynamic", "x", "-D x: cause"),
    ],
)
def test_an_error_about_an_option_begins_with_its_flag(option, what, line):
    error = UsageProblem(what, "cause", "syntax", option=option)
    assert (line_of(error), what_of(error)) == (line, line.removesuffix(": cause"))


@pytest.mark.parametrize(
    ("facts", "hint"),
    [
        ({}, ""),
        ({"a": ""}, ""),
        ({"b": True}, "for b"),
        ({"a": 1}, "with 1"),
        ({"a": 1, "c": 2}, "with 1 and 2"),
        ({"a": 1, "b": True, "c": 2}, "for b"),
    ],
)
def test_the_first_hint_with_all_its_facts_is_chosen(facts, hint):
    assert chosen((When("b", "for b"), "with {a} and {c}", "with {a}"), facts) == hint


def test_a_condition_may_suppress_the_hint():
    assert chosen((When("known", ""), "other"), {"known": True}) == ""


def test_placeholders_of_a_hint_are_filled_from_the_facts():
    assert place("a", {"a": 0}) is None
    assert place("tls", {}) == "--proxy"
    assert place("tls", {"target": True}) == "--tls"
    assert place("help", {"command": "serve"}) == "tunnelctl serve --help"
    assert place("help", {"command": ""}) == "tunnelctl --help"
    assert place("install", {"package": "x"}) == install_command("x")
    assert (place("install", {}), place("given_flag", {}), place("key_flag", {"key": "tls_key"})) == (None, None, "--tls-key")


@pytest.mark.parametrize(("inner", "next_"), [(False, "the target"), (True, "the next proxy")])
def test_the_hint_names_what_the_proxy_may_not_reach(inner, next_):
    error = Unanswered("waiting", "no answer", "socks-mute", facts={"proxy": "p:1", "inner": inner})
    assert hint_of(error).startswith(f"the proxy may not be able to reach {next_}; or it is not a SOCKS proxy")


def test_the_hint_of_an_inner_error_takes_precedence():
    inner = AddressError("address x", "the port is missing", "port-missing")
    assert hint_of(SettingsError("file", "cause", "value", inner=inner)) == "write HOST:PORT"
    assert hint_of(AddressError("x", "cause", "dynamic-spec", option="dynamic", inner=inner)) == "write HOST:PORT"
    own = AddressError("x", "cause", "dynamic-spec", inner=AddressError("port x", "cause", "port"))
    assert hint_of(own).startswith("write [BIND:]PORT")


def test_a_class_inherits_the_messages_of_its_bases():
    message = message_of(Unanswered("a", "b", "timed-out"))
    assert message is not None
    assert message.kind is TimedOut
    assert message_of(TLSFailed("a", "b", "timed-out")) is None
    assert hint_of(TLSFailed("a", "b", "timed-out")) == ""


def test_explained_adds_the_words_of_an_error_to_an_event():
    error = UsageProblem("0.0.0.0:1", "others could read", "without-certificate", option="tls_key")
    words = {"exit_status": 2, "what": "--tls-key 0.0.0.0:1", "cause": "others could read"}
    hint = "add --tls-cert FILE, for listeners that speak TLS"
    failed = Failed("1", "c", "t:1", None, None, 2, "", "", "")
    told = {"connection": "1", "client": "c", "target": "t:1", "code": None, "error": None}
    assert in_words(explained(failed, error)) == ("failed", {**told, **words, "hint": hint})
    assert in_words(explained(Failure(2, "", ""), error)) == ("failure", words)
    line = "--tls-key 0.0.0.0:1: others could read"
    assert in_words(explained(Warning(""), error)) == ("warning", {"text": f"{line}: {hint}"})
    assert in_words(explained(Warning("old"), error)) == ("warning", {"text": f"old: {line} (hint: {hint})"})
    assert in_words(Lookup("h")) == ("lookup", {"host": "h"})


def test_a_finding_has_the_hint_of_its_error_or_its_own():
    error = AddressError("address x", "the port is missing", "port-missing")
    named = {"name": "refused", "text": "t"}
    assert in_words(explained(Finding("refused", "t", ""), error)) == ("finding", {**named, "hint": "write HOST:PORT"})
    own = {"name": "idle-cut", "text": "t"}
    hint = "send data more often, for example with ServerAliveInterval 5 in ssh_config(5)"
    assert in_words(Explained(Finding("idle-cut", "t", ""), None, {"interval": 5})) == ("finding", {**own, "hint": hint})


@pytest.mark.parametrize("code", ["denied", "denied-by-serve", "target-unreached", "socks-rules"])
def test_a_refused_port_22_of_a_known_site_names_its_port_443(code):
    def hint(host, port):
        return hint_of(Refused("what", "cause", code, facts={"target": Address(host, port)}))

    assert hint("gitlab.com", 22).startswith(
        "gitlab.com has ssh on port 443 too, at altssh.gitlab.com: `tunnelctl ssh-config --port-443 "
    )
    assert "port 443 too" not in hint("gitlab.com", 80) + hint("x.gitlab.com", 22) + hint("git.example", 22)
