"""Typing TAB in the three shells: each line is completed, then run, and a function shows the words that it received."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pexpect
import pyte
import pytest

from man.source.generate import COMPLETIONS, ROOT
from tests.peers.instances import mute
from tests.peers.process import path_of, scratch_directory, wait_until
from tunnelctl.cli.render.completion import bare
from tunnelctl.cli.spec.commands import COMMANDS, SHELLS
from tunnelctl.cli.spec.flags import flags_of

SECONDS = 20
PROMPT = "ready> "

# Each shell starts without its configuration. It finds the committed script as in an installation, where the shell supports that,
# and has `tunnelctl` as a function that shows its words: completion must not need the program.
START = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}
SETUP = {
    "bash": [
        "bind 'set enable-bracketed-paste off'",
        "source '{script}'",
        'tunnelctl() {{ printf "<%s>" "$@"; echo; }}',
        "PS1='{prompt}'",
    ],
    "zsh": [
        "unsetopt zle_bracketed_paste prompt_cr prompt_sp; setopt no_beep",
        "fpath=('{directory}' $fpath); autoload -Uz compinit; compinit -u -D",
        'tunnelctl() {{ printf "<%s>" "$@"; echo; }}',
        "PS1='{prompt}'",
    ],
    "fish": [
        "set -g fish_complete_path '{directory}'; set -g fish_greeting; set -g fish_autosuggestion_enabled 0",
        "function tunnelctl; printf '<%s>' $argv; echo; end",
        "function fish_prompt; printf '%s' '{prompt}'; end",
    ],
}


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", "LC_ALL": "C.UTF-8", "XDG_CONFIG_HOME": str(home)}


class Typist:
    """A user at a shell."""

    def __init__(self, shell: str, home: Path, dimensions: tuple[int, int] = (40, 200)) -> None:
        self.child = pexpect.spawn(
            path_of(shell), START[shell], cwd=home, env=environment(home), timeout=SECONDS, encoding="utf-8", dimensions=dimensions
        )
        self.child.delaybeforesend = None
        script = ROOT / COMPLETIONS[shell]
        for line in SETUP[shell]:
            self.child.sendline(line.format(script=script, directory=script.parent, prompt=PROMPT))
        self.child.sendline("echo set'' up")  # the quotes keep the echo of the typed line from being mistaken for the output
        self.child.expect_exact("set up")

    def __enter__(self) -> "Typist":
        return self

    def __exit__(self, *failure: object) -> None:
        self.child.close(force=True)

    def words(self, typed: str) -> list[str]:
        """Returns the words that reach tunnelctl when this is typed; \\t is the TAB key."""
        for part in re.split("(\t)", f"tunnelctl {typed}"):
            self.child.send(part)
        self.child.send(" done\r")
        self.child.expect(r"((?:<[^<>\r\n]*>)*)<done>")
        return re.findall("<([^<>]*)>", self.child.match[1])


@pytest.fixture(params=[pytest.param(shell, marks=pytest.mark.peer(shell)) for shell in SHELLS])
def typist(request, tmp_path) -> Iterator[Typist]:
    (tmp_path / "users.txt").touch()
    (tmp_path / "with:colon.txt").touch()
    with Typist(request.param, tmp_path) as someone:
        yield someone


def test_tab_completes_commands_flags_and_values(typist):
    assert typist.words("conn\t") == ["connect"]
    assert typist.words("ha\t") == ["hash-password"]
    assert typist.words("completion fi\t") == ["completion", "fish"]
    assert typist.words("connect --proxy-pa\t") == ["connect", "--proxy-password-file"]
    assert typist.words("connect host 22 --fd\t") == ["connect", "host", "22", "--fdpass"]
    assert typist.words("serve --half\t") in (["serve", "--half-close-timeout"], ["serve", "--half-close-timeout="])
    assert typist.words("serve --users us\t") == ["serve", "--users", "users.txt"]
    assert typist.words("connect -x dir\t") == ["connect", "-x", "direct"]
    assert typist.words("connect --proxy dir\t") == ["connect", "--proxy", "direct"]


def test_tab_completes_values_with_colons(typist):
    """bash splits words at colons; an incomplete URL gets no blank after it."""
    assert typist.words("connect -x so\tp:3128") == ["connect", "-x", "socks5://p:3128"]
    assert typist.words("connect -x http:\tp:3128") == ["connect", "-x", "http://p:3128"]
    assert typist.words("connect -x http:/\tp:3128") == ["connect", "-x", "http://p:3128"]
    assert typist.words("connect -x http://p:3128 --fd\t") == ["connect", "-x", "http://p:3128", "--fdpass"]
    assert typist.words("connect '[::1]:22' --fd\t") == ["connect", "[::1]:22", "--fdpass"]


def test_tab_completes_values_after_an_equals_sign(typist):
    assert typist.words("connect --proxy=dir\t") == ["connect", "--proxy=direct"]
    assert typist.words("serve --users=us\t") == ["serve", "--users=users.txt"]
    assert typist.words("connect --proxy=so\tp:3128") == ["connect", "--proxy=socks5://p:3128"]


def test_tab_offers_no_file_where_none_is_expected(typist):
    assert typist.words("serve --drain us\t") == ["serve", "--drain", "us"]
    assert typist.words("connect us\t") == ["connect", "us"]


SSH_CONFIG = """\
Host alpha.example  *.pattern.example !no.example
  HostName beta.example
