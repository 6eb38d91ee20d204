"""What is found in a tree of files."""

import os
from pathlib import Path

import pytest

from tunnelctl.client.discovery.settings.gather import MAX_INCLUDED, expand, gather
from tunnelctl.client.discovery.settings.machine import Machine
from tunnelctl.client.discovery.settings.setting import PROXY, Setting, Unread

# A file for each program, with the value that it holds.
FILES = {
    "home/u/.gitconfig": "[http]\nproxy=http://git:1\n[include]\npath=more\n",
    "home/u/more": "[include]\npath=~/.gitconfig\n[https]\nproxy=http://more:1\n",
    "home/u/.ssh/config": "Include conf.d/*\n",
    "home/u/.ssh/conf.d/a": "Host x\nProxyCommand corkscrew ssh 1 %h %p\n",
    "etc/ssh/ssh_config": "Include /etc/ssh/ssh_config.d/*.conf\n",
    "etc/ssh/ssh_config.d/b.conf": "ProxyCommand corkscrew sshd 1 %h %p\n",
    "home/u/.curlrc": "proxy=http://curl:1\n",
    "home/u/.wgetrc": "https_proxy=http://wget:1\n",
    "home/u/.npmrc": "https-proxy=http://${USER}:1\n",
    "home/u/.config/pip/pip.conf": "[global]\nproxy=http://pip:1\n",
    "etc/apt/apt.conf.d/proxy": 'Acquire::http::Proxy "http://apt:1";\n',
    "home/u/.docker/config.json": '{"proxies": {"default": {"httpsProxy": "http://docker:1"}}}',
    "etc/docker/daemon.json": '{"proxies": {"https-proxy": "http://dockerd:1"}}',
    "home/u/.config/glib-2.0/settings/keyfile": "[system/proxy]\nmode='manual'\n[system/proxy/http]\nhost='gnome'\nport=1\n",
    "etc/dconf/db/local.d/00": "[system/proxy]\nmode='manual'\n[system/proxy/http]\nhost='dconf'\nport=1\n",
    "home/u/.config/kioslaverc": "[Proxy Settings]\nProxyType=1\nhttpProxy=http://kde 1\n",
    "etc/environment": "https_proxy=http://login:1\n",
    "etc/environment.d/p.conf": "https_proxy=http://environment-d:1\n",
    "etc/systemd/system/docker.service.d/p.conf": "[Service]\nEnvironment=HTTPS_PROXY=http://systemd:1\n",
    "home/u/.config/systemd/user/a.service": "[Service]\nEnvironment=HTTPS_PROXY=http://unit:1\n",
}
HOSTS = [
    "env",
    "git",
    "more",
    "ssh",
    "sshd",
    "curl",
    "wget",
    "u",
    "pip",
    "apt",
    "docker",
    "dockerd",
    "gnome",
    "dconf",
    "kde",
    "login",
    "environment-d",
    "unit",
    "systemd",
]


def tree(root: Path, files: dict[str, str]) -> Machine:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Machine({"https_proxy": "http://env:1", "USER": "u"}, "/home/u", str(root))


def test_every_program_has_its_file(tmp_path: Path) -> None:
    gathered = gather(tree(tmp_path, FILES))
    assert [found.setting.value for found in gathered.found] == [(f"http://{host}:1",) for host in HOSTS]
    assert gathered.unread == ()
    assert str(gathered.found[1]) == "git http.proxy (~/.gitconfig, line 2)"
    assert str(gathered.found[3]) == "ssh ProxyCommand (~/.ssh/conf.d/a, line 2)"
    assert {found.tool for found in gathered.found} == {
        "environment", "git", "ssh", "curl", "wget", "npm", "pip", "apt", "docker", "dockerd", "GNOME", "KDE", "login", "systemd",
    }  # fmt: skip


def test_a_file_that_includes_ever_more_files_ends(tmp_path: Path) -> None:
    files = {f"home/u/{n}": f"[http]\nproxy=h{n}\n[include]\npath={n + 1}\n" for n in range(MAX_INCLUDED + 50)}
    found = gather(tree(tmp_path, {"home/u/.gitconfig": "[include]\npath=0\n", **files})).found
    assert MAX_INCLUDED / 2 < len(found) < MAX_INCLUDED + 10


def test_an_included_file_has_the_scope_of_its_include(tmp_path: Path) -> None:
    files = {
        "home/u/.ssh/config": "Host a\nInclude b\nHost *\nInclude c\n",
        "home/u/.ssh/b": "ProxyCommand corkscrew b 1 %h %p\nHost x\nProxyCommand corkscrew x 1 %h %p\n",
        "home/u/.ssh/c": "ProxyCommand corkscrew c 1 %h %p\n",
        "home/u/.gitconfig": '[includeIf "gitdir:~/w/"]\npath=d\n',
        "home/u/d": "[http]\nproxy=d:1\n[include]\npath=e\n",
        "home/u/e": "[http]\nproxy=e:1\n",
    }
    found = gather(tree(tmp_path, files)).found[1:]
    assert [(one.setting.value[0].removeprefix("http://")[0], one.setting.scope) for one in found] == [
        ("d", "gitdir:~/w/"),
        ("e", "gitdir:~/w/"),
        ("b", "Host a"),
        ("x", "Host x"),
        ("c", ""),
    ]


def test_apt_does_not_read_backups(tmp_path: Path) -> None:
    files = {f"etc/apt/apt.conf.d/{name}": f'Acquire::http::Proxy "http://{number}:1";' for number, name in enumerate(APT_NAMES)}
    found = gather(tree(tmp_path, files)).found[1:]
    assert [one.place.rpartition("/")[2] for one in found] == ["10proxy", "a.conf", "b_c-d"]


APT_NAMES = ("10proxy", "a.conf", "b_c-d", "e.bak", "f.conf~", "g.dpkg-old")


def test_what_cannot_be_read_is_noted(tmp_path: Path) -> None:
    machine = tree(tmp_path, {"etc/docker/daemon.json": "{", "home/u/x": ""})
    os.mkfifo(tmp_path / "home/u/.curlrc")
    gathered = gather(machine)
    assert gathered.unread == (
        Unread("curl", "~/.curlrc", "it is not a regular file"),
        Unread("dockerd", "/etc/docker/daemon.json", "it is not JSON"),
    )
    assert len(gathered.found) == 1


def test_the_tree_is_left_as_it_is(tmp_path: Path) -> None:
    machine = tree(tmp_path, FILES)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    gather(machine)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(("value", "expanded"), [("${A}x", "1x"), ("${B}", "${B}"), ("$A", "$A"), ("${A:-2}", "1"), ("${A?}", "1")])
def test_variables_in_the_values_of_npm(value, expanded):
    assert expand(Setting(PROXY, "proxy", (value,)), {"A": "1"}).value == (expanded,)
