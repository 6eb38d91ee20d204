"""`python -m tests.control.picture` makes docs/status-page.png: the page in Chromium, of a `serve` with a dozen tunnels."""

import tempfile
from pathlib import Path

from tests.control import samples
from tests.control.site import Site
from tests.peers.browser import driven

PICTURE = Path(__file__).parents[2] / "docs" / "status-page.png"
TUNNELS = (3, 6, 9, 15, 1, 7, 27, 42, 4)


def main() -> None:
    site = Site()
    found = samples.tunnels(0)._replace(tunnels=[samples.tunnel(number) for number in TUNNELS])
    site.facts = samples.status(tunnels=len(TUNNELS), connections=14), found, samples.recent()
    try:
        with tempfile.TemporaryDirectory() as profile, driven(Path(profile)) as browser:
            tab = browser.tab(f"{site.url}?sort=received_rate&order=desc", 1280)
            end = tab.evaluate("document.querySelector('.pair').getBoundingClientRect().bottom + 12")
            tab.picture(PICTURE, end)  # without the lists of what was refused and has ended: a README has little room
    finally:
        site.close()


if __name__ == "__main__":
    main()