host=gamma.example
Match host nothing.example
Host '$(touch run)' last.example"""
KNOWN_HOSTS = """\
delta.example,192.0.2.7 ssh-ed25519 AAAA
[epsilon.example]:2222 ssh-ed25519 AAAA
@cert-authority *.zeta.example ssh-ed25519 AAAA
@revoked eta.example ssh-ed25519 AAAA
|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-ed25519 AAAA
"""


@pytest.fixture
def known(tmp_path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text(SSH_CONFIG)
    (tmp_path / ".ssh/known_hosts").write_text(KNOWN_HOSTS)


@pytest.mark.usefixtures("known")
def test_tab_completes_hosts_that_ssh_knows(typist):
    assert typist.words("connect al\t 22") == ["connect", "alpha.example", "22"]
    assert typist.words("connect -x http://p:3128 del\t") == ["connect", "-x", "http://p:3128", "delta.example"]
    assert typist.words("connect eps\t") == ["connect", "epsilon.example"]
    assert typist.words("check alp\t 22") == ["check", "alpha.example", "22"]
    assert typist.words("ssh-config al\t del\t") == ["ssh-config", "alpha.example", "delta.example"]


SETTINGS = """\
# [profiles.comment]
[defaults]
timeout = 9
[profiles.office]
proxy = "http://proxy:3128"
[ profiles . "home-2" ]
proxy = "direct"
"""


def test_tab_completes_profiles_of_the_settings_file(typist, tmp_path):
    (tmp_path / "tunnelctl").mkdir()
    (tmp_path / "tunnelctl/config.toml").write_text(SETTINGS)
    assert typist.words("connect --profile of\t") == ["connect", "--profile", "office"]
    assert typist.words("serve --profile home\t") == ["serve", "--profile", "home-2"]
    assert typist.words("connect --profile com\t") == ["connect", "--profile", "com"]


def test_tab_completes_names_of_running_processes(typist):
    with scratch_directory() as runtime, mute(runtime, "work"), mute(runtime, "north.2"):
        (runtime / "tunnelctl/plain.sock").touch()  # not a socket
        typist.child.sendline(f"export XDG_RUNTIME_DIR={runtime}")
        assert typist.words("top wo\t nor\t") == ["top", "work", "north.2"]
        assert typist.words("stop nor\t") == ["stop", "north.2"]
        assert typist.words("status pla\t") == ["status", "pla"]


@pytest.mark.peer("bash")
@pytest.mark.usefixtures("known")
def test_bash_completes_known_hosts_and_never_runs_their_text(tmp_path):
    names = ["alpha.example", "gamma.example", "last.example", "delta.example", "192.0.2.7", "epsilon.example", "eta.example"]
    assert bash("tunnelctl connect ", tmp_path) == names
    assert not (tmp_path / "run").exists()
    assert bash("tunnelctl serve ", tmp_path) == []


def bash(line: str, home: Path, *before: str) -> list[str]:
    """Returns the completions of the bash function for a line with these words, without readline."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    code = f"{'; '.join(before) or ':'}; source {ROOT / COMPLETIONS['bash']}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
    code += 'set -u; _tunnelctl; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run([path_of("bash"), "-c", code], capture_output=True, cwd=home, env=environment(home), timeout=20)
    assert done.stderr == b""
    return done.stdout.decode().split()


