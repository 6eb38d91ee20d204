"""`python -m tunnelctl.cli.reference`: keeps the committed manual, completions and README tables equal to their source.

--write        write them into the checkout
--check        print what differs and end with status 1 if anything does
--table NAME   print the flags of a command as a Markdown table
"""

import sys
from difflib import unified_diff
from pathlib import Path

from tunnelctl.cli.commands import OTHERS
from tunnelctl.cli.flags import flags_of
from tunnelctl.cli.man import pages
from tunnelctl.cli.shells import SCRIPTS
from tunnelctl.cli.usage import left, right

ROOT = Path(__file__).resolve().parents[2]
COMPLETIONS = {"bash": "completions/bash/tunnelctl", "zsh": "completions/zsh/_tunnelctl", "fish": "completions/fish/tunnelctl.fish"}
END = "<!-- /flags -->"
OTHERS_BEGIN, OTHERS_END = "<!-- others -->\n", "<!-- /others -->\n"


def main(argv: list[str], root: Path = ROOT) -> int:
    """Returns the exit status."""
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
    """Each generated file and what it must contain."""
    wanted = {root / "man" / name: text for name, text in pages().items()}
    wanted.update((root / path, SCRIPTS[shell]()) for shell, path in COMPLETIONS.items())
    readme = root / "README.md"
    if readme.exists():
        wanted[readme] = fill(readme.read_text("utf-8"))
    return wanted


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


def fill(text: str) -> str:
    """Put the tables between the README's markers, `<!-- flags:NAME -->` and `<!-- /flags -->`, and those of the other tools."""
    if OTHERS_BEGIN in text:
        before, _, rest = text.partition(OTHERS_BEGIN)
        text = f"{before}{OTHERS_BEGIN}{others()}{OTHERS_END}{rest.partition(OTHERS_END)[2]}"
    head, *parts = text.split("<!-- flags:")
    for part in parts:
        command, _, rest = part.partition(" -->")
        _, end, after = rest.partition(END)
        if not end or not flags_of(command):
            raise SystemExit(f"README.md: the marker `<!-- flags:{command} -->` has no end, or no such command")
        head += f"<!-- flags:{command} -->\n{table(command)}{END}{after}"
    return head


def table(command: str) -> str:
    """The flags of a command as a Markdown table."""
    rows = [f"| `{left(flag)}` | {cell(right(flag))} |" for flag in flags_of(command)]
    return "\n".join(["| flag | meaning |", "|---|---|", *rows]) + "\n"


def others() -> str:
    """Lines of other tools, and ours, as a Markdown table."""
    rows = [f"| `{theirs}` | `{ours}` |" for theirs, ours in OTHERS]
    return "\n".join(["| instead of | write |", "|---|---|", *rows]) + "\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
