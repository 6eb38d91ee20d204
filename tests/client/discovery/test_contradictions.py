"""Findings about settings, and about results."""

import pytest

from tunnelctl.cli.render.hints import in_words
from tunnelctl.client.check.diagnosis import FINDINGS, Diagnosis
from tunnelctl.client.check.events import Finding
from tunnelctl.client.discovery.candidates import Candidate, candidates
from tunnelctl.client.discovery.contradictions import MOST_LISTED, Unasked, of_results, of_settings
from tunnelctl.client.discovery.readers.variables import read_environ
from tunnelctl.client.discovery.settings.gather import ENVIRONMENT
from tunnelctl.client.discovery.settings.setting import PROXY, Found, Setting
from tunnelctl.client.discovery.trial import INTERCEPTED, PRIVATE, Attempt, Result, TLSInside
from tunnelctl.errors import AuthenticationFailed, MalformedAnswer, NameNotFound, Refused, SpeaksTLS, TunnelctlError, Unreachable
from tunnelctl.events import Explained
from tunnelctl.proto.address import Address
from tunnelctl.proto.proxy_url import parse_proxy_url

WEB, SSH = Address("h", 443), Address("h", 22)


def variables(**values: str) -> list[Found]:
    return [Found(ENVIRONMENT, "", setting) for setting in read_environ(values)]


def of(tool: str, key: str, url: str, scope: str = "") -> Found:
    return Found(tool, f"~/{tool}", Setting(PROXY, key, (url,), 1, scope))


def findings(*found: Found) -> list[tuple[str, str]]:
    return [(one.name, one.text) for one in of_settings(found, candidates(found)[1])]


def hint(finding: Diagnosis) -> str:
    event = Explained(Finding(finding.name, finding.text, ""), finding.error, finding.facts)
    return str(in_words(event)[1]["hint"])


def test_a_machine_without_contradictions():
    found = variables(https_proxy="http://p:1", HTTPS_PROXY="http://p:1", http_proxy="http://p:1", no_proxy="a")
    assert findings(*found, of("git", "http.proxy", "p:1"), of("ssh", "ProxyCommand", "q:1", "Host x")) == []
    assert findings() == []


def test_values_that_differ_by_case():
    names = [
        text.partition(":")[0] for _, text in findings(*variables(https_proxy="p:1", HTTPS_PROXY="q:1", no_proxy="a", NO_PROXY="b"))
    ]
    assert names == ["https_proxy and HTTPS_PROXY differ", "no_proxy and NO_PROXY differ"]


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY"])
def test_only_http_proxy(name):
    ((code, _),) = findings(*variables(**{name: "http://p:1"}))
    assert code == "only-http-proxy"
    (finding,) = of_settings(variables(**{name: "http://p:1"}), [])
    assert hint(finding) == f'if that proxy opens tunnels: export https_proxy="${name}"'
    assert findings(*variables(**{name: "http://p:1", "ALL_PROXY": "http://p:1"})) == []


def test_https_proxy_of_git_does_not_exist():
    assert [name for name, _ in findings(of("git", "https.proxy", "p:1"))] == ["ignored-by-git"]


@pytest.mark.parametrize(
    ("url", "lacks"),
    [
        ("http://p", True),
        ("p/", True),
        ("http://p:80", False),
        ("https://p", True),
        ("socks5://p", False),
        ("http://[::1]", True),
        ("http://a:80@p", True),
    ],
)
def test_a_url_without_a_port(url, lacks):
    assert [name for name, _ in findings(of("apt", "k", url))] == ["port-missing"] * lacks


def test_a_value_that_is_no_url():
    ((name, text),) = findings(of("curl", "proxy", "http://a:secret b"))
    assert (name, text) == ("setting-malformed", "curl proxy (~/curl, line 1): it is not the URL of a proxy")


def test_another_proxy_than_that_of_the_environment():
    found = [of("git", "http.proxy", "q:1"), *variables(https_proxy="http://p:1"), of("git", "remote.o.proxy", "r:1", "o")]
    assert findings(*found) == [("proxies-differ", "https_proxy names p:1, but git http.proxy (~/git, line 1) names q:1")]
    assert findings(of("apt", "a", "p:1"), of("npm", "b", "q:1"))[0][1].startswith("apt a (~/apt, line 1) names p:1, but npm b")
    assert findings(of("GNOME", "socks", "socks5://q:1"), of("npm", "b", "p:1")) == []


def test_many_differences_are_one_finding():
    many = [of("npm", str(n), f"p:{n + 1}") for n in range(9)]
    ((_, text),) = findings(*variables(https_proxy="q:1"), *many, of("npm", "again", "p:1"))
    assert text.startswith("https_proxy names q:1, but npm 0 (~/npm, line 1) names p:1, npm 1 ")
    assert text.count(" names p:") == MOST_LISTED
    assert text.endswith("names p:6, and 3 others differ too")


# --- results

PROXY_P = Candidate((parse_proxy_url("http://a:secret@p:1"),), (of("git", "http.proxy", "http://a:secret@p:1"),))
NONE = Candidate(())


UNSEEN = TLSInside()
UNASKED = Unasked()


def result(candidate: Candidate, *errors: TunnelctlError | None, ended: str = "", tls: TLSInside = UNSEEN) -> Result:
    attempts = tuple(Attempt(target, 0.1, error, ended) for target, error in zip((WEB, SSH), errors, strict=False))
    return Result(candidate, attempts, "none", (), tls)


