"""Every source of settings, declared once: the program that obeys it, its files or its output, and their reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tunnelctl.client.discovery.readers.desktop import read_gsettings, read_kde, read_keyfile, read_scutil
from tunnelctl.client.discovery.readers.docker import read_docker_client, read_docker_daemon
from tunnelctl.client.discovery.readers.downloads import read_curl, read_wget
from tunnelctl.client.discovery.readers.git import read_git
from tunnelctl.client.discovery.readers.packages import read_apt, read_npm, read_pip
from tunnelctl.client.discovery.readers.ssh import read_ssh
from tunnelctl.client.discovery.readers.variables import read_environment_file, read_unit
from tunnelctl.client.discovery.settings.setting import Setting

Reader = Callable[[str], list[Setting]]


class Source(NamedTuple):
    """A source.

    files: patterns as for Machine.find; names: a regular expression for the names of those that the program reads, "" for all
    program: one whose output is read
    """

    tool: str
    reader: Reader
    files: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    names: str = ""


# In the order in which they are shown. Of each program first the user's own settings.
SOURCES = (
    Source(
        "git",
        read_git,
        (
            "$XDG_CONFIG_HOME/git/config|~/.config/git/config",
            "$GIT_CONFIG_GLOBAL|~/.gitconfig",
            "$GIT_CONFIG_SYSTEM|/etc/gitconfig",
        ),
    ),
    Source("ssh", read_ssh, ("~/.ssh/config", "/etc/ssh/ssh_config")),
    Source("curl", read_curl, ("$CURL_HOME/.curlrc|$XDG_CONFIG_HOME/curlrc|~/.curlrc", "~/.config/curlrc")),
    Source("wget", read_wget, ("$WGETRC|~/.wgetrc", "/etc/wgetrc")),
    Source("npm", read_npm, ("$NPM_CONFIG_USERCONFIG|~/.npmrc", "/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc")),
    Source(
        "pip",
        read_pip,
        (
            "$PIP_CONFIG_FILE",
            "$XDG_CONFIG_HOME/pip/pip.conf|~/.config/pip/pip.conf",
            "~/.pip/pip.conf",
            "~/Library/Application Support/pip/pip.conf",
            "$VIRTUAL_ENV/pip.conf",
            "/etc/xdg/pip/pip.conf",
            "/etc/pip.conf",
        ),
    ),
    Source("apt", read_apt, ("/etc/apt/apt.conf.d/*", "/etc/apt/apt.conf"), names=r"[\w-]+(\.conf)?"),
    Source("docker", read_docker_client, ("$DOCKER_CONFIG/config.json|~/.docker/config.json",)),
    Source("dockerd", read_docker_daemon, ("/etc/docker/daemon.json", "~/.config/docker/daemon.json")),
    Source("GNOME", read_gsettings, program=("gsettings", "list-recursively", "org.gnome.system.proxy")),
    Source(
        "GNOME",
        read_keyfile,
        ("$XDG_CONFIG_HOME/glib-2.0/settings/keyfile|~/.config/glib-2.0/settings/keyfile", "/etc/dconf/db/*.d/*"),
    ),
    Source("KDE", read_kde, ("$XDG_CONFIG_HOME/kioslaverc|~/.config/kioslaverc", "/etc/xdg/kioslaverc")),
    Source("macOS", read_scutil, program=("scutil", "--proxy")),
    Source("login", read_environment_file, ("/etc/environment",)),
    Source(
        "systemd",
        read_environment_file,
        ("$XDG_CONFIG_HOME/environment.d/*.conf|~/.config/environment.d/*.conf", "/etc/environment.d/*.conf"),
    ),
    Source(
        "systemd",
        read_unit,
        (
            "$XDG_CONFIG_HOME/systemd/user/*.service|~/.config/systemd/user/*.service",
            "$XDG_CONFIG_HOME/systemd/user/*.d/*.conf|~/.config/systemd/user/*.d/*.conf",
            "/etc/systemd/system/*.service",
            "/etc/systemd/system/*.d/*.conf",
            "/etc/systemd/system.conf",
            "/etc/systemd/system.conf.d/*.conf",
        ),
    ),
)
