"""JSON, TOML and YAML, each read by a library too."""

import json
import tomllib

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.setup.formats.drawn import NAMES, TEXTS, read_back, settings
from tunnelctl.cli.setup.formats.model import Unwritable
from tunnelctl.cli.setup.formats.trees import JSON, TOML, YAML, flat

VALUES = TEXTS | st.booleans() | st.lists(TEXTS, min_size=1, max_size=3).map(tuple)


@given(settings(["one", "two"], NAMES, values=VALUES))
@pytest.mark.parametrize("form", [JSON(), TOML()], ids=lambda form: type(form).__name__)
def test_what_was_rendered_is_read_back(form, wanted):
    read_back(form, wanted)


@given(settings(["one", "two"], NAMES, values=TEXTS | st.booleans()))
def test_yaml_that_was_rendered_is_read_back(wanted):
    read_back(YAML(), wanted)


@given(settings(["one", "two"], NAMES))
@pytest.mark.parametrize(
    ("form", "library"), [(JSON(), json.loads), (TOML(), tomllib.loads), (YAML(), yaml.safe_load)], ids=["json", "toml", "yaml"]
)
def test_a_library_reads_the_same(form, library, wanted):
    try:
        text = form.render(wanted)
    except Unwritable:
        return
    assert dict(flat(library(text))) == wanted


def test_json_may_have_comments_and_trailing_commas():
    text = '{ // "a": 0,\n "a": "// no", /* "b": 1, */ "c": ["x",], "d": {"e": true, /* */ }, }'
    assert JSON().read(text) == {("a",): "// no", ("c",): ("x",), ("d", "e"): True}
    assert JSON().read("") == {}


@pytest.mark.parametrize("form", [JSON(), TOML()], ids=["json", "toml"])
@pytest.mark.parametrize("text", ["{", "a b", "[" * 100_000])
def test_a_malformed_file_is_reported(form, text):
    with pytest.raises(ValueError, match="not "):
        form.read(text)


def test_yaml_of_people_is_read():
    text = "# a: 0\na: plain # why\n'q': 1\nb:\n  c: 'it''s'\n  d: [1, 2]\n  e: \"x\\ty\"\nf: true\ng: \"open\n"
    assert YAML().read(text) == {("a",): "plain", ("b", "c"): "it's", ("b", "e"): "x\ty", ("f",): True}


def test_the_lines_of_toml():
    assert TOML().render({("a",): "1", ("t", "b"): ("x", "y")}) == 'a = "1"\n[t]\nb = [\n    "x",\n    "y",\n]\n'
