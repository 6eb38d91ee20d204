"""Tests which proxies the route to a target has."""

import pytest

from tests.client.harness import CANARY, TARGET
from tunnelctl.cli.render.hints import hint_of
from tunnelctl.client.route.selection import VARIABLES, Chain, ProxySelection, select_proxies
from tunnelctl.errors import AddressError, UsageProblem


def only(route: ProxySelection) -> Chain:
    """The only chain of a route."""
    (chain,) = route.chains
    return chain


def proxies(*flags: str, **environ: str) -> list[str]:
    return [str(proxy) for proxy in only(select_proxies(TARGET, flags, environ))]


def test_flags_make_a_chain_in_their_order() -> None:
    assert proxies("http://a:1", "b:2", "http://[::1]:3/") == ["http://a:1", "http://b:2", "http://[::1]:3"]


def test_only_the_nearest_proxy_may_have_a_scope_id() -> None:
    assert proxies("[fe80::1%25lo]:1", "[fe80::1]:2") == ["http://[fe80::1%25lo]:1", "http://[fe80::1]:2"]
    assert proxies(https_proxy="[fe80::1%lo]:1") == ["http://[fe80::1%25lo]:1"]
    with pytest.raises(AddressError, match="on one machine only"):
        proxies("http://a:1", "[fe80::1%25lo]:2")


@pytest.mark.parametrize(
    ("flags", "places"),
    [
        (("direct",), []),
        (("http://a:1",), ["http://a:1"]),
        (("http://anna:s3cret@a:1", "b:2"), ["http://anna:***@a:1", "http://b:2"]),
        (("a:1,b:2", "c:3,d:4"), ["http://a:1,http://b:2", "http://c:3,http://d:4"]),
    ],
)
def test_proxies_are_listed_by_their_position_in_the_chain(flags: tuple[str, ...], places: list[str]) -> None:
    assert select_proxies(TARGET, flags, {}).proxies == places


def test_without_flags_and_variables_there_is_no_proxy() -> None:
    route = select_proxies(TARGET, (), {})
    assert route.chains == ((),)
    assert route.origin == "no proxy is configured"


@pytest.mark.parametrize("place", range(len(VARIABLES)))
def test_variables_have_a_fixed_precedence(place: int) -> None:
    """Each overrules those after it."""
    environ = {name: f"http://proxy-{name.lower().replace('_', '-')}:1" for name in VARIABLES[place:]}
    route = select_proxies(TARGET, (), environ)
    assert [str(proxy) for proxy in only(route)] == [environ[VARIABLES[place]]]
    assert route.origin == VARIABLES[place]


def test_http_proxy_is_not_used_for_tunnels() -> None:
    assert proxies(http_proxy="http://a:1", HTTP_PROXY="http://a:1") == []


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_an_ignored_http_proxy_variable_is_reported(name: str) -> None:
    route = select_proxies(TARGET, (), {name: "http://a:1", "no_proxy": "other.test"})
    assert (route.origin, route.unused) == (f"no proxy is configured: {name} is set, but ignored", name)


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        (("direct",), {}),
        (("http://b:1",), {}),
        ((), {"https_proxy": "http://b:1"}),
        ((), {"TUNNELCTL_PROXY": "direct"}),
        ((), {"http_proxy": " "}),
    ],
)
def test_an_ignored_http_proxy_is_not_reported_if_another_setting_decides(flags: tuple[str, ...], environ: dict[str, str]) -> None:
    route = select_proxies(TARGET, flags, {"http_proxy": "http://a:1", **environ})
    assert (route.unused, "http_proxy" in route.origin) == ("", False)


def test_an_ignored_http_proxy_is_not_reported_for_an_exempt_target() -> None:
    route = select_proxies(TARGET, (), {"http_proxy": "http://a:1", "no_proxy": ".test"})
    assert (route.chains, route.origin, route.unused) == (((),), "no_proxy has .test", "")


@pytest.mark.parametrize("empty", ["", " ", "\r\n"])
def test_an_empty_variable_counts_as_unset(empty: str) -> None:
    assert proxies(TUNNELCTL_PROXY=empty, https_proxy=empty, all_proxy="http://a:1") == ["http://a:1"]


@pytest.mark.parametrize("variable", VARIABLES)
def test_white_space_around_a_value_is_stripped(variable: str) -> None:
    assert proxies(**{variable: " http://a:1\r\n"}) == ["http://a:1"]
    assert proxies(**{variable: " direct\n", "ALL_PROXY": "http://b:1" if variable != "ALL_PROXY" else " direct "}) == []
    assert proxies(" http://a:1 ", " b:2") == ["http://a:1", "http://b:2"]
    assert proxies(" Direct ", https_proxy="http://a:1") == []


