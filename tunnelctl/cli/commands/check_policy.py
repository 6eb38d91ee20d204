"""`tunnelctl check-policy`: shows what `serve` would decide, and why; server.policy.rules makes the decision."""

import json
import socket
from typing import NamedTuple

from tunnelctl.cli.parse.values import read_target, wrong_words
from tunnelctl.cli.render.console import write_stdout
from tunnelctl.engine.kernel import run
from tunnelctl.engine.resolver import complete_names_only, resolve
from tunnelctl.errors import AddressError, NameNotFound, Unreachable, UsageProblem
from tunnelctl.proto.address import Address, is_ip, parse_host
from tunnelctl.server.policy.file import load_policy
from tunnelctl.server.policy.rules import Decision, Policy, client_network, explain
from tunnelctl.status import ExitStatus


class CheckOptions(NamedTuple):
    """The options of one `check-policy`."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    user: str = ""
    client: str = "127.0.0.1"
    json: bool = False


class Verdict(NamedTuple):
    """The decision on one address; `ip` is empty if the name alone decides. reasons: why the other rules do not apply"""

    ip: str
    decision: Decision
    reasons: list[tuple[str, str]]


def run_check(options: CheckOptions, words: list[str]) -> ExitStatus:
    """Prints the decision. Raises TunnelctlError if there is none."""
    if len(words) not in (2, 3):
        raise wrong_words("check-policy", "FILE HOST PORT", words)
    policy = load_policy(words[0], options.allow, options.deny)
    target = read_target(words[1:])
    if client_network(_client(options.client)) is None:
        raise UsageProblem("--client", f"`{options.client}` is not an IP address", "client-not-ip")
    verdicts = _judge(policy, options, target)
    allowed = any(verdict.decision.allowed for verdict in verdicts)
    write_stdout((_json if options.json else _text)(options, target, allowed, verdicts))
    return ExitStatus.OK if allowed else ExitStatus.REFUSED


def _client(text: str) -> str:
    try:
        return parse_host(text)
    except AddressError:
        return ""


def _judge(policy: Policy, options: CheckOptions, target: Address) -> list[Verdict]:
    """Decides as the server does: by the name alone if that suffices, otherwise for each address by itself."""
    client = _client(options.client)
    mine = policy.for_client(options.user, client)
    early = mine.before_lookup(target)
    if early is not None:
        ip = target.host if is_ip(target.host) else ""
        return [Verdict(ip, early, explain(policy, target, ip, options.user, client))]
    ips = [target.host] if is_ip(target.host) else _look_up(target)
    return [Verdict(ip, mine.judge(target, ip), explain(policy, target, ip, options.user, client)) for ip in ips]


def _look_up(target: Address) -> list[str]:
    complete_names_only()
    try:
        found = run(lambda: resolve(target.host, target.port))
    except (OSError, UnicodeError) as error:
        what = f"cannot resolve {target.host}"
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
            raise Unreachable(what, "the name service does not answer", "no-name-service") from error
        raise NameNotFound(what, "no such host", "no-address") from error
    return [address.host for address in found]


def _demands(decision: Decision) -> list[str]:
    """Describes what the open tunnel must carry, one sentence per demand."""
    told = []
    for requirement in decision.requirements:
        what = "TLS with the target as its server name" if requirement.sni else "TLS"
        told.append(f"{requirement.rule}: must carry {what}, or it is {'cut' if requirement.cut else 'recorded'}")
    return told


def _text(options: CheckOptions, target: Address, allowed: bool, verdicts: list[Verdict]) -> str:
    who = f"{options.user} at {options.client}" if options.user else options.client
    lines = [f"{'allowed' if allowed else 'refused'}: {who} to {target}"]
    for verdict in verdicts:
        decision = verdict.decision
        lines.append(f"{verdict.ip or target.host}: {'allowed' if decision.allowed else 'refused'} by: {decision.rule}")
        lines += [f"  {told}" for told in (*decision.reports, *_demands(decision))]
        lines += [f"  no match: {rule}: {reason}" for rule, reason in verdict.reasons]
    return "\n".join(lines) + "\n"


def _json(options: CheckOptions, target: Address, allowed: bool, verdicts: list[Verdict]) -> str:
    def of(verdict: Verdict) -> dict[str, object]:
        decision = verdict.decision
        return {
            "address": verdict.ip,
            "allowed": decision.allowed,
            "rule": decision.rule,
            "error": decision.refusal.error if decision.refusal is not None else "",
            "reports": list(decision.reports),
            "demands": [{"rule": d.rule, "tls": True, "sni": d.sni, "cut": d.cut} for d in decision.requirements],
            "others": [{"rule": rule, "reason": reason} for rule, reason in verdict.reasons],
        }

    facts = {"allowed": allowed, "target": str(target), "user": options.user, "client": options.client}
    return json.dumps({**facts, "addresses": [of(verdict) for verdict in verdicts]}) + "\n"
