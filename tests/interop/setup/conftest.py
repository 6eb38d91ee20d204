"""Each real tool reads the lines that `setup` printed for it, and the access log of `serve` shows the tool's request.

The tools ask for names that only `serve` can look up, so a tool that bypasses the proxy fails. Between them is `forward`, which
takes plain http:// requests as well.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.https import web_server
from tests.peers.program import Forward, Serve
from tests.peers.tools import LOOKUP, NAME, Route


@pytest.fixture(scope="module")
def route(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Route]:
    log = tmp_path_factory.mktemp("log") / "access"
    with (
        Serve("--access-log", str(log), allow=(f"{NAME}:*",), program=LOOKUP) as serve,
        Forward("-x", serve.url, "-D", "0") as port,
    ):
        yield Route(port.port, log)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "home"
    directory.mkdir()
    return directory


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A website: its directory, and its port."""
    root = tmp_path / "web"
    root.mkdir()
    (root / "file").write_text("through\n")
    with web_server(root) as port:
        yield root, port
