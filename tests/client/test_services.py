"""Names of services as ports."""

import subprocess
import sys

import pytest

from tests.peers.process import path_of
from tunnelctl.client.services import USUAL, numbered, parse_target, port_of
from tunnelctl.errors import AddressError
from tunnelctl.proto.address import Address


@pytest.mark.parametrize(
    ("text", "number"),
    [("ssh", "22"), ("host:https", "host:443"), ("[::1]:ssh", "[::1]:22"), ("SSH", None), ("22", "22"), ("h:22", "h:22")],
)
def test_a_name_becomes_its_number(text, number):
    if number is None:
        with pytest.raises(AddressError):
            numbered(text)
    else:
        assert numbered(text) == number


@pytest.mark.parametrize(
    "text", ["", "host:", "::1", "fe80::a", "http://x", "a:b:ssh", "h:x y", "h:\x1b[m", "h:ssh\0", "h:-", "h:\u0660"]
)
def test_what_is_no_name_is_left_to_the_parser_of_addresses(text):
    assert numbered(text) == text


def test_a_target_has_a_host_and_a_port():
    assert parse_target("[h.example]:postgresql") == Address("h.example", 5432)
    with pytest.raises(AddressError, match="the port is missing"):
        parse_target("h.example")


@pytest.mark.parametrize(("name", "near"), [("sssh", "ssh"), ("htps", "https or http"), ("zzz", "")])
def test_an_unknown_name_is_an_error(name, near):
    with pytest.raises(AddressError, match="no service of that name") as caught:
        port_of(name)
    assert caught.value.facts == {"near": near}


@pytest.mark.parametrize("name", USUAL)
def test_the_usual_names_have_the_numbers_of_the_database(name):
    assert port_of(name) == USUAL[name]


@pytest.mark.peer("unshare")
def test_the_usual_names_are_known_without_a_database():
    code = "from tunnelctl.client.services import *; print({name: port_of(name) for name in USUAL} == USUAL); port_of('telnet')"
    line = 'mount --bind /dev/null /etc/services && exec "$0" -c "$1"'
    done = subprocess.run(
        [path_of("unshare"), "--map-root-user", "--mount", "sh", "-c", line, sys.executable, code],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr
    assert done.stderr.splitlines()[-1].endswith("port 'telnet': no service of that name")
