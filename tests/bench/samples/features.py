"""What each feature of `serve` costs: the same load with one of them at a time, then several, beside tinyproxy."""

from contextlib import ExitStack
from pathlib import Path

from tests.bench.samples.proxies import Bench, Command, Proxy, Recipe, running, tinyproxy, tinyproxy_with_log
from tests.bench.workshop import Plan, Table, Unavailable, Workshop, say

BARE, USUAL, ALL = "serve, bare", "serve, policy, log and metrics", "serve, all of them"
TINYPROXY, TINYPROXY_LOG = "tinyproxy, without a log", "tinyproxy, with its log"
RULES = 200  # of the policy file, none of which is about the target


def _serving(*options: str) -> Recipe:
    """tunnelctl with options, in which {directory} is filled in."""

    def recipe(workshop: Workshop, directory: Path) -> Command:
        script, filled = str(workshop.tunnelctl()), [option.replace("{directory}", str(directory)) for option in options]
        if "--policy" in filled:
            (directory / "policy.toml").write_text(_policy())
        return lambda port: [script, "serve", "--listen", f"127.0.0.1:{port}", "--allow", "127.0.0.0/8:*", *filled]

    return recipe


def _policy() -> str:
    denied = "\n".join(f'[[deny]]\ntargets = ["*.n{number}.example:*", "10.{number}.0.0/16:*"]' for number in range(RULES // 2))
    return f"{denied}\n"


LOG = ("--access-log", "{directory}/access.log")
METRICS = ("--admin", "unix:{directory}/admin")
POLICY = ("--policy", "{directory}/policy.toml")
CAPS = ("--max-tunnels", "9999", "--max-per-client", "9999", "--max-per-target", "9999", "--max-dials", "9999")
LIFETIME = ("--max-lifetime", "3600")
INTERIM = ("--log-interval", "60", "--log-bytes", "999999999")

RECIPES: dict[str, Recipe] = {
    BARE: _serving(),
    "+ access log": _serving(*LOG),
    "+ records of open tunnels": _serving(*LOG, *INTERIM),
    "+ metrics": _serving(*METRICS),
    f"+ policy file, {RULES} rules": _serving(*POLICY),
    "+ caps": _serving(*CAPS),
    "+ lifetime": _serving(*LIFETIME),
    USUAL: _serving(*POLICY, *LOG, *METRICS),
    ALL: _serving(*LOG, *INTERIM, *METRICS, *POLICY, *CAPS, *LIFETIME),
    TINYPROXY: tinyproxy,
    TINYPROXY_LOG: tinyproxy_with_log,
}


def measure(workshop: Workshop, plan: Plan, table: Table) -> None:
    bench = Bench(workshop, plan, table)
    with ExitStack() as stack:
        started: dict[str, Proxy] = {}
        for name in RECIPES:
            try:
                started[name] = stack.enter_context(running(workshop, name, RECIPES))
            except Unavailable as reason:
                table.missing[name] = str(reason)
        for number in range(1, plan.rounds + 1):
            say(f"features: round {number} of {plan.rounds}")
            for name, proxy in started.items():
                try:
                    bench.rate(name, proxy)
                except Unavailable as failure:
                    table.note_failure(name, "rate", failure)
                else:
                    _compare(name, table)


def _compare(name: str, table: Table) -> None:
    """The sample that was just taken over the bare one of the same round, which was the first of it."""
    bare, ours = table.samples[BARE], table.samples[name]
    table.add(name, **{f"{metric}_ratio": ours[metric][-1] / bare[metric][-1] for metric in ("tunnels_s", "tunnel_us")})
