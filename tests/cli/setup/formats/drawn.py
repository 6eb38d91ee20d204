"""Settings drawn at random, for the property that holds for every format: what was rendered is read back, or has no notation."""

from collections.abc import Sequence
from contextlib import suppress

from hypothesis import strategies as st

from tunnelctl.cli.setup.formats.model import Format, Settings, Unwritable

# Whatever could end a quote, begin a comment, be expanded or be a line of its own, and anything else.
AWKWARD = st.sampled_from(
    [*"\"'\\`$%#;=:<>&!{}[]() \n\r\t\0\x1b\x85\u2028ä€😀", "%n", "${HOME}", "$(id)", "%%", "\\u0041", "//", "]]>"]
)
TEXTS = st.lists(AWKWARD | st.characters(codec="utf-8"), max_size=12).map("".join)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,7}", fullmatch=True)


def settings(*levels: Sequence[str] | st.SearchStrategy[str], values: st.SearchStrategy = TEXTS) -> st.SearchStrategy[Settings]:
    """Settings whose paths have one name of each level."""
    names = [level if isinstance(level, st.SearchStrategy) else st.sampled_from(level) for level in levels]
    return st.dictionaries(st.tuples(*(names or [NAMES])), values, min_size=1, max_size=4)


def read_back(form: Format, wanted: Settings) -> None:
    """Checks the property, also between lines that are there already, if lines can be appended."""
    with suppress(Unwritable):
        text = form.render(wanted)
        assert form.read(text) == wanted
        assert text.endswith("\n")
        assert not any(not line.isprintable() for line in text.replace("\t", "").split("\n"))
        if form.appendable:
            assert form.read(f"{form.comment} before\n\n{text}\n{form.comment} after\n") == wanted
