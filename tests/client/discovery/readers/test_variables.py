"""Environment variables: which ones count, and how PAM and systemd write them."""

import pytest

from tunnelctl.client.discovery.readers.variables import read_environ, read_environment_file, read_unit, settings_of_variable
from tunnelctl.client.discovery.settings.setting import EXEMPT, PROXY, Setting

URL = "http://p:1"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("https_proxy", PROXY),
        ("HTTPS_PROXY", PROXY),
        ("http_proxy", PROXY),
        ("HTTP_PROXY", PROXY),
        ("all_proxy", PROXY),
        ("ALL_PROXY", PROXY),
        ("no_proxy", EXEMPT),
        ("NO_PROXY", EXEMPT),
        ("TUNNELCTL_PROXY", PROXY),
        ("PIP_PROXY", PROXY),
        ("npm_config_https_proxy", PROXY),
        ("NPM_CONFIG_PROXY", PROXY),
        ("npm_config_https-proxy", PROXY),
        ("NPM_CONFIG_NOPROXY", EXEMPT),
    ],
)
def test_a_variable_that_some_program_obeys(name, kind):
    assert read_environ({name: f" {URL} "}) == [Setting(kind, name, (URL,))]


@pytest.mark.parametrize("name", ["Https_Proxy", "tunnelctl_proxy", "MY_PROXY", "TUNNELCTL_PROXY_PASSWORD", "proxy", ""])
def test_a_variable_that_no_program_obeys(name):
    assert read_environ({name: URL}) == []


@pytest.mark.parametrize("value", ["", "  ", "direct", "DIRECT"])
def test_a_variable_that_names_no_proxy(value):
    assert read_environ({"TUNNELCTL_PROXY": value}) == []


def test_the_command_in_a_variable_of_git_is_read():
    command = "ssh -o ProxyCommand='nc -X connect -x p:1 %h %p'"
    assert settings_of_variable("GIT_SSH_COMMAND", command, 0) == [Setting(PROXY, "GIT_SSH_COMMAND", (URL,))]


def test_the_file_of_pam():
    text = f"# no_proxy=x\nhttps_proxy=\"{URL}\"\nexport http_proxy='{URL}'\nPATH=/bin\nno_proxy = a,b\n"
    assert read_environment_file(text) == [
        Setting(PROXY, "https_proxy", (URL,), 2),
        Setting(PROXY, "http_proxy", (URL,), 3),
        Setting(EXEMPT, "no_proxy", ("a,b",), 5),
    ]


@pytest.mark.parametrize(
    "line",
    [
        f"Environment=HTTPS_PROXY={URL}",
        f'Environment="HTTPS_PROXY={URL}"',
        f"Environment='HTTPS_PROXY={URL}'",
        f'Environment=HTTPS_PROXY="{URL}"',
        f'DefaultEnvironment=A=1 "HTTPS_PROXY={URL}" B="x y"',
        f'Environment="A=x \\" y" HTTPS_PROXY={URL}',
    ],
)
def test_a_line_of_a_unit(line):
    assert read_unit(f"[Service]\n{line}\n") == [Setting(PROXY, "HTTPS_PROXY", (URL,), 2)]


def test_a_unit_with_several_variables_continued_lines_and_specifiers():
    text = f'[Service]\nEnvironment="HTTP_PROXY=http://a:%%20b@p:1" \\\n# comment\n  NO_PROXY=x\nExecStart=HTTP_PROXY={URL}\n'
    assert read_unit(text) == [
        Setting(PROXY, "HTTP_PROXY", ("http://a:%20b@p:1",), 2),
        Setting(EXEMPT, "NO_PROXY", ("x",), 2),
    ]


@pytest.mark.parametrize("text", ["Environment=", 'Environment="', "Environment='HTTP_PROXY=", "Environment=\\", "Environment"])
def test_an_incomplete_line_of_a_unit_is_skipped(text):
    assert read_unit(text) == []
