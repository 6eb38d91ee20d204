"""V8: a port is a number from 1 to 65535 in plain digits; S2."""

import pytest

from tests.server.harness import Proxy, Trap, dialled

WRONG = [
    "0", "00", "65536", "65979", "4294967739", "-1", "+443", " 443", "0443", "443x", "", "x", "443 ", "4_4_3", "0x1bb", "443,80",
    "443:80", "99999999999999999999", "18446744073709551616", "1e3", "443.0", "%34%34%33",
]  # fmt: skip


@pytest.mark.parametrize("port", WRONG)
def test_an_invalid_port_is_malformed(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = dialled(monkeypatch)
    with Proxy("*:*") as proxy:
        assert proxy.refusal(f"198.41.0.4:{port}").status == 400
        assert proxy.refusal(f"[2606:4700::1]:{port}").status == 400
        assert proxy.refusal(f"host.test:{port}").status == 400
    assert noted == []


@pytest.mark.parametrize("digits", ["٤٤٣", "４４３", "४४३", "⁴⁴³"])
def test_digits_of_other_scripts_are_malformed(digits: str) -> None:
    with Proxy("*:*") as proxy:
        target = b"198.41.0.4:" + digits.encode()
        assert proxy.ask(b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n\r\n").status == 400


@pytest.mark.parametrize("target", ["198.41.0.4", "host.test", "[2606:4700::1]", "2606:4700::1", "2606:4700::1:443", ":443", "443"])
def test_a_missing_port_is_malformed(target: str) -> None:
    with Proxy("*:*") as proxy:
        assert proxy.refusal(target).status == 400


@pytest.mark.parametrize("port", ["1", "443", "65535"])
def test_valid_ports_are_dialled(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = dialled(monkeypatch)
    with Proxy("*:*") as proxy:
        assert proxy.refusal(f"198.41.0.4:{port}").status == 502
    assert noted == ["198.41.0.4"]


def test_port_numbers_do_not_wrap_around() -> None:
    with Trap() as trap, Proxy() as proxy:
        for wrapped in (trap.port + 65536, trap.port + 2**32, trap.port - 65536):
            assert proxy.refusal(f"127.0.0.1:{wrapped}").status == 400


@pytest.mark.parametrize(("port", "status"), [(21, 403), (22, 502), (80, 502), (81, 403), (8000, 502), (8080, 502), (8081, 403)])
def test_rules_limit_ports(port: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dialled(monkeypatch)
    with Proxy("198.41.0.4:22", "198.41.0.4:80", "198.41.0.4:8000-8080") as proxy:
        assert proxy.refusal(f"198.41.0.4:{port}").status == status
