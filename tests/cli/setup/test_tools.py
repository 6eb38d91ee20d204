"""The table of tools: for each, and for any proxy and NO_PROXY that are accepted, the lines say exactly what they have to."""

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from tests.peers.program import RUN_SECONDS
from tunnelctl.cli.setup.model import Commands, ToolProxy
from tunnelctl.cli.setup.tools import TOOLS
from tunnelctl.client.route.no_proxy import usable_entries
from tunnelctl.errors import AddressError
from tunnelctl.proto.address import Address
from tunnelctl.proto.proxy_url import DEFAULT_PORTS, parse_proxy_url

FILES = [tool for tool in TOOLS if not isinstance(tool.form, Commands) and tool.name not in ("ssh", "keyring", "pass")]
PROXY = ToolProxy("http", Address("proxy.example.net", 3128))
HOSTILE = st.lists(
    st.sampled_from([*"\"'\\`$%#;=:<>&!{}[]()|,.*? \n\r\t\0", "http://", "x", "[fe80::1%25eth0]", "10.0.0.0/8", "*.a.example"]),
    max_size=8,
).map("".join)
by_name = pytest.mark.parametrize("tool", FILES, ids=lambda tool: tool.name)


@limits(max_examples=40)
@given(HOSTILE, HOSTILE)
@by_name
def test_hostile_values_are_refused_or_stay_values(tool, url, no_proxy):
    """Nothing but what the settings say is in the lines, and no line is longer or shorter for it."""
    try:
        address = parse_proxy_url(url).address
    except AddressError:
        address = PROXY.address
    wanted = tool.settings(ToolProxy("http", address, tuple(usable_entries(no_proxy))))
    if tool.name == "git":
        return  # git itself would read them: one process an example; the next test does so once
    text = tool.form.render(wanted)
    assert tool.form.read(text) == wanted
    same_port = PROXY.address._replace(port=address.port)  # some tools need no line for their default
    plain = tool.form.render(tool.settings(PROXY._replace(address=same_port, exempt=tuple(usable_entries(no_proxy)))))
    assert text.count("\n") == plain.count("\n")


@pytest.mark.peer("git")
def test_git_reads_what_is_printed_for_it():
    tool = next(tool for tool in TOOLS if tool.name == "git")
    wanted = tool.settings(PROXY._replace(exempt=tuple(usable_entries('a.example, 10.1.2.3, ::1, b=c, "x, [y, *.z.example'))))
    assert tool.form.read(tool.form.render(wanted)) == wanted
    assert ("http", "https://[::1]", "proxy") in wanted


@pytest.mark.peer("git")
@pytest.mark.parametrize(
    ("host", "exempt"),
    [("corp.example", True), ("git.corp.example", True), ("x.git.corp.example", False), ("xcorp.example", False), ("other", False)],
)
def test_git_exempts_a_domain_and_one_level_below(tmp_path, host, exempt):
    tool = next(tool for tool in TOOLS if tool.name == "git")
    file = tmp_path / "config"
    file.write_text(tool.form.render(tool.settings(PROXY._replace(exempt=tuple(usable_entries(".corp.example"))))))
    words = ["git", "config", "--file", file, "--get-urlmatch", "http.proxy", f"https://{host}/a.git"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=RUN_SECONDS, check=True)
    assert done.stdout.strip() == ("" if exempt else PROXY.url)


@given(HOSTILE)
def test_a_proxy_as_tools_are_told_of_it_has_harmless_characters_only(url):
    try:
        address = parse_proxy_url(url).address
    except AddressError:
        return
    assert re.fullmatch(r"http://[A-Za-z0-9._~\-:\[\]%]+", ToolProxy("http", address).url)


@by_name
def test_lines_name_the_proxy_and_this_machine_is_exempt(tool):
    text = tool.form.render(tool.settings(PROXY))
    assert "proxy.example.net" in text
    assert "3128" in text
    if tool.exempts is not None and tool.name not in ("apt", "git"):
        assert "127.0.0.1" in text


def test_the_list_is_in_order_and_has_the_tools_of_the_issue():
    names = [tool.name for tool in TOOLS]
    assert names[:-2] == sorted(names[:-2])
    asked = (
        "apt dnf git ssh docker podman npm yarn pip uv conda cargo go maven gradle java curl wget vscode jetbrains kubectl "
        "terraform snap systemd gnome cron"
    )
    assert set(asked.split()) <= set(names)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_record_is_complete(tool):
    assert tool.file.startswith(("/", "~/")) or tool.reading or isinstance(tool.form, Commands)
    assert set(tool.schemes) <= set(DEFAULT_PORTS)
    assert "http" in tool.schemes
    assert all(text.isascii() and not text.endswith(".") for text in (tool.what, tool.after, tool.domains, *tool.notes) if text)


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if isinstance(tool.form, Commands)], ids=lambda tool: tool.name)
def test_each_command_that_sets_has_one_that_asks(tool):
    for path, value in tool.settings(PROXY).items():
        assert tool.form.setting(path, value)[-1].endswith(value)
        assert path[-1] in " ".join(tool.form.asking(path))
