"""Cost of a tunnel against the number of rules in the policy file, and of what other proxies have in its place."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.bench.curves.sweep import Sweep
from tests.bench.samples import proxies
from tests.bench.samples.proxies import SQUID, TINYPROXY, Command, Recipe
from tests.bench.workshop import Workshop

RULES = (10, 100, 1_000, 10_000)
KNOWN = "serve, targets seen before"
NEW = "serve, each target new"
LAST = "serve, each target new, the last rule decides"
MANY = 1 << 20  # targets: more than are opened

# Hosts, domains and networks take turns, and none of them is about the target.


def host(number: int) -> str:
    return f"h{number}.example"


def domain(number: int) -> str:
    return f"*.d{number}.example"


def network(number: int) -> str:
    return f"10.{number >> 8}.{number & 255}.0/24"


KINDS: tuple[Callable[[int], str], ...] = (host, domain, network)


def others(count: int) -> list[str]:
    return [KINDS[number % 3](number) for number in range(count)]


def denying(count: int) -> Recipe:
    """Serves with so many deny rules in the file, and the one that allows on the command line."""
    return _serving([("deny", f"{other}:*") for other in others(count)], "--allow", "127.0.0.0/8:*")


def allowing_at_last(count: int) -> Recipe:
    """Serves with so many allow rules, the last of which is about the target."""
    return _serving([*(("allow", f"{other}:*") for other in others(count - 1)), ("allow", "127.0.0.0/8:*")])


def _serving(rules: list[tuple[str, str]], *options: str) -> Recipe:
    def recipe(workshop: Workshop, directory: Path) -> Command:
        file = directory / "policy.toml"
        file.write_text("".join(f'[[{kind}]]\ntargets = ["{target}"]\n' for kind, target in rules))
        words = [str(workshop.tunnelctl()), "serve", "--policy", str(file), "--access-log", str(directory / "access.log"), *options]
        return lambda port: [*words, "--listen", f"127.0.0.1:{port}"]

    return recipe


def pattern(number: int) -> str:
    """The same as a regular expression of tinyproxy."""
    kinds = (f"^h{number}\\.example$", f"\\.d{number}\\.example$", f"^10\\.{number >> 8}\\.{number & 255}\\.")
    return kinds[number % len(kinds)]


def tinyproxy(count: int) -> Recipe:
    def recipe(workshop: Workshop, directory: Path) -> Command:
        file = directory / "filter"
        file.write_text("".join(f"{pattern(number)}\n" for number in range(count)))
        settings = TINYPROXY.replace("{log}", f'LogLevel Critical\nFilter "{file}"\nFilterExtended On')
        return proxies.with_settings(settings, directory, proxies.installed("tinyproxy"), "-d", "-c")

    return recipe


SQUID_LISTS = """\
acl names dstdomain -n "{directory}/names"
acl networks dst "{directory}/networks"
http_access deny names
http_access deny networks
"""


def squid(count: int) -> Recipe:
    """Lists of names and of networks in files."""

    def recipe(workshop: Workshop, directory: Path) -> Command:
        lists: dict[str, list[str]] = {"names": [], "networks": []}
        for other in others(count):
            lists["networks" if "/" in other else "names"].append(other.removeprefix("*"))
        for name, lines in lists.items():
            (directory / name).write_text("\n".join(lines) + "\n")
        words = (proxies.installed("squid"), "-N", "-n", proxies.squid_name(), "-f")
        return proxies.with_settings(SQUID_LISTS + SQUID, directory, *words)

    return recipe


class Program(NamedTuple):
    """One that is started for each number of rules, and the curves that are measured on it, with words for the load generator."""

    recipe: Callable[[int], Recipe]
    curves: dict[str, tuple[object, ...]]


PROGRAMS = (
    Program(denying, {KNOWN: (), NEW: (MANY,)}),
    Program(allowing_at_last, {LAST: (MANY,)}),
    Program(tinyproxy, {"tinyproxy, Filter": ()}),
    Program(squid, {"squid, acl": ()}),
)


def measure(sweep: Sweep) -> None:
    for _ in sweep.rounds("rules"):
        for count in RULES:
            for recipe, curves in PROGRAMS:
                first = next(iter(curves))
                with sweep.excused(first, count), sweep.fresh(first, recipe(count)) as (proxy, start):
                    sweep.add(first, count, start_ms=start * 1e3, rss_mib=proxy.rss_kib() / 1024)
                    for name, words in curves.items():
                        sweep.point(name, count, proxy, *words)
