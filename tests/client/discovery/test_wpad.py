"""WPAD: which names there are. That none is looked up unless the user says so, is shown in test_survey."""

import os

import pytest

from tunnelctl.client.discovery.settings.machine import Machine
from tunnelctl.client.discovery.wpad import possible, read_resolv_conf


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("search corp.example other.example\nnameserver 127.0.0.1\n", ["wpad.corp.example", "wpad.other.example"]),
        ("domain a.example\nsearch b.example\n", ["wpad.b.example"]),
        ("; search a\n# search b\n", []),
        ("search .\nsearch\n", []),
        ("search a..b \x1b[31m -x", []),
        ("search a a", ["wpad.a"]),
        ("search a b c d e f", ["wpad.a", "wpad.b", "wpad.c", "wpad.d"]),
        ("search deep.corp.example.co.uk", ["wpad.deep.corp.example.co.uk"]),  # never wpad.co.uk
    ],
)
def test_the_names_of_resolv_conf(text, names):
    assert [setting.value for setting in read_resolv_conf(text)] == [(name,) for name in names]


def test_a_machine_without_a_readable_resolv_conf(tmp_path):
    machine = Machine({}, "", str(tmp_path))
    assert possible(machine) == []
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/resolv.conf")
    assert possible(machine) == []