def told(*results: Result, selected: Candidate = NONE, unasked: Unasked = UNASKED) -> list[tuple[str, str, str]]:
    found = list(of_results(results, selected.chain, unasked))
    assert {one.name for one in found} <= set(FINDINGS)
    return [(one.name, one.text, hint(one)) for one in found]


DIRECT = result(NONE, None, None)
STUCK = result(NONE, Unreachable("x", "no route to host", "unreachable"), None)


def test_nothing_is_found_about_a_proxy_that_works():
    assert told(DIRECT, result(PROXY_P, None, None), selected=PROXY_P) == []


def test_a_proxy_that_works_and_is_unknown_to_tunnelctl():
    text = "http://a:***@p:1 works, but no setting that tunnelctl obeys names it"
    assert told(STUCK, result(PROXY_P, None, None)) == [("unknown-to-tunnelctl", text, "export TUNNELCTL_PROXY=http://p:1")]
    chain = Candidate(PROXY_P.chain * 2)
    assert told(STUCK, result(chain, None, None))[0][2] == "give it with -x URL, once for each proxy of the chain"
    assert told(DIRECT, result(PROXY_P, None, None)) == []


def test_no_proxy_is_named():
    assert told(DIRECT)[0][1:] == (
        "no setting on this machine names a proxy, and connections work without one",
        "no proxy is needed",
    )


@pytest.mark.parametrize(("wpad", "tail"), [(False, ""), (True, "; `tunnelctl check --wpad` asks the network")])
def test_the_hint_proposes_wpad_only_where_it_would_do_something(wpad, tail):
    (found,) = told(STUCK, unasked=Unasked(wpad=wpad))
    assert found[2] == f"ask who runs this network for its proxy, and give it with -x URL{tail}"
    assert told(DIRECT, unasked=Unasked(wpad=wpad))[0][2] == "no proxy is needed"


def test_a_proxy_that_cannot_resolve_public_names():
    """The user has typed none, so spelling is no matter."""
    error = coded(NameNotFound, 502, "name-unknown-to-proxy")
    assert told(DIRECT, result(PROXY_P, error))[0] == (
        "name-not-found",
        "proxy p:1: 502 No",
        "this proxy cannot resolve public names: name an internal host with --target HOST:443",
    )
    spelled = "the proxy cannot resolve that name; is it spelled right?"
    assert told(DIRECT, result(PROXY_P, error), unasked=Unasked(targets=False))[0][2] == spelled
    chain = Candidate(PROXY_P.chain * 2)  # the name may be that of its second proxy
    assert told(DIRECT, result(chain, error))[0][2] == spelled


def test_a_setting_whose_proxy_is_gone():
    error = Unreachable("connecting", "connection refused", "unreachable")
    (found,) = told(DIRECT, result(PROXY_P, error))
    assert found[:2] == (
        "dead-setting",
        "git http.proxy (~/git, line 1) names http://a:***@p:1, which gives no tunnel: connection refused",
    )


def coded(kind: type[TunnelctlError], code: int, name: str = "refused") -> TunnelctlError:
    return kind("proxy p:1", f"{code} No", name, detail={"code": code})


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (coded(Refused, 403), "refused"),
        (coded(Refused, 302), "captive-portal"),
        (coded(AuthenticationFailed, 407, "login-missing"), "login-wanted"),
        (SpeaksTLS("proxy p:1", "it speaks TLS", "speaks-tls", facts={"peer": "p:1"}), "tls-wanted"),
        (MalformedAnswer("proxy p:1", "not HTTP", "not-http"), "not-a-proxy"),
    ],
)
def test_a_proxy_that_opens_no_tunnel(error, name):
    assert [found[0] for found in told(DIRECT, result(PROXY_P, error))] == [name]


def test_a_socks_proxy_under_an_http_url():
    error = MalformedAnswer("proxy p:1", "SOCKS", "socks5-proxy")
    error.proxy = "p:1"
    assert told(DIRECT, result(PROXY_P, error))[0][0] == "other-protocol"


def test_a_tunnel_that_ends_at_once():
    assert told(DIRECT, result(PROXY_P, None, ended="gone"))[0][:2] == ("target-left", "http://a:***@p:1: gone")


def test_a_port_that_is_refused():
    ((name, text, _),) = told(DIRECT, result(PROXY_P, None, coded(Refused, 403)), selected=PROXY_P)
    assert (name, text) == ("port-refused", "http://a:***@p:1 refuses port 22, and lets 443 pass")
    assert told(DIRECT, result(PROXY_P, None, coded(Refused, 502)), selected=PROXY_P) == []


def test_tls_that_is_not_the_targets_own():
    ((name, text, _),) = told(DIRECT, result(PROXY_P, None, tls=TLSInside(INTERCEPTED, "X")), selected=PROXY_P)
    assert (name, text) == ("intercepted", "http://a:***@p:1 replaces certificates: that of h is by X")
    ((name, text, _),) = told(result(NONE, None, tls=TLSInside(PRIVATE, "X")), result(PROXY_P, None))
    assert (name, text) == ("certificate-unknown", "without a proxy, the certificate of h is by X, which is not publicly trusted")
