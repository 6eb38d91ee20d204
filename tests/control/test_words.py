"""Codes in words: every code that the server uses has its own."""

import pytest

from tunnelctl.control.words import ERRORS, end_in_words, refusal_in_words
from tunnelctl.events import SIDES
from tunnelctl.proto import local_port, refusal
from tunnelctl.proto.refusal import Refusal
from tunnelctl.server.observe.metrics import CAUSES, OTHER
from tunnelctl.server.observe.metrics import ERRORS as SERVED


def test_every_error_type_of_the_server_has_words():
    assert set(SERVED) - {"", OTHER} <= set(ERRORS)


def test_every_refusal_of_the_server_has_words():
    makers = [make for make in vars(refusal).values() if getattr(make, "__annotations__", {}).get("return") is Refusal]
    needed = [make.__code__.co_argcount - len(make.__defaults__ or ()) for make in makers]
    made = [make(*["1"] * count) for make, count in zip(makers, needed, strict=True)]
    assert len(made) > 20
    assert not [one for one in made if "_" in refusal_in_words(one.status, one.error)]


def test_the_error_types_of_local_ports_have_words():
    assert set(local_port._STATUSES) <= set(ERRORS)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (403, "http_request_denied", "the rules do not allow the target"),
        (407, "http_request_denied", "a login is required, or it was wrong"),
        (502, "http_request_denied", "the next proxy denied the request"),
        (429, "connection_limit_reached", "the client has reached a limit of its own"),
        (503, "connection_limit_reached", "the proxy has reached one of its limits"),
        (499, "", "the client left before it had an answer"),
        (0, "", "no reason was given"),
        (502, "some_new_type", "some new type"),
    ],
)
def test_a_refusal_in_words(status, error, words):
    assert refusal_in_words(status, error) == words


def test_words_are_no_sentences_and_differ():
    assert not [words for words in ERRORS.values() if words[0].isupper() or words.endswith(".")]
    assert len(set(ERRORS.values())) == len(ERRORS)


@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause != OTHER])
def test_every_cause_has_words(cause):
    told = {end_in_words(side, cause) for side in SIDES.values()}
    assert not [words for words in told if ":" in words or "{" in words]


def test_an_end_in_words():
    assert end_in_words("client", "eof") == "client closed"
    assert end_in_words("target", "reset") == "target reset"
    assert end_in_words("tunnelctl", "lifetime") == "reached its maximum age"
    assert end_in_words("target", "{unheard of}") == "target: {unheard of}"
