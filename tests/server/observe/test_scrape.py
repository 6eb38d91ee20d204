"""The metrics of a real server, as Prometheus gets them."""

import os
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.peers import certificates
from tests.peers.process import free_port, wait_until
from tests.peers.program import Serve
from tests.peers.scripted import ScriptedServer, echo
from tests.server.harness import SECONDS, Proxy, basic, users_file
from tests.server.process.running import workers
from tunnelctl import __version__

Samples = dict[tuple[str, ...], float]


def scraped(port: int) -> Samples:
    """Returns the samples by name and by the values of their labels, ordered by label name."""
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS, trust_env=False)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    return {(sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value for sample in found}


@contextmanager
def administered(**options: Any) -> Iterator[tuple[Proxy, int]]:
    with Proxy(admin="127.0.0.1:0", **options) as proxy:
        yield proxy, proxy.admin_port


def test_the_server_and_its_rules(tmp_path: Path) -> None:
    before = time.time()
    policy = tmp_path / "policy"
    kinds = {"allow": ["127.0.0.1:*", "*:443"], "deny": ["bad.example:*"], "report": ["127.0.0.0/8:*"]}
    policy.write_text("".join(f"[[{kind}]]\ntargets = {targets}\n" for kind, targets in kinds.items()))
    login, users = basic("alice", "x"), users_file(tmp_path, alice="x")
    with ScriptedServer(echo) as target, administered(allow=(), policy=str(policy), users=users) as (proxy, port):
        with proxy.tunnel(target.authority, login) as client:
            assert client.echoes()
        assert proxy.refusal("bad.example:1", login).status == 403
        assert proxy.refusal("10.0.0.1:1", login).status == 403
        assert proxy.refusal("10.0.0.1:1").status == proxy.refusal("10.0.0.1:1", basic("alice", "y")).status == 407
        found = scraped(port)
    assert found["tunnelctl_build_info", platform.python_version(), __version__] == 1
    assert before - 60 < found["process_start_time_seconds",] <= time.time()
    assert found["tunnelctl_failed_logins_total",] == 1
    rules = {key[1:]: value for key, value in found.items() if key[0] == "tunnelctl_rule_decisions_total"}
    assert rules == {
        ("allow 127.0.0.1:* (line 1)", "granted"): 1,
        ("report 127.0.0.0/8:* (line 5)", "reported"): 1,
        ("deny bad.example:* (line 3)", "refused"): 1,
        ("internal address", "refused"): 1,
    }
    assert not [key for key in found if "certificate" in key[0]]


def test_the_certificate_is_that_of_the_last_reload(tmp_path: Path) -> None:
    name = ("tunnelctl_certificate_expiration_timestamp_seconds",)

    def issue(days: int) -> tuple[Path, Path]:
        return certificates.issue(tmp_path, "server", "localhost", ends=datetime.now(UTC) + timedelta(days))

    certificate, key = issue(9)
    port = free_port()
    with Serve("--tls-cert", str(certificate), "--tls-key", str(key), "--admin", f"127.0.0.1:{port}") as serve:
        assert abs(scraped(port)[name] - time.time() - 9 * 86400) < 3600
        issue(90)
        serve.process.send_signal(signal.SIGHUP)
        wait_until(lambda: scraped(port)[name] > time.time() + 80 * 86400, SECONDS, "the new certificate")


def test_a_mistake_in_a_file_a_cap_and_the_drain_are_told(tmp_path: Path) -> None:
    def told(port: int) -> dict[str, float]:
        found = scraped(port)
        return {name: found[f"tunnelctl_{name}",] for name in ("last_reload_successful", "max_tunnels", "draining")}

    def drains(port: int) -> bool:
        try:
            return told(port)["draining"] == 1
        except httpx.TransportError:  # the worker without a tunnel had accepted the connection, and has ended
            return False

    policy = tmp_path / "policy"
    rules = "[[allow]]\ntargets = ['127.0.0.1:*']\n"
    policy.write_text(rules)
    flags = "--policy", str(policy), "--max-tunnels", "7", "--admin", f"127.0.0.1:{free_port()}"
    port = int(flags[-1].rpartition(":")[2])
    with ScriptedServer(echo) as target, workers(*flags, allow=False) as serve:
        with serve.client() as client:
            client.tunnel(target.authority)
            assert told(port) == {"last_reload_successful": 1, "max_tunnels": 7, "draining": 0}
            for text, successful in (("nonsense", 0), (rules, 1)):
                policy.write_text(text)
                serve.process.send_signal(signal.SIGHUP)
                wait_until(
                    lambda now=successful: [told(port)["last_reload_successful"] for _ in range(10)] == [now] * 10,  # type: ignore[misc]
                    SECONDS,
                    "all workers",
                )
            serve.process.terminate()
            wait_until(lambda: drains(port), SECONDS, "the drain")
            assert client.echoes()


def test_no_count_falls_when_a_worker_dies() -> None:
    port, rule = free_port(), ("tunnelctl_rule_decisions_total", "allow 127.0.0.1:*", "granted")
    with ScriptedServer(echo) as target, workers("--admin", f"127.0.0.1:{port}") as serve:
        for _ in range(20):
            with serve.client() as client:
                assert client.tunnel(target.authority).echoes()
        assert scraped(port)[rule] == 20
        before = set(serve.pids())
        for victim in before:
            os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(set(serve.pids()) - before) == 2, SECONDS, "the replacements")
        wait_until(lambda: scraped(port)["tunnelctl_worker_restarts_total",] == 2, SECONDS, "an answer")
        assert scraped(port)[rule] == 20
        with serve.client() as client:
            assert client.tunnel(target.authority).echoes()
        assert scraped(port)[rule] == 21
