"""V7: a rule on a name holds for every spelling of that name, and for no other name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security import everywhere
from tests.server.harness import Names, Proxy, dialled
from tunnelctl.errors import AddressError
from tunnelctl.proto.address import parse_authority

PUBLIC = "198.41.0.4"


def statuses(monkeypatch: pytest.MonkeyPatch, hosts: list[str], *allow: str, **options: object) -> dict[str, int]:
    """What is answered for each host on port 443; 502 stands for "was dialled"."""
    dialled(monkeypatch)
    monkeypatch.setattr("socket.getaddrinfo", lambda host, port, *_: [(2, 1, 6, "", (PUBLIC, port))])
    with Proxy(*allow, **options) as proxy:
        return {host: proxy.refusal(f"{host}:443").status for host in hosts}


SAME = ["trusted.test", "TRUSTED.test", "Trusted.Test.", "trusted.test."]
OTHER = ["evil-trusted.test", "eviltrusted.test", "trusted.test.evil.test", "trusted", "test", "xtrusted.test", "trusted.testx"]


def test_an_allowed_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = statuses(monkeypatch, [*SAME, *OTHER, "www.trusted.test"], "trusted.test:443")
    assert {host for host, status in answered.items() if status == 502} == set(SAME)


def test_a_denied_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = statuses(monkeypatch, [*SAME, *OTHER], "*:*", deny=("trusted.test:*",))
    assert {host for host, status in answered.items() if status == 403} == set(SAME)


def test_names_below_a_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    below = ["a.trusted.test", "A.B.Trusted.TEST."]
    answered = statuses(monkeypatch, [*SAME, *OTHER, *below], "*.trusted.test:443")
    assert {host for host, status in answered.items() if status == 502} == set(below)


@pytest.mark.peer("unshare", "ip")
def test_over_real_sockets_where_every_name_leads_to_a_listener() -> None:
    """Whatever a rule lets through by mistake would be reached: each name has an address of its own."""
    below = ["a.trusted.test", "A.B.Trusted.TEST."]
    hosts = [*SAME, *OTHER, *below]
    found = {host: f"198.41.0.{number}" for number, host in enumerate({host.lower().removesuffix(".") for host in hosts}, 1)}
    names = {host.replace(".", "_"): [[ip]] for host, ip in found.items()}

    def reached(rules: list[str], deny: list[str]) -> set[str]:
        outcome = everywhere.ask(hosts, rules, deny, names)
        by_ip = {ip: host for host, ip in found.items()}
        assert all(answers[0][0] in (200, 403) for answers in outcome.answers.values())
        return {by_ip[ip] for ip in outcome.reached}

    assert reached(["trusted.test:*"], []) == {"trusted.test"}
    assert reached(["*.trusted.test:*"], []) == {"a.trusted.test", "a.b.trusted.test"}
    assert reached(["*:*"], ["trusted.test:*", "*.trusted.test:*"]) == set(OTHER)


@pytest.mark.parametrize(
    "host",
    ["[trusted.test]", "trusted..test", ".trusted.test", "trusted.test..", "trusted.test,evil.test", "trusted.test%00",
     "trusted.test/",
     "trusted.test#", "trusted.test?", "user@trusted.test", "trusted.test\\evil", "http://trusted.test", "*.trusted.test", "*",
     "-a.test"],
)  # fmt: skip
def test_what_is_no_name(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert statuses(monkeypatch, [host], "*:*") == {host: 400}


def test_a_rule_in_letters_of_another_script_is_the_rule_for_its_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    for rule in ("bücher.test:443", "BÜCHER.test:443", "xn--bcher-kva.test:443"):
        answered = statuses(monkeypatch, ["xn--bcher-kva.test", "XN--BCHER-KVA.test", "bucher.test"], rule)
        assert list(answered.values()) == [502, 502, 403]


def test_a_rule_on_an_address_holds_for_names_that_lead_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deny rules on hosts bind names only; rules on networks bind every address, however it was arrived at."""
    assert statuses(monkeypatch, ["any.test", PUBLIC], "*:*", deny=(f"{PUBLIC}:*",)) == {"any.test": 403, PUBLIC: 403}
    assert statuses(monkeypatch, ["any.test", PUBLIC], f"{PUBLIC}:*") == {"any.test": 502, PUBLIC: 502}


def test_the_order_of_rules_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    for allow in (("*:*", "a.test:*"), ("a.test:*", "*:*")):
        assert statuses(monkeypatch, ["a.test"], *allow, deny=("*.x.test:*", "a.test:*")) == {"a.test": 403}


def test_the_log_has_the_name_as_it_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, trusted_test=[[PUBLIC]])
    dialled(monkeypatch)
    with Proxy("trusted.test:443") as proxy:
        proxy.refusal("TRUSTED.Test.:443")
        assert proxy.wait_for_records(1)[0]["target"] == "trusted.test:443"


LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True)


@settings(max_examples=50)
@given(st.lists(LABELS, min_size=1, max_size=4), st.randoms())
def test_every_spelling_of_a_name_is_one_name(labels: list[str], random: "object") -> None:
    name = ".".join([*labels, "test"])
    shuffled = "".join(c.upper() if random.random() < 0.5 else c for c in name)  # type: ignore[attr-defined]
    for spelling in (name, shuffled, shuffled + "."):
        assert parse_authority(f"{spelling}:1").host == name
    for spelling in (f"[{name}]", f"{name}..", f".{name}", f" {name}", f"{name} "):
        with pytest.raises(AddressError):
            parse_authority(f"{spelling}:1")
