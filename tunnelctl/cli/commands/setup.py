"""`tunnelctl setup [TOOL]`: prints the settings that send a tool through the proxy; with --check, reports whether they are present.

The settings go to stdout, so that `>>` can append them to a file. The name of that file, and notes, go to stderr.
"""

import shlex
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from textwrap import wrap
from typing import NamedTuple

from tunnelctl.cli.commands.ssh_config import HEADING, own_flags, ssh_config
from tunnelctl.cli.parse.call import Call
from tunnelctl.cli.parse.settings import complete
from tunnelctl.cli.parse.values import Pair, wrong_words
from tunnelctl.cli.render.console import write_stderr, write_stdout
from tunnelctl.cli.render.help import WIDTH, row
from tunnelctl.cli.render.text import escape, mask
from tunnelctl.cli.setup.choice import NO_PROXY, Choice, choose
from tunnelctl.cli.setup.exemptions import LOOPBACK
from tunnelctl.cli.setup.formats.model import Format, Settings, Unwritable
from tunnelctl.cli.setup.model import Commands, Tool, ToolProxy
from tunnelctl.cli.setup.presence import Presence, files_of, look
from tunnelctl.cli.setup.tools import TOOLS
from tunnelctl.cli.spec.flags import FLAGS
from tunnelctl.cli.spec.ssh_hosts import PORT_443
from tunnelctl.client.route.no_proxy import DOMAIN
from tunnelctl.errors import SettingsError, UsageProblem
from tunnelctl.events import Trace
from tunnelctl.options import ReachOptions
from tunnelctl.proto.address import Address
from tunnelctl.status import ExitStatus

SSH = "ssh"
LONGEST = 4000  # characters of a printed line: a command repeats the typed flags, which may be long
PROXY = next(flag for flag in FLAGS if flag.name == "proxy" and "connect" in flag.commands)


class SetupOptions(NamedTuple):
    """The options of one `setup`."""

    reach: ReachOptions = ReachOptions()
    dynamic: str | None = None  # the port of a forward that the tool is to use
    port_443: bool = False
    check: bool = False
    json: bool = False


class Advice(NamedTuple):
    """The output for one tool.

    lines: the text for its file, or commands
    settings: the same as keys and values
    choice: the proxy; None for ssh, whose ProxyCommand has the flags instead
    """

    tool: Tool
    lines: str
    settings: Settings
    choice: Choice | None


def setup(call: Call, environ: Mapping[str, str], trace: Trace) -> ExitStatus:
    """Runs the command. Raises TunnelctlError."""
    settings = complete("setup", call.pairs, environ)
    # A port in the settings file is for `forward`; a tool uses it only if -D was typed here.
    pairs = [pair for pair in settings.pairs if pair[0].name != "dynamic" or pair in call.pairs]
    options = settings._replace(pairs=pairs).build(SetupOptions)
    if not call.words:
        if options.check:
            raise wrong_words("setup", "TOOL", call.words)
        write_stdout(listed())
        return ExitStatus.OK
    tool = tool_named(call.words[0])
    if call.words[1:] and tool.name != SSH:
        raise wrong_words("setup", "TOOL", call.words)
    try:
        advice = advise(tool, call, options, environ, trace)
    except UsageProblem as problem:
        if not options.check or problem.code != NO_PROXY:
            raise
        raise nothing_to_compare(tool, problem, environ) from None
    presence = look(tool, advice.settings, environ) if options.check else None
    if options.json:
        put_json(advice, presence)
    else:
        put_text(advice, presence, environ)
    return ExitStatus.OK if presence is None or presence.complete else ExitStatus.SETTINGS


def tool_named(word: str) -> Tool:
    """Returns the tool of that name. Raises UsageProblem."""
    for tool in TOOLS:
        if tool.name == word:
            return tool
    near = get_close_matches(word, [tool.name for tool in TOOLS], 1)
    raise UsageProblem("setup", f"unknown tool `{mask(word)}`", "unknown-tool", facts={"near": "".join(near)})


