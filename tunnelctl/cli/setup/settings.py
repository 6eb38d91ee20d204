"""The settings of each tool, as keys and values. `tools` has the records of the tools."""

import shlex
from collections.abc import Callable
from functools import partial

from tunnelctl.cli.setup.exemptions import (
    LOOPBACK,
    Notation,
    gnome,
    hosts,
    hosts_and_one_level,
    names,
    names_and_networks,
    wildcards,
    written,
)
from tunnelctl.cli.setup.formats.model import Path, Settings, Value
from tunnelctl.cli.setup.model import ToolProxy


def variables(proxy: ToolProxy) -> Settings:
    """The environment variables, in both cases: curl reads http_proxy in lower case only, other programs only capitals."""
    exempt = joined(proxy, names_and_networks)
    lower = {"http_proxy": proxy.url, "https_proxy": proxy.url, "no_proxy": exempt}
    return {(spelled,): value for name, value in lower.items() for spelled in (name, name.upper())}


def joined(proxy: ToolProxy, notation: Notation, separator: str = ",") -> str:
    """The exempt targets, with those of this machine, as one text."""
    return separator.join(written((*LOOPBACK, *proxy.exempt), notation))


def each(*paths: Path) -> Callable[[ToolProxy], Settings]:
    """The URL of the proxy at each of these paths."""
    return partial(_each, paths)


def _each(paths: tuple[Path, ...], proxy: ToolProxy) -> Settings:
    return dict.fromkeys(paths, proxy.url)


def apt(proxy: ToolProxy) -> Settings:
    kinds = ("Acquire::http::Proxy", "Acquire::https::Proxy")
    direct = written(proxy.exempt, hosts)
    return {
        **{(kind,): proxy.url for kind in kinds},
        **{(f"{kind}::{host}",): "DIRECT" for kind in kinds for host in direct if ":" not in host},
    }


def git(proxy: ToolProxy) -> Settings:
    """A URL with an empty proxy is exempt; git has no list."""
    direct = written(proxy.exempt, hosts_and_one_level)
    exempt: dict[Path, Value] = {
        ("http", f"{scheme}://{_bracketed(host)}", "proxy"): "" for host in direct for scheme in ("https", "http")
    }
    return {("http", "", "proxy"): proxy.url, **exempt}


def docker(proxy: ToolProxy) -> Settings:
    values = {"httpProxy": proxy.url, "httpsProxy": proxy.url, "noProxy": joined(proxy, names_and_networks)}
    return {("proxies", "default", key): value for key, value in values.items()}


def podman(proxy: ToolProxy) -> Settings:
    return {("engine", "env"): tuple(f"{name}={value}" for (name,), value in variables(proxy).items())}


def npm(proxy: ToolProxy) -> Settings:
    return {("proxy",): proxy.url, ("https-proxy",): proxy.url, ("noproxy",): joined(proxy, names_and_networks)}


def uv(proxy: ToolProxy) -> Settings:
    exempt = tuple(written((*LOOPBACK, *proxy.exempt), names_and_networks))
    return {("http-proxy",): proxy.url, ("https-proxy",): proxy.url, ("no-proxy",): exempt}


def curl(proxy: ToolProxy) -> Settings:
    return {("proxy",): proxy.url, ("noproxy",): joined(proxy, names_and_networks)}


def wget(proxy: ToolProxy) -> Settings:
    return {("http_proxy",): proxy.url, ("https_proxy",): proxy.url, ("no_proxy",): joined(proxy, names)}


def properties(proxy: ToolProxy) -> dict[str, str]:
    """The system properties of Java. http.nonProxyHosts is for https too."""
    kinds = ("http", "https")
    hosts = {f"{kind}.proxyHost": proxy.address.host for kind in kinds}
    ports = {f"{kind}.proxyPort": str(proxy.address.port) for kind in kinds}
    return {**hosts, **ports, "http.nonProxyHosts": joined(proxy, wildcards, "|")}


def java(proxy: ToolProxy) -> Settings:
    return {("JAVA_TOOL_OPTIONS",): java_options(proxy)}


def java_options(proxy: ToolProxy) -> str:
    """The properties as words of a command line."""
    return " ".join(f"-D{key}={value}" for key, value in properties(proxy).items())


def gradle(proxy: ToolProxy) -> Settings:
    return {(f"systemProp.{key}",): value for key, value in properties(proxy).items()}


def maven(proxy: ToolProxy) -> Settings:
    host, port = proxy.address
    values = {"id": "tunnelctl", "active": "true", "protocol": "http", "host": host, "port": str(port)}
    return {(key,): value for key, value in {**values, "nonProxyHosts": joined(proxy, wildcards, "|")}.items()}


def jetbrains(proxy: ToolProxy) -> Settings:
    host, port = proxy.address
    values = {"USE_HTTP_PROXY": "true", "PROXY_HOST": host}
    if port != 80:  # the IDE writes no option that has its default
        values["PROXY_PORT"] = str(port)
    return {(key,): value for key, value in {**values, "PROXY_EXCEPTIONS": joined(proxy, wildcards)}.items()}


def vscode(proxy: ToolProxy) -> Settings:
    exempt = tuple(written((*LOOPBACK, *proxy.exempt), names_and_networks))
    settings: dict[Path, Value] = {("http.proxy",): proxy.url, ("http.noProxy",): exempt}
    return settings


def gnome_desktop(proxy: ToolProxy) -> Settings:
    """Values are in the text form of GVariant, in which a text is in single quotes."""
    schema, (host, port) = "org.gnome.system.proxy", proxy.address
    kinds = ("socks",) if proxy.scheme == "socks" else ("http", "https")
    values = {"host": f"'{host}'", "port": str(port)}
    ends: dict[Path, Value] = {(f"{schema}.{kind}", key): value for kind in kinds for key, value in values.items()}
    exempt = ", ".join(f"'{form}'" for form in written((*LOOPBACK, *proxy.exempt), gnome))
    return {**ends, (schema, "ignore-hosts"): f"[{exempt}]", (schema, "mode"): "'manual'"}


def keyring(proxy: ToolProxy) -> Settings:
    return _password_command(proxy, ["keyring", "get", str(proxy.address), proxy.user])


def pass_(proxy: ToolProxy) -> Settings:
    return _password_command(proxy, ["pass", "show", pass_name(proxy)])


def pass_name(proxy: ToolProxy) -> str:
    """The name of the entry in the store: PROXY/USER. A slash in the user would be a directory, and `..` lead out of the store."""
    return f"proxy/{proxy.address}/{proxy.user.replace('/', '_')}"


def _password_command(proxy: ToolProxy, words: list[str]) -> Settings:
    return {("defaults", "proxy-user"): proxy.user, ("defaults", "password-command"): shlex.join(words)}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