def test_all_proxy_as_a_desktop_sets_it() -> None:
    """GNOME sets it for every program of the session; its socks:// means SOCKS 5."""
    assert proxies(all_proxy="socks://127.0.0.1:7897/") == ["socks5://127.0.0.1:7897"]


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_proxy_overrules_every_variable(name: str) -> None:
    for variable in VARIABLES:
        route = select_proxies(TARGET, (), {variable: "http://a:1", name: "other.test, .test"})
        assert route.chains == ((),)
        assert route.origin == f"{name} has .test"


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_proxy_never_overrules_flags(name: str) -> None:
    assert proxies("http://a:1", **{name: "*"}) == ["http://a:1"]


@pytest.mark.parametrize(("lower", "origin"), [("other.test", "https_proxy"), ("", "NO_PROXY has target.test")])
def test_lower_case_no_proxy_takes_precedence(lower: str, origin: str) -> None:
    environ = {"https_proxy": "http://a:1", "no_proxy": lower, "NO_PROXY": "target.test"}
    assert select_proxies(TARGET, (), environ).origin == origin


def test_direct_as_a_flag_overrules_the_variables() -> None:
    assert proxies("direct", https_proxy="http://a:1") == []


def test_direct_as_a_variable_overrules_later_variables() -> None:
    route = select_proxies(TARGET, (), {"TUNNELCTL_PROXY": "direct", "https_proxy": "http://a:1"})
    assert (route.chains, route.origin) == (((),), "TUNNELCTL_PROXY")


@pytest.mark.parametrize("word", ["DIRECT", "Direct"])
def test_direct_is_matched_in_any_case(word: str) -> None:
    assert proxies(word, https_proxy="http://a:1") == []
    assert select_proxies(TARGET, (), {"TUNNELCTL_PROXY": word, "https_proxy": "http://a:1"}).chains == ((),)


@pytest.mark.parametrize(
    "flags",
    [
        ("direct", "http://a:1"),
        ("http://a:1", "direct"),
        ("http://a:1,direct", "http://b:1"),
        ("http://a:1", "http://b:1,direct"),
        ("DIRECT,http://a:1",),
        ("http://a:1,direct,http://b:1",),
        ("http://a:1,direct,direct",),
        ("direct,direct",),
    ],
)
def test_direct_cannot_be_part_of_a_chain_or_come_before_a_proxy(flags: tuple[str, ...]) -> None:
    with pytest.raises(UsageProblem, match="the last of a list") as caught:
        proxies(*flags)
    assert "http://proxy:3128,direct" in hint_of(caught.value)


@pytest.mark.parametrize("text", ["http://a:1,b:2,direct", " http://a:1 , b:2 , DIRECT "])
def test_direct_can_be_the_last_of_a_list(text: str) -> None:
    for route in (select_proxies(TARGET, (text,), {}), select_proxies(TARGET, (), {"https_proxy": text})):
        assert [[str(proxy) for proxy in chain] for chain in route.chains] == [["http://a:1"], ["http://b:2"], []]
        assert route.proxies == ["http://a:1,http://b:2,direct"]


@pytest.mark.parametrize(
    "url", ["ftp://a:1", "http://a:0", "http://a:1/path", "http://", "socks9://a:1", " http://a b:1", "http://http://a:1"]
)
def test_a_malformed_url_in_a_variable_is_an_error_that_names_it(url: str) -> None:
    """Connecting without the intended proxy could send to the wrong network."""
    with pytest.raises(AddressError, match=r"^https_proxy: "):
        proxies(https_proxy=url)


def test_a_malformed_url_is_no_error_if_no_proxy_exempts_the_target() -> None:
    assert proxies(https_proxy="nonsense://", no_proxy="*") == []


def test_the_error_about_a_malformed_url_does_not_show_its_password() -> None:
    for variable in VARIABLES:
        with pytest.raises(AddressError) as caught:
            proxies(**{variable: f"http://u:{CANARY}@proxy:99999"})
        assert CANARY not in str(caught.value) + hint_of(caught.value)


def test_the_repr_of_a_route_shows_no_password() -> None:
    route = select_proxies(TARGET, (f"http://u:{CANARY}@a:1", f"http://v:{CANARY}@b:2"), {})
    assert CANARY not in repr(route) + str(route)
    assert [proxy.password for proxy in only(route)] == [CANARY, CANARY]


def test_each_hop_of_a_chain_may_have_several_proxies() -> None:
    route = select_proxies(TARGET, ("http://a:1,https://b", "socks5://c"), {})
    chains = [[str(proxy) for proxy in chain] for chain in route.chains]
    assert chains == [["http://a:1", "socks5://c:1080"], ["https://b:443", "socks5://c:1080"]]


def test_a_variable_may_name_several_proxies() -> None:
    assert len(select_proxies(TARGET, (), {"https_proxy": "http://a:1,http://b:2"}).chains) == 2
