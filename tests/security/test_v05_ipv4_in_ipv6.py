"""V5: an IPv6 address that embeds an IPv4 address is judged by the embedded address, or counts as internal."""

from ipaddress import IPv4Address

import pytest

from tests.security import everywhere
from tests.server.harness import Names, Proxy, Trap, dialled

INNER = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "168.63.129.16"]
PUBLIC = "198.41.0.4"


def inverted(ip: str) -> str:
    return groups(int(IPv4Address(ip)) ^ 0xFFFFFFFF)


def groups(number: int) -> str:
    return f"{number >> 16:x}:{number & 0xFFFF:x}"


def wrapped(ip: str) -> dict[str, str]:
    inner = groups(int(IPv4Address(ip)))
    return {
        "mapped": f"::ffff:{ip}",
        "mapped, hex": f"::ffff:{inner}",
        "mapped, long": f"0:0:0:0:0:ffff:{inner}",
        "translated": f"::ffff:0:{inner}",
        "compatible": f"::{inner}",
        "NAT64": f"64:ff9b::{inner}",
        "NAT64, local": f"64:ff9b:1::{inner}",
        "6to4": f"2002:{inner}::1",
        "Teredo, server": f"2001:0:{inner}::1",
        "Teredo, client": f"2001:0:c629:4::{inverted(ip)}",
        "ISATAP, private": f"2606:4700::5efe:{inner}",
        "ISATAP, global": f"2606:4700::200:5efe:{inner}",
    }


def cases() -> list[object]:
    return [pytest.param(ip, form, id=f"{kind} of {ip}") for ip in INNER for kind, form in wrapped(ip).items()]


@pytest.mark.parametrize("ip", INNER)
def test_embedded_internal_addresses_are_refused(ip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = dialled(monkeypatch)
    with Proxy("*:*", "0.0.0.0/0:*", "[::/0]:*") as proxy:
        for kind, form in wrapped(ip).items():
            assert proxy.refusal(f"[{form}]:443").error == "destination_ip_prohibited", kind
            Names(monkeypatch, wrapped_test=[[form]])
            assert proxy.refusal("wrapped.test:443").error == "destination_ip_prohibited", kind
    assert noted == []


@pytest.mark.peer("unshare", "ip")
def test_embedded_addresses_over_real_sockets() -> None:
    """With a listener on every address, only public addresses are reached, whatever the form of embedding."""
    hosts = [f"[{form}]" for ip in INNER for form in wrapped(ip).values()]
    outcome = everywhere.ask(hosts, ("*:*", "0.0.0.0/0:*", "[::/0]:*"))
    assert {answer for answers in outcome.answers.values() for answer in answers} == {(403, "destination_ip_prohibited")}
    assert outcome.reached == []
    public = everywhere.ask([f"[{form}]" for form in wrapped(PUBLIC).values()])
    assert [answers[0][0] for answers in public.answers.values()].count(200) == len(public.reached) == 6


def test_mapped_loopback_does_not_reach_a_listener() -> None:
    with Trap() as trap, Proxy("*:*") as proxy:
        for host in ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::FFFF:127.0.0.1]", "[0::ffff:127.0.0.1]"):
            assert proxy.refusal(f"{host}:{trap.port}").error == "destination_ip_prohibited"


def test_embedded_public_addresses_allowed_by_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mapped, NAT64 and ISATAP addresses are judged by the embedded address; the others count as internal, whatever they embed."""
    noted = dialled(monkeypatch)
    with Proxy("*:*") as proxy:
        allowed = [kind for kind, form in wrapped(PUBLIC).items() if proxy.refusal(f"[{form}]:443").status == 502]
    assert allowed == ["mapped", "mapped, hex", "mapped, long", "NAT64", "ISATAP, private", "ISATAP, global"]
    assert len(noted) == len(allowed)


@pytest.mark.parametrize("rule", ["10.0.0.1:*", "10.0.0.0/8:*", "[::ffff:10.0.0.1]:*"])
@pytest.mark.parametrize("host", ["10.0.0.1", "[::ffff:10.0.0.1]", "[::ffff:a00:1]"])
def test_deny_rules_apply_to_every_spelling(rule: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = dialled(monkeypatch)
    with Proxy("10.0.0.0/8:*", "[::ffff:10.0.0.0/104]:*", deny=(rule,)) as proxy:
        assert proxy.refusal(f"{host}:22").status == 403
    assert noted == []


@pytest.mark.parametrize("host", ["[::1%1]", "[::1%25lo]", "[fe80::1%lo]", "[::1%]"])
def test_scope_ids_are_malformed(host: str) -> None:
    with Trap("::1") as trap, Proxy("*:*", "[::1]:*") as proxy:
        assert proxy.refusal(f"{host}:{trap.port}").status == 400