def advise(tool: Tool, call: Call, options: SetupOptions, environ: Mapping[str, str], trace: Trace) -> Advice:
    """Returns the output for a tool. Raises TunnelctlError."""
    typed = own_flags(call.pairs)
    if tool.name == SSH and options.dynamic is None:
        return ssh_advice(tool, call, typed, None, environ, trace)
    choice = choose(tool, options.reach, options.dynamic, typed, environ)
    if tool.name == SSH:
        return ssh_advice(tool, call, [(PROXY, choice.proxy.url)], choice, environ, trace)
    wanted = tool.settings(choice.proxy)
    if not isinstance(tool.form, Commands):
        return Advice(tool, rendered(tool.form, wanted), wanted, choice)
    first = f"{tool.first(choice.proxy)}\n" if tool.first is not None else ""
    commands = (shell_line(tool.form.setting(path, str(value))) for path, value in wanted.items())
    return Advice(tool, first + "".join(f"{command}\n" for command in commands), wanted, choice)


def nothing_to_compare(tool: Tool, problem: UsageProblem, environ: Mapping[str, str]) -> UsageProblem:
    """Returns the error for --check without a proxy. It says whether the tool has settings for any proxy."""
    any_proxy = ToolProxy("http", Address("proxy", 80))
    kind = "proxy settings" if look(tool, tool.settings(any_proxy), environ).different else "no proxy settings"
    where = tool.file or f"the configuration of {tool.name}"
    return UsageProblem("setup", f"{problem.cause} to compare with; {where} has {kind}", NO_PROXY, facts=problem.facts)


def rendered(form: Format, wanted: Settings) -> str:
    """Returns the settings as text. Raises UsageProblem for a user name that the format cannot express."""
    try:
        return form.render(wanted)
    except Unwritable:  # only a user name can contain such characters; the rest consists of host names, addresses and numbers
        raise UsageProblem("setup", "the user name has a control character", "setup-user") from None


def ssh_advice(
    tool: Tool, call: Call, flags: list[Pair], choice: Choice | None, environ: Mapping[str, str], trace: Trace
) -> Advice:
    """Returns the output of `ssh-config` for the given hosts; by default for the sites that accept ssh on port 443."""
    flags = [*flags, *(pair for pair in call.pairs if pair[0].name == "port-443")]
    lines = ssh_config(Call("ssh-config", flags, call.words[1:] or list(PORT_443)), environ, trace).removeprefix(HEADING)
    assert not isinstance(tool.form, Commands)
    return Advice(tool, lines, tool.form.read(lines), choice)


def shell_line(words: list[str]) -> str:
    """Joins words for a shell. A word that begins with $ is a variable set by the preceding line."""
    return " ".join(map(shell_word, words))


def shell_word(word: str) -> str:
    """Quotes a word: in double quotes if it begins with $ or contains single quotes, as values of GVariant do."""
    if word[:1] == "$" or ("'" in word and not set(word) & set('"$`\\!')):
        return f'"{word}"'
    return shlex.quote(word)


def listed() -> str:
    """Returns the list of tools."""
    rows = [line for tool in TOOLS for line in row(tool.name, f"{tool.what}: {tool.file or 'by commands'}", column=17)]
    return (
        "\n".join(["Tools:", *rows, "", "tunnelctl setup TOOL prints the lines for one; see also tunnelctl setup --help."]) + "\n"
    )


def put_text(advice: Advice, presence: Presence | None, environ: Mapping[str, str]) -> None:
    """Prints the settings with their notes; with --check, only the result."""
    tool = advice.tool
    if presence is not None:
        write_stdout(f"{tool.name}: {found_in(tool, presence)}\n")
        return
    comment = "" if isinstance(tool.form, Commands) else tool.form.comment
    put_wrapped([f"note: {tool.file} already has these lines" if has_lines(advice, environ) else place(advice, environ)])
    write_stdout((f"\n{comment} Printed by tunnelctl setup {tool.name}\n" if comment else "") + advice.lines)
    put_wrapped(notes(advice))


