"""The tools, one record each. The output of `setup`, its list, its completion and its manual page derive from them."""

import shlex

from tunnelctl.cli.setup import settings
from tunnelctl.cli.setup.exemptions import gnome, hosts, hosts_and_one_level, names, names_and_networks, wildcards
from tunnelctl.cli.setup.formats.git import GitConfig
from tunnelctl.cli.setup.formats.lines import AptConf, Curlrc, KeyValue, Properties, Sections, SSHConfig
from tunnelctl.cli.setup.formats.trees import JSON, TOML, YAML
from tunnelctl.cli.setup.formats.variables import Crontab, ShellProfile, SystemdUnit
from tunnelctl.cli.setup.formats.xml import JetBrainsOptions, MavenSettings
from tunnelctl.cli.setup.model import Commands, Tool
from tunnelctl.proto.proxy_url import DEFAULT_PORTS

# The kinds of proxy that a tool can use by itself, each as it spells them. A SOCKS proxy that looks names up is socks5h:// to
# libcurl, and socks5:// to Go.
_HTTP = {"http": "http"}
_TLS = {**_HTTP, "https": "https"}
_LIBCURL = {**_TLS, "socks5": "socks5h", "socks4a": "socks4a"}
_GO = {**_TLS, "socks5": "socks5"}

# Go offers HTTP/2 to a proxy at https://, and speaks HTTP/1.1 to it even if both have agreed on HTTP/2 (golang.org/issue/26479).
# Programs in Go that turn HTTP/2 off, such as dockerd and podman, can use such a proxy.
_GO_HTTP2 = {"http": "http", "socks5": "socks5"}
_GO_FAILS = {"https": "fails at a proxy https:// that knows HTTP/2"}

# In TLS inside TLS, libcurl 7.88 with GnuTLS misses data that it has already read, and waits for more: about every second
# `git ls-remote` in Debian 12 stalled, at Envoy as well as at serve. With OpenSSL, as in curl(1), it does not.
_LIBCURL_GNUTLS = {"http": "http", "socks5": "socks5h", "socks4a": "socks4a"}
_GNUTLS_FAILS = {"https": "often stalls at a proxy https:// if its libcurl uses GnuTLS, as in Debian"}

_ANY = {scheme: scheme for scheme in DEFAULT_PORTS}

_PROFILE = "new login shells read these lines: log in again, or run `. ~/.profile`"
_RESTART = "sudo systemctl daemon-reload"
_CONTAINERS = "containers and builds get the variables too"
_BELOW = "if the file already has a [defaults] table, add only the two settings to that table"
_OURS = "~/.config/tunnelctl/config.toml"
_CLUSTER = "jsonpath={.clusters[0].name}"

