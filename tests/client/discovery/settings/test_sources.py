"""The table of sources, and what all readers have in common: they read anything, and show no value in a repr."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnelctl.client.discovery.settings.setting import EXEMPT, INCLUDE, PAC, PROGRAM, PROXY, WPAD, MalformedFile
from tunnelctl.client.discovery.settings.sources import SOURCES

READERS = sorted({source.reader for source in SOURCES}, key=lambda reader: reader.__name__)

# Pieces of all the formats, in any order.
PIECES = (
    "[http]", '[http "x"]', "[Proxy Settings]", "[system/proxy]", "[global]", "proxy", "https_proxy", "ProxyCommand", "Host x",
    "Include y", "Environment=", "Acquire::http::Proxy", "org.gnome.system.proxy", "mode", "'manual'", "ProxyType", "1", " : ",
    "HTTPProxy", "HTTPEnable", "=", " ", "\n", "\\", '"', "'", "{", "}", ";", "#", "/*", "http://a:secret@p:1", "nc -x",
    "--proxy", "\x1b", "\x00", "\udcff", "é", "::",
)  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@given(text=TEXTS)
def test_any_text_is_read_or_refused(reader, text):
    settings = []
    with suppress(MalformedFile):
        settings = reader(text)
    for setting in settings:
        assert setting.kind in (PROXY, EXEMPT, PAC, WPAD, PROGRAM, INCLUDE)
        assert setting.key
        assert setting.value or setting.kind == WPAD
        assert 0 <= setting.line <= text.count("\n") + 1
        assert "secret" not in repr(setting)


def test_every_source_has_files_or_a_program():
    assert all(bool(source.files) != bool(source.program) for source in SOURCES)
    assert all(
        pattern.startswith(("/", "~/", "$")) for source in SOURCES for all_of in source.files for pattern in all_of.split("|")
    )
