"""Tests the manual: valid roff, complete, and consistent with the list of flags."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from man.source.events import EVENTS, keys_of, meaning_of
from man.source.man import guard, pages, prose, roff, sentence
from man.source.messages import all_messages
from tests.peers.events import check_record
from tests.peers.process import path_of
from tunnelctl.cli.parse.settings import complete
from tunnelctl.cli.parse.values import read_fields
from tunnelctl.cli.spec.commands import COMMANDS, OTHERS, VARIABLES
from tunnelctl.cli.spec.flags import flags_of
from tunnelctl.engine.kernel import run
from tunnelctl.events import name_of, silent
from tunnelctl.server.access.users import digest_line, hash_password
from tunnelctl.server.observe.access_log import AccessLog, open_log
from tunnelctl.server.observe.record import DRAINED, TunnelRecord
from tunnelctl.server.policy.file import KEYS, KINDS, parse_policy
from tunnelctl.server.policy.inspection import FirstBytes
from tunnelctl.status import ExitStatus

PACKAGE = Path(__file__).parents[2] / "tunnelctl"
ORDER = [
    "NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "DIAGNOSTICS",
    "SEE ALSO", "STANDARDS", "SECURITY CONSIDERATIONS",
]  # fmt: skip
PAGES = pages()
of_every_page = pytest.mark.parametrize("name", PAGES)


def command_page(name: str) -> str:
    return PAGES[f"tunnelctl-{name}.1"]


def shown(page: str, *options: str) -> str:
    """Renders a page as a reader sees it."""
    command = [path_of("mandoc"), "-T", "utf8", *options]
    done = subprocess.run(command, input=page, capture_output=True, text=True, timeout=20, check=True)
    return re.sub(".\b", "", done.stdout)


def words(page: str) -> str:
    """Returns the rendered page as words separated by single blanks."""
    return " ".join(re.sub("[‐-]\n +", "-", shown(page)).split())


@pytest.mark.peer("mandoc")
@of_every_page
def test_mandoc_reports_no_warnings(name, tmp_path):
    path = tmp_path / name
    path.write_text(PAGES[name])
    done = subprocess.run([path_of("mandoc"), "-T", "lint", "-W", "warning", path], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.returncode) == ("", 0)


@of_every_page
def test_sections_are_in_the_conventional_order(name):
    sections = re.findall(r"^\.SH (.*)$", PAGES[name], re.M)
    assert [title for title in ORDER if title in sections] == sections
    assert sections[0] == "NAME"
    assert "SEE ALSO" in sections
    if name.endswith(".1"):
        assert {"SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "DIAGNOSTICS"} <= set(sections)


def test_the_program_and_every_command_have_a_page():
    assert {name for name in PAGES if name.endswith(".1")} == {"tunnelctl.1", *(f"tunnelctl-{c.name}.1" for c in COMMANDS)}


@of_every_page
def test_the_main_page_refers_to_every_page(name):
    title, _, section = name.rpartition(".")
    assert f".BR {roff(title)} ({section})" in PAGES["tunnelctl.1"] or name == "tunnelctl.1"


@of_every_page
def test_every_page_referred_to_exists(name):
    named = re.findall(r"^\.BR (tunnelctl\S*) \((\d)\)", PAGES[name], re.M)
    assert {f"{title}.{section}".replace("\\-", "-") for title, section in named} <= set(PAGES)


@of_every_page
def test_no_placeholder_is_left(name):
    assert not re.findall(r"^@.*@$", PAGES[name], re.M)


def test_generation_does_not_depend_on_the_date(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert pages() == PAGES


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_page_lists_exactly_its_flags(command):
    options = command_page(command.name).partition("\n.SH OPTIONS\n")[2].partition("\n.SH ")[0]
    terms = re.findall(r"^\.TP\n(.*)$", options, re.M)
    spelled = {s.replace("\\-", "-") for term in terms for s in re.findall(r"\\fB(.*?)\\fR", term)}
    assert spelled == {s for flag in flags_of(command.name) for s in flag.spellings}


def test_lists_in_the_pages_are_complete():
    page = PAGES["tunnelctl.1"]
    for variable in VARIABLES:
        assert all(f"\\fB{name}\\fR" in page for name in variable.names)
    for status in ExitStatus:
        assert f"\n.B {int(status)}\n" in page
    for command in COMMANDS:
        assert f"\n.BR tunnelctl\\-{roff(command.name)} (1)\n" in page
    for theirs, ours in OTHERS:
        assert f".TP\n{roff(theirs)}\n\\fB{roff(ours)}\\fR\n" in page
    for name, kinds in EVENTS.items():
        page = command_page(name) if name else PAGES["tunnelctl.1"]
        for kind in kinds:
            assert f"\n.B {name_of(kind)}\n{sentence(meaning_of(kind))}\n" in page
            for key in keys_of(kind):
                assert f"\n.I {roff(key.name)}\n{sentence(key.meaning)}\n" in page


def test_every_message_of_the_program_is_documented():
    page = PAGES["tunnelctl-messages.7"]
    for message in all_messages():
        assert f"\n{guard(roff(message.text))}\n" in page
        assert all(f"\nhint: {roff(hint)}\n" in page for hint in message.hints)


# --- machine-readable formats: the manual documents each key, and no others


def test_access_log_records_match_the_manual(tmp_path):
    path = tmp_path / "log"

    async def main() -> None:
        log, record = AccessLog(open_log(str(path)), silent), TunnelRecord("a-1", "a-1.1", "192.0.2.1:5")
        record.enter("answer")
        log.opened(record, 200)
        log.refused(record, 403, "http_request_denied", "")
        log.interim(record, 1.0)
        log.closed(record, 1.5, 0.0, DRAINED)
        record.seen = FirstBytes("TLS", "h", "", ())
        log.closed(record, 1.5, 0.0, DRAINED)
        await log.close()
        os.close(log._file._fd)

    run(main)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    page = command_page("serve")
    for record in records:
        check_record(record)
        assert f"\n.B {record['event']}\n" in page
        assert all(f" {key}\n" in page for key in record)
    assert [record["event"] for record in records] == ["opened", "refused", "interim", "closed", "closed"]
    assert ["seen" in record for record in records] == [False, False, False, False, True]


def test_users_file_lines_match_the_manual():
    forms = [line for line in command_page("serve").splitlines() if ":scrypt:" in line or ":digest:" in line]
    scrypt, digest = (re.sub(r"\\f[IR]", "", form).split(":") for form in forms)
    assert scrypt == ["NAME", "scrypt", "N", "R", "P", "SALT", "HASH"]
    assert len(hash_password("alice", "x").split(":")) == len(scrypt)
    assert digest == ["NAME", "digest", "REALM", "SHA256", "MD5"]
    assert len(digest_line("alice", "r", "x").split(":")) == len(digest)


def test_the_config_page_names_each_command_that_reads_a_key(tmp_path):
    (tmp_path / "tunnelctl").mkdir()
    (tmp_path / "tunnelctl/config.toml").write_text("[defaults]\ntimeout = 9\nusers = 'file'")
    page = PAGES["tunnelctl-config.5"]
    for key in ("timeout", "users"):
        listed = re.search(rf"^\\fB{key}\\fR = .*\n(.*)$", page, re.M)[1]
        readers = [name for name in ("connect", "forward", "run", "serve", "check") if key in settings_of(name, tmp_path)]
        assert listed.split(", ") == readers


def settings_of(command, config):
    return read_fields(complete(command, [], {"XDG_CONFIG_HOME": str(config)}).pairs)


def test_the_policy_page_documents_every_key_and_has_a_valid_example():
    page = PAGES["tunnelctl-policy.5"]
    assert re.findall(r"^\.B \[\[(.*)\]\]$", page[: page.index(".SS Keys")], re.M)[: len(KINDS)] == list(KINDS)
    keys = page[page.index(".SS Keys") : page.index(".SS Names")]
    assert set(re.findall(r"^\.TP(?: 12)?\n\.B (.*)$", keys, re.M)) == set(KEYS)
    example = re.search(r"^\.nf\n(\[\[.*?)^\.fi$", page, re.M | re.S)
    rules = parse_policy(example[1], "example")
    assert set(rules) == set(KINDS)


@pytest.mark.peer("mandoc")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("connect", "shows in ps(1)"),
        ("", "overrules the variables and never overrules -x"),
        ("connect", "SIGHUP, which ssh sends when its session is over, is a normal end: silent, with status 0."),
        ("connect", "It is also a normal end if the reader of standard output exits."),
        ("", "128+n Ended by signal n."),
        ("run", "-x, --proxy URL"),
        ("connect", "If that forward is not running, connect fails; if its backlog is full, connect waits"),
        ("connect", "an https:// proxy requires --via NAME: that forward keeps running"),
        ("ssh-config", "none of them is an https:// one, and neither --http 2 nor --idle-timeout is given."),
        ("ssh-config", "Whatever its proxies are, the ProxyCommand has --fdpass, unless --idle-timeout is given"),
        ("ssh-config", "Without -x, --pac and --via NAME, the ProxyCommand names no proxy"),
        ("", "ProxyCommand tunnelctl connect -x http://proxy:3128 %h %p"),
    ],
)
def test_facts_that_users_must_know_are_documented(command, said):
    assert said in words(command_page(command) if command else PAGES["tunnelctl.1"])


@pytest.mark.peer("mandoc")
@of_every_page
def test_examples_fit_a_terminal_of_80_columns(name):
    text = shown(PAGES[name], "-O", "width=78")
    examples = text.partition("\nEXAMPLES\n")[2].partition("\nDIAGNOSTICS\n")[0].splitlines()
    assert len(examples) > 2 or not name.endswith(".1")
    assert [line for line in examples if len(line) > 80] == []


@pytest.mark.parametrize(
    ("plain", "marked"),
    [
        ("a `--b-c` d", r"a \fB\-\-b\-c\fR d"),
        ("well-known --flag", r"well-known \-\-flag"),
        ("a back\\slash", r"a back\eslash"),
        ("One. Two", "One.\nTwo"),
        (".start", r"\&.start"),
    ],
)
def test_prose_becomes_roff(plain, marked):
    assert prose(plain) == marked


def test_guard_escapes_a_leading_quote():
    assert guard("'x") == "\\&'x"
