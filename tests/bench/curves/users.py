"""Cost of a login against the number of users in the file."""

from base64 import b64encode
from pathlib import Path

from tests.bench.curves.sweep import Sweep
from tests.bench.samples import proxies
from tests.bench.samples.proxies import Command, Proxy, Recipe
from tests.bench.workshop import Workshop
from tunnelctl.server.access.users import hash_password

USERS = (10, 100, 1_000, 10_000, 100_000)
PASSWORD = "secret"


def field(number: int) -> str:
    return f"Proxy-Authorization: Basic {b64encode(f'user{number}:{PASSWORD}'.encode()).decode()}"


def with_users(count: int, stored: str) -> Recipe:
    """stored: what follows the name; the same for all, since 100,000 hashes of scrypt take hours"""

    def recipe(workshop: Workshop, directory: Path) -> Command:
        file = directory / "users"
        file.write_text("".join(f"user{number}:{stored}\n" for number in range(count)))
        return proxies.tunnelctl(workshop, directory, "--users", str(file))

    return recipe


def measure(sweep: Sweep) -> None:
    stored = hash_password("user", PASSWORD).partition(":")[2]
    for _ in sweep.rounds("users"):
        for count in USERS:
            last = field(count - 1)

            def log_in(workshop: Workshop, proxy: Proxy, last: str = last, count: int = count) -> None:
                """The first login, which is hashed; later ones are remembered."""
                sweep.add(proxies.OURS, count, login_ms=workshop.sample("rate", proxy.port, 1, 1, 0, last)["seconds"] * 1e3)
                workshop.sample("rate", proxy.port, proxies.WARM_UP, 8, 0, last)

            with sweep.excused(proxies.OURS, count), sweep.fresh(proxies.OURS, with_users(count, stored), log_in) as (proxy, start):
                sweep.add(proxies.OURS, count, start_ms=start * 1e3, rss_mib=proxy.rss_kib() / 1024)
                sweep.point(proxies.OURS, count, proxy, 0, last)