def put_wrapped(lines: Iterable[str]) -> None:
    """Prints lines on stderr, folded at 80 columns. A command, which is indented, stays on one line, so that it can be copied."""
    for line in lines:
        line = escape(line, LONGEST)
        folded = [line] if line[:1] == " " else wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
        write_stderr("".join(f"{part}\n" for part in folded).encode())


def found_in(tool: Tool, presence: Presence) -> str:
    """Describes which settings are present."""
    where = tool.file or "its settings"
    if presence.complete:
        return f"{where} has the lines" if tool.file else "it has these settings"
    lacks = [f"lacks {', '.join(presence.missing)}"] if presence.missing else []
    other = [f"has another value for {', '.join(presence.different)}"] if presence.different else []
    return f"{where}: {'; '.join(lacks + other)}"


def has_lines(advice: Advice, environ: Mapping[str, str]) -> bool:
    """Whether the tool's file has the lines. A tool that keeps its settings itself is asked with --check only."""
    if isinstance(advice.tool.form, Commands) or advice.tool.reading:
        return False
    try:
        return look(advice.tool, advice.settings, environ).complete
    except SettingsError:  # --check says what is wrong with the file
        return False


def place(advice: Advice, environ: Mapping[str, str]) -> str:
    """Returns the instruction above the lines."""
    tool = advice.tool
    to = "" if advice.choice is None or tool.keeps_password else f", which send {tool.name} through {named(advice.choice)}"
    if isinstance(tool.form, Commands):
        return f"run these commands{to}:"
    if tool.form.appendable:
        return f"add these lines to {tool.file}{to}:"
    new = not tool.reading and not files_of(tool, environ)
    return f"write {tool.file} with these lines{to}:" if new else f"merge these lines into {tool.file}{to}:"


def named(choice: Choice) -> str:
    """Returns the proxy and, if it was not given on the command line, where it was found."""
    given = choice.start or choice.origin == "-x"
    return choice.proxy.url if given else f"{choice.proxy.url} (from {choice.origin})"


def notes(advice: Advice) -> list[str]:
    """Returns the notes below the lines: why a forward is required, how to start it, and what to know about the tool."""
    tool, choice = advice.tool, advice.choice
    said = []
    if choice is not None and choice.start:
        why = f"{choice.reason}. So the lines lead to a port of" if choice.reason else "the lines lead to a port of"
        said += [f"note: {why} `tunnelctl forward`, which must be running. To start it:", f"    {choice.start}"]
    if choice is not None and choice.needs_login:
        said.append("note: `tunnelctl setup keyring` or `setup pass` shows how to store the password for the proxy")
    if choice is not None and tool.keeps_password and tool.first is not None:
        said += ["first, store the password:", f"    {tool.first(choice.proxy)}"]
    if choice is not None and choice.proxy.is_local and tool.in_container:
        said.append("note: in a container, 127.0.0.1 is the container itself, unless it uses the host's network (--network host)")
    if choice is not None and choice.left_out:
        said.append(f"note: {tool.name} cannot express these entries of NO_PROXY: {', '.join(choice.left_out)}")
    return [*said, *(f"note: {note}" for note in notes_on(advice)), *([f"then: {tool.after}"] if tool.after else [])]


def notes_on(advice: Advice) -> list[str]:
    """Returns the notes about the tool itself."""
    tool, choice = advice.tool, advice.choice
    has_domain = choice is not None and any(entry.kind == DOMAIN for entry in choice.proxy.exempt if entry not in LOOPBACK)
    return [*([tool.domains] if tool.domains and has_domain else []), *tool.notes]


def put_json(advice: Advice, presence: Presence | None) -> None:
    """Prints everything as one JSON object."""
    import json

    tool, choice = advice.tool, advice.choice
    facts: dict[str, object] = {"tool": tool.name, "file": tool.file, "lines": advice.lines.splitlines(), "notes": notes_on(advice)}
    if choice is not None:
        facts |= {"proxy": choice.proxy.url, "origin": choice.origin, "reason": choice.reason, "start": choice.start}
        facts["left_out"] = list(choice.left_out)
    if presence is not None:
        facts |= {"there": presence.complete, "missing": list(presence.missing), "different": list(presence.different)}
    write_stdout(json.dumps(facts) + "\n")
