"""A tunnelctl that searches a tree of files in place of this machine: `check` would try the proxies of the developer's settings."""

from pathlib import Path

from tests.peers.program import patched


def in_tree(root: Path) -> list[str]:
    """The command."""
    module = "tunnelctl.client.discovery.settings.machine"
    return list(patched(f"import {module} as machine\nmachine.ROOT = {str(root)!r}"))
