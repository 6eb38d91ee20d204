"""`python -m tests.picture` makes man/check.svg, the picture in the README, from two real runs of `tunnelctl check`.

The runs take place in namespaces of their own (unshare of util-linux), where the names in the picture resolve to this machine,
and ports 22 and 3128 are free. Only the prompt is written by hand; the times are those of the runs.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.peers.openssh import sshd
from tests.peers.process import scratch_directory
from tests.peers.program import Forward, started
from tests.peers.window import Window

PICTURE = Path(__file__).parents[1] / "man" / "check.svg"
NAMES = "127.0.0.1 localhost proxy.example.net host.example.com mail.example.com\n"
PROXY = "http://proxy.example.net:3128"
RUNS = (("host.example.com", "22"), ("mail.example.com", "25"))
RULES = ("--allow", "127.0.0.1:22", "--allow", "127.0.0.1:443")
COLUMNS = 96
INSIDE = "--inside"


def main() -> None:
    if sys.argv[1:] != [INSIDE]:
        unshare = ("unshare", "--map-root-user", "--mount", "--net")
        sys.exit(subprocess.run([*unshare, sys.executable, "-m", "tests.picture", INSIDE]).returncode)
    rename_this_machine()
    serve = ("serve", "--listen", "127.0.0.1:3128", *RULES)
    with sshd() as target, Forward("-x", "direct", "-L", f"22:127.0.0.1:{target.port}"), started(*serve) as proxy:
        assert proxy.stderr is not None
        assert proxy.stderr.readline().startswith(b"listening on ")
        draw(Text("\n\n").join(map(seen, RUNS)))


def rename_this_machine() -> None:
    """Maps the names to this machine. The mount is visible in this namespace only."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with scratch_directory() as directory:
        hosts = directory / "hosts"
        hosts.write_text(NAMES)
        subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)


def seen(target: tuple[str, str]) -> Text:
    """Returns what a terminal shows after one run."""
    words = ["check", "-x", PROXY, *target]
    with Window(*words, columns=COLUMNS, lines=60) as window:
        window.end()
        return Text.assemble((f"$ tunnelctl {' '.join(words)}\n", "bold"), window.text())


def draw(text: Text) -> None:
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(text, soft_wrap=True)
    svg = console.export_svg(title="tunnelctl check")
    # rich refers to a font on the network; the picture must load nothing.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
    PICTURE.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


if __name__ == "__main__":
    main()