TOOLS = (
    Tool(
        "apt", "the packages of Debian and Ubuntu", "/etc/apt/apt.conf.d/80proxy", AptConf(), settings.apt,
        {**_TLS, "socks5": "socks5h"}, hosts,
        notes=("under sudo, apt does not see your http_proxy, but it always reads this file",),
        domains="apt cannot exempt domains: only the hosts that NO_PROXY names are exempt",
    ),
    Tool(
        "cargo", "Rust's package manager", "~/.cargo/config.toml", TOML(), settings.each(("http", "proxy")), _LIBCURL_GNUTLS,
        notes=("for git repositories, run `tunnelctl setup git` and set net.git-fetch-with-cli = true",),
        fails=_GNUTLS_FAILS,
    ),
    Tool(
        "conda", "packages for Python and R", "~/.condarc", YAML(),
        settings.each(("proxy_servers", "http"), ("proxy_servers", "https")), _TLS,
        notes=("no setting lists exempt hosts: conda reads no_proxy",),
    ),
    Tool(
        "cron", "the commands of a crontab", "the crontab (crontab -e)", Crontab(), settings.variables, _TLS, names_and_networks,
        reading=("crontab", "-l"), notes=("put these lines above the commands: they apply to the commands below them",),
    ),
    Tool(
        "curl", "every use of curl by this user", "~/.curlrc", Curlrc(), settings.curl, _LIBCURL, names_and_networks,
        notes=("other programs that use libcurl do not read this file: set https_proxy for them",),
    ),
    Tool(
        "dnf", "the packages of Fedora and Red Hat", "/etc/dnf/dnf.conf", Sections(), settings.each(("main", "proxy")), _LIBCURL,
        notes=("for a repository inside your network, set `proxy=_none_` in its file in /etc/yum.repos.d",),
    ),
    Tool(
        "docker", "containers, and `docker build`", "~/.docker/config.json", JSON(), settings.docker, _GO, names_and_networks,
        notes=(_CONTAINERS, "the daemon pulls the images: run `tunnelctl setup docker-daemon` too"), in_container=True,
    ),
    Tool(
        "docker-daemon", "the daemon, which pulls images", "/etc/systemd/system/docker.service.d/proxy.conf",
        SystemdUnit("Service", "Environment"), settings.variables, _GO, names_and_networks,
        after=f"{_RESTART} && sudo systemctl restart docker",
    ),
    Tool(
        "git", "repositories at https:// and http://", "~/.gitconfig", GitConfig(), settings.git, _LIBCURL_GNUTLS,
        hosts_and_one_level,
        notes=("repositories at ssh:// use ssh: run `tunnelctl setup ssh`",),
        domains="names more than one level below a NO_PROXY domain still use the proxy",
        fails=_GNUTLS_FAILS,
    ),
    Tool(
        "gnome", "the desktop, and the programs that read its settings", "", Commands(
            lambda key, value: ["gsettings", "set", *key, value], lambda key: ["gsettings", "get", *key],
        ), settings.gnome_desktop, {**_HTTP, "socks5": "socks"}, gnome,
    ),
    Tool(
        "go", "the modules of Go", "~/.profile", ShellProfile(), settings.variables, _GO_HTTP2, names_and_networks, after=_PROFILE,
        notes=("the command `go env -w` cannot set a proxy: Go reads only the environment variables",),
        fails=_GO_FAILS,
    ),
    Tool(
        "gradle", "builds with Gradle", "~/.gradle/gradle.properties", Properties(), settings.gradle, _HTTP, wildcards,
        notes=("a running daemon keeps its old settings: stop it with `gradle --stop`",),
    ),
    Tool(
        "java", "every Java program", "~/.profile", ShellProfile(), settings.java, _HTTP, wildcards, after=_PROFILE,
        notes=('at each start, Java prints "Picked up JAVA_TOOL_OPTIONS" on stderr',),
    ),
    Tool(
        "jetbrains", "IntelliJ IDEA, PyCharm and other JetBrains IDEs", "~/.config/JetBrains/*/options/proxy.settings.xml",
        JetBrainsOptions("HttpConfigurable"), settings.jetbrains, _HTTP, wildcards,
        notes=("each product has its own directory; close the IDE first: it overwrites the file when it exits",),
    ),
    Tool(
        "kubectl", "the cluster of the current context", "", Commands(
            lambda key, value: ["kubectl", "config", "set-cluster", "$CLUSTER", f"--{key[0]}={value}"],
            lambda key: ["kubectl", "config", "view", "--minify", "-o", f"jsonpath={{.clusters[0].cluster.{key[0]}}}"],
        ), settings.each(("proxy-url",)), _GO_HTTP2, first=lambda _: f'CLUSTER=$(kubectl config view --minify -o "{_CLUSTER}")',
        fails=_GO_FAILS,
    ),
    Tool(
        "maven", "builds with Maven", "~/.m2/settings.xml", MavenSettings(), settings.maven, _HTTP, wildcards,
        notes=("the protocol is that of the proxy itself: repositories at https:// use the proxy too",),
    ),
    Tool(
        "npm", "the packages of Node.js", "~/.npmrc", KeyValue(quotes=True), settings.npm, _TLS, names_and_networks,
        notes=("Node.js itself does not read this file: set NODE_USE_ENV_PROXY=1 and https_proxy",),
    ),
    Tool(
        "pip", "the packages of Python", "~/.config/pip/pip.conf", Sections(), settings.each(("global", "proxy")), _TLS,
        notes=("no setting lists exempt hosts: pip reads no_proxy",),
    ),
    Tool(
        "podman", "the images of podman and buildah", "~/.config/containers/containers.conf", TOML(), settings.podman, _GO,
        names_and_networks, notes=(_CONTAINERS, "as root, podman 4 reads only /etc/containers/containers.conf"), in_container=True,
    ),
    Tool(
        "snap", "the packages of snapd", "", Commands(
            lambda key, value: ["sudo", "snap", "set", "system", f"{key[0]}={value}"],
            lambda key: ["snap", "get", "system", key[0]],
        ), settings.each(("proxy.http",), ("proxy.https",)), _TLS,
    ),
    Tool(
        "ssh", "ssh, and what runs over it", "~/.ssh/config", SSHConfig(), lambda _: {}, _ANY,
        notes=("for other hosts, run `tunnelctl setup ssh HOST`; tunnelctl connects and logs in",),
    ),
    Tool(
        "systemd", "every service of the system", "/etc/systemd/system.conf.d/proxy.conf",
        SystemdUnit("Manager", "DefaultEnvironment"), settings.variables, _TLS, names_and_networks,
        after="sudo systemctl daemon-reexec, then restart the services",
        notes=("for a single service, run `systemctl edit NAME` and put Environment= with the same values below [Service]",),
    ),
    Tool(
        "terraform", "providers and modules of Terraform", "~/.profile", ShellProfile(), settings.variables, _GO_HTTP2,
        names_and_networks, after=_PROFILE,
        fails=_GO_FAILS,
    ),
    Tool(
        "uv", "Python packages with uv 0.9 or later", "~/.config/uv/uv.toml", TOML(), settings.uv, _TLS, names_and_networks,
    ),
    Tool(
        "vscode", "Visual Studio Code", "~/.config/Code/User/settings.json", JSON(), settings.vscode, _TLS, names_and_networks,
        notes=(
            "Remote-SSH connects with ssh: run `tunnelctl setup ssh HOST`; if the remote host has no Internet access, "
            '"remote.SSH.localServerDownload": "always" downloads the server on this machine',
        ),
    ),
    Tool(
        "wget", "every use of wget by this user", "~/.wgetrc", KeyValue(" = "), settings.wget, _HTTP, names,
    ),
    Tool(
        "yarn", "Yarn 2 and later", "~/.yarnrc.yml", YAML(), settings.each(("httpProxy",), ("httpsProxy",)), _TLS,
        notes=("Yarn 1 reads ~/.npmrc: run `tunnelctl setup npm`",),
    ),
    # Stores of passwords, from which tunnelctl takes that for the proxy.
    Tool(
        "keyring", "the password of the proxy, in the keyring of the desktop", _OURS, TOML(), settings.keyring, _ANY,
        first=lambda proxy: shlex.join(["keyring", "set", str(proxy.address), proxy.user]), keeps_password=True,
        notes=(_BELOW, "`pip install keyring` installs the command, which prompts for the password: no file has it in plain text"),
    ),
    Tool(
        "pass", "the password of the proxy, in pass(1)", _OURS, TOML(), settings.pass_, _ANY,
        first=lambda proxy: shlex.join(["pass", "insert", settings.pass_name(proxy)]), keeps_password=True,
        notes=(_BELOW, "the command prompts for the password, and encrypts it with your GnuPG key"),
    ),
)  # fmt: skip
