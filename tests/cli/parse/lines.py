"""Command lines for the property tests of the parsers."""

from collections.abc import Sequence

from hypothesis import strategies as st

from tunnelctl.cli.spec.flag import CHOICE, COUNT, LEVEL, SECONDS, Flag

NUMBERS = st.one_of(
    st.integers(0, 10**9 - 1).map(str),
    st.decimals(0, 999, places=3).map(str),
    st.sampled_from(["nan", "inf", "-1", "+1", "1e3", "1_0", "", " 1", "٣", "1.", "9" * 400]),
)
TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from(["http://p:1", "direct", "A: b", "x=y", "-", "--", "-v", "--json", "\udcff", "\x1b"])
)
WORDS = st.one_of(st.sampled_from(["host", "22", "host:22", "[::1]:22", "::1", "connect", "0", "-", "--", ""]), st.text(max_size=5))


def values(flag: Flag) -> st.SearchStrategy[str]:
    if flag.kind == CHOICE:
        return st.one_of(st.sampled_from(flag.choices), TEXTS)
    return NUMBERS if flag.kind in (SECONDS, COUNT) else TEXTS


def spelled(flag: Flag) -> st.SearchStrategy[list[str]]:
    """Every form of a flag, valid or not."""
    bare = st.sampled_from(flag.spellings).map(lambda s: [s])
    attached = st.tuples(st.sampled_from(flag.spellings), st.sampled_from(["", "="]), values(flag)).map(lambda t: ["".join(t)])
    apart = st.tuples(st.sampled_from(flag.spellings), values(flag)).map(list)
    return st.one_of(bare, attached, apart)


def anything(flags: Sequence[Flag]) -> st.SearchStrategy[list[str]]:
    """Parts of a line with these flags, valid or not."""
    words = WORDS.map(lambda w: [w])
    unusual = st.sampled_from([["-vv"], ["-4v"], ["-h"], ["--nope"], ["-vx", "a"]])
    return st.one_of(*([st.sampled_from(flags).flatmap(spelled)] if flags else []), words, unusual)


def plain(flag: Flag) -> st.SearchStrategy[list[str]]:
    """The plain valid forms of a flag."""
    if not flag.takes_value:
        return st.sampled_from([[s] for s in flag.spellings] + ([["-vv"]] if flag.kind == LEVEL else []))
    if flag.kind in (SECONDS, COUNT):
        texts = st.integers(0, 10**9 - 1).map(str)
    elif flag.kind == CHOICE:
        texts = st.sampled_from(flag.choices)
    else:
        texts = st.text(min_size=1, max_size=8).filter(lambda t: t.isprintable() and t[0] != "-")
    apart = st.tuples(st.sampled_from(flag.spellings), texts).map(list)
    return st.one_of(apart, *([texts.map(lambda t: [f"--{flag.name}={t}"])] if flag.name else []))