@pytest.mark.peer("bash")
@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("tunnelctl ", [command.name for command in COMMANDS]),
        ("tunnelctl --", ["--help", "--version"]),
        ("tunnelctl help po", ["policy"]),
        ("tunnelctl connect -x http : //", ["//"]),
        ("tunnelctl connect --proxy = http :", ["//"]),
        ("tunnelctl connect -", None),
        ("tunnelctl nonsense --", []),
        ("tunnelctl run tunnelctl-no-such-pro", []),
        ("tunnelctl run prin", None),
        ("tunnelctl forward --dy", ["--dynamic"]),
        ("tunnelctl serve --users with : c", ["colon.txt"]),
    ],
)
def test_completions_of_the_bash_function(line, answers, tmp_path):
    (tmp_path / "with:colon.txt").touch()
    found = bash(line, tmp_path)
    assert found == answers if answers is not None else {"-4", "printf"} & set(found)


@pytest.mark.peer("bash")
def test_bash_without_word_breaks_at_colons_and_equals_signs(tmp_path):
    plain = "COMP_WORDBREAKS=$' \\t\\n'"
    assert bash("tunnelctl connect -x http:", tmp_path, plain) == ["http://"]
    assert bash("tunnelctl connect --proxy=http:", tmp_path, plain) == ["--proxy=http://"]


@pytest.mark.peer("fish")
def test_fish_shows_help_texts(tmp_path):
    code = f"source {ROOT / COMPLETIONS['fish']}; complete -C 'tunnelctl connect --fd'; complete -C 'tunnelctl se'"
    done = subprocess.run([path_of("fish"), "--no-config", "-c", code], capture_output=True, env=environment(tmp_path), timeout=20)
    assert done.stdout.decode().splitlines() == [
        "--fdpass\thand the connected socket to ssh and exit",
        "selftest\ttest client and server against each other on loopback",
        "serve\trun the bundled proxy",
        "setup\tprint the lines that send another tool through the proxy",
    ]


@pytest.mark.peer("zsh")
def test_zsh_shows_help_texts(tmp_path):
    with Typist("zsh", tmp_path) as typist:
        typist.child.send("tunnelctl connect --proxy\t\t")
        typist.child.expect("user name for the proxy")


@pytest.mark.peer("zsh")
@pytest.mark.parametrize("command", [command.name for command in COMMANDS if flags_of(command.name)])
def test_zsh_cuts_no_help_text_at_80_columns(command, tmp_path):
    """zsh puts every flag on one line with its text, and cuts what does not fit."""
    wanted = {bare(flag.in_brief) for flag in flags_of(command) if flag.name}
    screen = pyte.Screen(80, 100)
    stream = pyte.Stream(screen)
    with Typist("zsh", tmp_path, dimensions=(100, 80)) as typist:
        typist.child.send(f"tunnelctl {command} --\t")
        wait_until(lambda: shown(typist.child, stream, screen) >= wanted, SECONDS)


def shown(child: "pexpect.spawn[str]", stream: pyte.Stream, screen: pyte.Screen) -> set[str]:
    """Returns the texts beside the flags on the screen so far."""
    with suppress(pexpect.TIMEOUT):
        stream.feed(child.read_nonblocking(65536, timeout=0.2))
    return {line.partition(" -- ")[2].rstrip() for line in screen.display}


@pytest.mark.peer("zsh")
def test_the_zsh_script_can_be_sourced(tmp_path):
    code = f"autoload -Uz compinit; compinit -u -D; source {ROOT / COMPLETIONS['zsh']}; print $_comps[tunnelctl]"
    done = subprocess.run([path_of("zsh"), "-f", "-c", code], capture_output=True, env=environment(tmp_path), timeout=20)
    assert (done.stdout, done.stderr) == (b"_tunnelctl\n", b"")
