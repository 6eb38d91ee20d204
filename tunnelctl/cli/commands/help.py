"""`tunnelctl help`: shows a manual page with man(1), or renders it as text."""

import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from tunnelctl.cli.render.console import write_stdout
from tunnelctl.cli.render.man_page import man_page
from tunnelctl.cli.spec.commands import COMMANDS
from tunnelctl.errors import UsageProblem

CHECKOUT = Path(__file__).parents[3] / "man"  # with an editable installation, whose copies can be older

MAN_TIME = 10.0  # seconds for man to say whether it can show a page


def show_page(topic: str) -> int:
    """Shows the page of a command, or of a topic with a page such as `config`; of the program if the topic is empty.

    Returns the exit status. Raises UsageProblem.
    """
    path = installed_pages().get(topic)
    if path is None:
        raise missing(topic)
    if os.isatty(1):
        man = shutil.which("man")
        if man is not None and can_show(man, path):
            return subprocess.run([man, path]).returncode
    write_stdout(man_page(path.read_text("utf-8")))
    return 0


def installed_pages() -> dict[str, Path]:
    """Returns the manual pages by topic: those of the checkout, if this is one; else those that the installer has recorded."""
    pages = list(CHECKOUT.glob("tunnelctl*.[157]"))
    if not pages:
        files = metadata.files("tunnelctl") or []
        pages = [Path(str(file.locate())) for file in files if file.parent.name in ("man1", "man5", "man7")]
    return {page.stem.removeprefix("tunnelctl").removeprefix("-"): page for page in pages if page.exists()}


def can_show(man: str, page: Path) -> bool:
    """Whether man can show a page. Minimal container images have a program of that name that only says what was removed."""
    try:
        found = subprocess.run([man, "-w", page], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=MAN_TIME, text=True)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return False
    return found.stdout.strip() == str(page)


def missing(topic: str) -> UsageProblem:
    """Returns the error for a page that is not there."""
    if topic and not any(topic == c.name for c in COMMANDS):
        from difflib import get_close_matches

        near = get_close_matches(topic, [c.name for c in COMMANDS])
        return UsageProblem("help", f"no page about {topic!a}", "no-topic", facts={"near": " or ".join(near)})
    return UsageProblem(
        "help",
        "the manual pages are not installed",
        "no-pages",
        facts={"text_help": f"tunnelctl {topic} --help".replace("  ", " ")},
    )
