"""V7: a rule on a name applies to every spelling of that name, and to no other name."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security import everywhere
from tests.server.harness import Names, Proxy, dialled
from tunnelctl.errors import AddressError
from tunnelctl.proto.address import parse_authority

PUBLIC = "198.41.0.4"


def statuses(monkeypatch: pytest.MonkeyPatch, hosts: list[str], *allow: str, **options: object) -> dict[str, int]:
    """Status of the answer for each host on port 443; 502 means that the proxy dialled it."""
    dialled(monkeypatch)
    monkeypatch.setattr("_socket.getaddrinfo", lambda host, port, *_: [(2, 1, 6, "", (PUBLIC, port))])
    with Proxy(*allow, **options) as proxy:
        return {host: proxy.refusal(f"{host}:443").status for host in hosts}


SAME = ["trusted.test", "TRUSTED.test", "Trusted.Test.", "trusted.test."]
OTHER = ["evil-trusted.test", "eviltrusted.test", "trusted.test.evil.test", "trusted", "test", "xtrusted.test", "trusted.testx"]


def test_an_allow_rule_matches_only_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = statuses(monkeypatch, [*SAME, *OTHER, "www.trusted.test"], "trusted.test:443")
    assert {host for host, status in answered.items() if status == 502} == set(SAME)


def test_a_deny_rule_matches_only_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = statuses(monkeypatch, [*SAME, *OTHER], "*:*", deny=("trusted.test:*",))
    assert {host for host, status in answered.items() if status == 403} == set(SAME)


def test_a_wildcard_rule_matches_only_subdomains(monkeypatch: pytest.MonkeyPatch) -> None:
    below = ["a.trusted.test", "A.B.Trusted.TEST."]
    answered = statuses(monkeypatch, [*SAME, *OTHER, *below], "*.trusted.test:443")
    assert {host for host, status in answered.items() if status == 502} == set(below)


@pytest.mark.peer("unshare", "ip")
def test_name_rules_over_real_sockets() -> None:
    """Each name has an address of its own with a listener, so a target allowed by mistake would be reached."""
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
def test_invalid_names_are_malformed(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert statuses(monkeypatch, [host], "*:*") == {host: 400}


def test_a_unicode_rule_matches_its_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    for rule in ("bücher.test:443", "BÜCHER.test:443", "xn--bcher-kva.test:443"):
        answered = statuses(monkeypatch, ["xn--bcher-kva.test", "XN--BCHER-KVA.test", "bucher.test"], rule)
        assert list(answered.values()) == [502, 502, 403]


def test_an_address_rule_applies_to_names_that_resolve_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deny rules on hosts apply to names only; rules on networks apply to every address, however it was obtained."""
    assert statuses(monkeypatch, ["any.test", PUBLIC], "*:*", deny=(f"{PUBLIC}:*",)) == {"any.test": 403, PUBLIC: 403}
    assert statuses(monkeypatch, ["any.test", PUBLIC], f"{PUBLIC}:*") == {"any.test": 502, PUBLIC: 502}


def test_the_order_of_rules_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    for allow in (("*:*", "a.test:*"), ("a.test:*", "*:*")):
        assert statuses(monkeypatch, ["a.test"], *allow, deny=("*.x.test:*", "a.test:*")) == {"a.test": 403}


def test_the_log_has_the_normalised_name(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, trusted_test=[[PUBLIC]])
    dialled(monkeypatch)
    with Proxy("trusted.test:443") as proxy:
        proxy.refusal("TRUSTED.Test.:443")
        assert proxy.wait_for_records(1)[0]["target"] == "trusted.test:443"


LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True)


@settings(max_examples=50)
@given(st.lists(LABELS, min_size=1, max_size=4), st.randoms())
def test_every_spelling_parses_to_the_same_name(labels: list[str], random: "object") -> None:
    name = ".".join([*labels, "test"])
    shuffled = "".join(c.upper() if random.random() < 0.5 else c for c in name)  # type: ignore[attr-defined]
    for spelling in (name, shuffled, shuffled + "."):
        assert parse_authority(f"{spelling}:1").host == name
    for spelling in (f"[{name}]", f"{name}..", f".{name}", f" {name}", f"{name} "):
        with pytest.raises(AddressError):
            parse_authority(f"{spelling}:1")


SEARCHED = """
import socket, subprocess, sys, threading
from tests.server.harness import Proxy, Trap

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.77", 53))
known = {"secret.corp.test", "one.example"}
asked = []

def serve():
    while True:
        question, client = server.recvfrom(512)
        labels, at = [], 12
        while size := question[at]:
            labels.append(question[at + 1 : at + 1 + size].decode())
            at += 1 + size
        name, kind = ".".join(labels).lower(), question[at + 1 : at + 5]
        asked.append(name)
        found = name in known and kind == b"\\0\\1\\0\\1"
        flags = b"\\x81\\x80" if name in known else b"\\x81\\x83"
        record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4\\x7f\\0\\0\\1" if found else b""
        counts = question[4:6] + (b"\\0\\1" if found else b"\\0\\0") + bytes(4)
        server.sendto(question[:2] + flags + counts + question[12 : at + 5] + record, client)

threading.Thread(target=serve, daemon=True).start()
with Trap() as trap, Proxy("127.0.0.0/8:*", "*:*", deny=("*.corp.test:*",)) as proxy:
    hosts = ("secret.corp.test", "secret", "secret.", "SECRET", "secret.corp")
    print(*(proxy.refusal(f"{host}:{trap.port}").status for host in hosts))
    print(*(record["target"].rpartition(":")[0] for record in proxy.wait_for_records(5)))
policy = sys.argv[1]
for name in ("secret.corp.test", "secret", "one.example"):
    done = subprocess.run([sys.executable, "-m", "tunnelctl", "check-policy", policy, name, "443"], capture_output=True, timeout=20)
    print(done.returncode, end=" ")
print()
print(*sorted(set(asked)))
"""


@pytest.mark.peer("unshare", "ip")
def test_h5_a_search_list_does_not_bypass_rules(tmp_path: Path) -> None:
    """Hosts get one from DHCP, and pods have three with ndots:5: a short name would reach a target denied by its long name."""
    (tmp_path / "resolv.conf").write_text("search corp.test test\noptions ndots:5\nnameserver 127.0.0.77\n")
    script = f'ip link set lo up && mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec "$@"'
    (tmp_path / "policy.toml").write_text('[[allow]]\ntargets = ["127.0.0.0/8:*"]\n[[deny]]\ntargets = ["*.corp.test:*"]\n')
    command = ["unshare", "-rmn", "sh", "-c", script, "sh", sys.executable, "-c", SEARCHED, str(tmp_path / "policy.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    statuses, logged, judged, asked = done.stdout.splitlines()
    assert statuses == "403 502 502 502 502", done.stderr
    assert logged == "secret.corp.test secret secret secret secret.corp"
    assert judged == "69 68 0 ", "check-policy looks names up as serve does"
    assert asked == "one.example secret secret.corp"
