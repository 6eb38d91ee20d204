"""Docker: daemon.json, and the client's config.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from tunnelctl.client.discovery.settings.setting import EXEMPT, PROXY, MalformedFile, Setting

_DAEMON = {"http-proxy": PROXY, "https-proxy": PROXY, "no-proxy": EXEMPT}
_CLIENT = {"httpProxy": PROXY, "httpsProxy": PROXY, "allProxy": PROXY, "noProxy": EXEMPT}
_EVERY_DAEMON = "default"


def read_docker_daemon(text: str) -> list[Setting]:
    """Reads /etc/docker/daemon.json. Raises MalformedFile."""
    return list(_settings(_proxies(text), _DAEMON, "proxies", ""))


def read_docker_client(text: str) -> list[Setting]:
    """Reads ~/.docker/config.json, whose proxies are for containers and builds. Raises MalformedFile."""
    return [
        setting
        for daemon, values in _proxies(text).items()
        if isinstance(values, dict)
        for setting in _settings(values, _CLIENT, f"proxies.{daemon}", "" if daemon == _EVERY_DAEMON else daemon)
    ]


def _proxies(text: str) -> Mapping[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedFile("it is not JSON") from None
    proxies = document.get("proxies") if isinstance(document, dict) else None
    return proxies if isinstance(proxies, dict) else {}


def _settings(values: Mapping[str, object], kinds: Mapping[str, str], prefix: str, scope: str) -> Iterator[Setting]:
    for key, kind in kinds.items():
        value = values.get(key)
        if isinstance(value, str) and value:
            yield Setting(kind, f"{prefix}.{key}", (value,), 0, scope)
