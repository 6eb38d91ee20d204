"""git-config(1). To read it, git itself is run: the format has continuation lines, escapes and subsections."""

import subprocess
from dataclasses import dataclass

from tunnelctl.cli.commands.git_config import GIT_SECONDS, git_quote
from tunnelctl.cli.setup.formats.model import Path, Settings, Value, text_of


@dataclass(frozen=True)
class GitConfig:
    """`[SECTION "SUBSECTION"]` with lines `KEY = "VALUE"`. A path is section, subsection or "", and key."""

    comment: str = "#"
    appendable: bool = True  # a section may occur twice

    def render(self, settings: Settings) -> str:
        lines, last = "", ("", "")
        for (section, subsection, key), value in settings.items():
            if (section, subsection) != last:
                lines += f"[{section}{subsection and f' {git_quote(text_of(subsection))}'}]\n"
            lines += f"\t{key} = {git_quote(text_of(value))}\n"
            last = (section, subsection)
        return lines

    def read(self, text: str) -> Settings:
        """Raises ValueError if git cannot read it, or if there is no git."""
        words = ["git", "config", "--file", "-", "--null", "--list"]
        try:
            done = subprocess.run(words, input=text.encode(), capture_output=True, timeout=GIT_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ValueError("git does not run") from error
        if done.returncode:
            raise ValueError("git cannot read it")
        found: dict[Path, Value] = {}
        for entry in done.stdout.decode(errors="replace").split("\0")[:-1]:
            name, _, value = entry.partition("\n")
            section, _, rest = name.partition(".")
            subsection, _, key = rest.rpartition(".")
            found[section, subsection, key] = value
        return found
