"""`python -m man.source.generate`: keeps the committed manual, completions and tables of the documents equal to their source.

--write        write them into the checkout
--check        print what differs and end with status 1 if anything does
--table NAME   print the flags of a command as a Markdown table
"""

import re
import sys
from collections.abc import Callable, Iterable
from difflib import unified_diff
from pathlib import Path

from man.source.man import pages
from man.source.schema import schema
from tunnelctl.cli.render.completion import SCRIPTS
from tunnelctl.cli.render.help import left, right
from tunnelctl.cli.spec.commands import OTHERS
from tunnelctl.cli.spec.flags import flags_of

ROOT = Path(__file__).resolve().parents[2]
COMPLETIONS = {"bash": "completions/bash/tunnelctl", "zsh": "completions/zsh/_tunnelctl", "fish": "completions/fish/tunnelctl.fish"}
SCHEMA = "man/events.schema.json"


def main(argv: list[str], root: Path = ROOT) -> int:
    """Runs one command line; returns the exit status."""
    match argv:
        case ["--write"]:
            return write(root)
        case ["--check"]:
            return check(root)
        case ["--table", command] if flags_of(command):
            sys.stdout.write(table(command))
            return 0
    sys.stderr.write(__doc__ or "")
    return 2


def files(root: Path) -> dict[Path, str]:
    """Returns each generated file with the text that it must contain."""
    wanted = {root / "man" / name: text for name, text in pages().items()}
    wanted[root / SCHEMA] = schema()
    wanted.update((root / path, SCRIPTS[shell]()) for shell, path in COMPLETIONS.items())
    for page in documents(root):
        wanted[page] = fill(page.read_text("utf-8"), str(page.relative_to(root)))
    return wanted


def documents(root: Path) -> list[Path]:
    """Returns the documents in Markdown that may contain tables."""
    return [page for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if page.exists()]


def write(root: Path) -> int:
    for path, text in files(root).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


def check(root: Path) -> int:
    differs = 0
    for path, text in files(root).items():
        name = str(path.relative_to(root))
        found = path.read_text("utf-8") if path.exists() else ""
        if found != text:
            differs = 1
            lines = unified_diff(found.splitlines(), text.splitlines(), name, f"{name} (generated)", lineterm="")
            sys.stdout.write("\n".join(lines) + "\n")
    return differs


def fill(text: str, page: str) -> str:
    """Puts the tables between the markers of a page, such as `<!-- flags:connect -->` and `<!-- /flags -->`."""
    head, *parts = re.split(r"<!-- ([a-z]+)(?::([a-z-]+))? -->\n", text)
    for name, command, rest in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        mark = f"{name}:{command}" if command else name
        if name not in TABLES:
            head += f"<!-- {mark} -->\n{rest}"
            continue
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not end or (command and not flags_of(command)):
            raise SystemExit(f"{page}: the marker `<!-- {mark} -->` has no end, or no such command")
        head += f"<!-- {mark} -->\n{TABLES[name](command)}{end}{after}"
    return head


def rows(left_head: str, right_head: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Renders a Markdown table."""
    lines = (f"| {one} | {cell(other)} |" for one, other in pairs)
    return "\n".join([f"| {left_head} | {right_head} |", "|---|---|", *lines]) + "\n"


def table(command: str) -> str:
    """Renders the flags of a command as a Markdown table."""
    return rows("flag", "meaning", ((f"`{left(flag)}`", right(flag)) for flag in flags_of(command)))


def others(_: str) -> str:
    """Renders command lines of other tools, each with ours, as a Markdown table."""
    return rows("instead of", "write", ((f"`{theirs}`", f"`{ours}`") for theirs, ours in OTHERS))


TABLES: dict[str, Callable[[str], str]] = {"flags": table, "others": others}


def cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
