"""Rules for every test: no inherited settings, no leaked sockets, no processes left behind, and required programs present."""

import ctypes
import gc
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest

from tests.peers.events import checking
from tests.peers.process import ended_within, give_programs_their_signals, missing

_FOREIGN_SETTING = re.compile(r"(?i)^(?:.*_proxy|tunnelctl_(?!poller$|portable$).*|ncat_proxy_auth|netrc|columns|lines)$")
# Their tests run no event loop.
_WITHOUT_POLLER = [
    *(Path(__file__).parent / name for name in ("files", "proto", "cli/parse", "cli/render", "cli/setup", "cli/spec")),
    *(Path(__file__).parent / f"man/test_{name}.py" for name in ("documentation", "generate", "man", "messages")),
    Path(__file__).parent / "test_structure.py",
]
_PR_SET_CHILD_SUBREAPER = 36
_LEAVE_SECONDS = 15.0

# By default, hypothesis fails an example that takes longer than 200 ms, as any may on a machine that pauses.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", 'peer(*programs): needs these real programs (installed by tests/run); leave out with -m "not peer"'
    )
    config.addinivalue_line(
        "markers", "once: not repeated on the second poller, because it is slow and about protocols, which know of no poller"
    )
    config.addinivalue_line("markers", "artefact: builds and uses what is published; takes minutes, so only -m artefact selects it")
    config.addinivalue_line("markers", "linux(why): about what Linux alone has; left out elsewhere, and of the portable run")
    give_programs_their_signals()
    # Otherwise the developer's own proxy settings would decide which proxy connect, curl, git and httpx use.
    for name in [name for name in os.environ if _FOREIGN_SETTING.match(name)]:
        del os.environ[name]
    # So would the settings file. Other programs keep their settings there too, so the directory must exist.
    directory = tempfile.TemporaryDirectory(prefix="tunnelctl-test-")
    config.add_cleanup(directory.cleanup)
    os.environ["XDG_CONFIG_HOME"] = directory.name
    # Forwards of the tests have their control sockets apart from those of the developer. It is short: a socket's path has a limit.
    runtime = tempfile.TemporaryDirectory(prefix="tunnelctl-run-")
    config.add_cleanup(runtime.cleanup)
    os.environ["XDG_RUNTIME_DIR"] = runtime.name
    # If a test collects the output of a program with communicate(), the events in it are checked against their schema.
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setattr(subprocess.Popen, "communicate", checking(subprocess.Popen.communicate))
    # A tunnelctl that outlives the ssh that started it becomes a child of this process, so that nothing_left sees it.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects what the run at hand leaves out.

    The second run is that on the other poller: tests/run uses the default first. Some tests know of none, or are marked `once`.
    What is marked `linux` is left out on other systems, and in the portable run; what is marked `artefact`, unless -m names it.
    """
    second, elsewhere, artefacts = "TUNNELCTL_POLLER" in os.environ, sys.platform != "linux", "artefact" in config.option.markexpr
    left = {
        item
        for item in items
        if (second and _runs_once(item))
        or (elsewhere and item.get_closest_marker("linux"))
        or (not artefacts and item.get_closest_marker("artefact"))
    }
    config.hook.pytest_deselected(items=list(left))
    items[:] = [item for item in items if item not in left]


def _runs_once(item: pytest.Item) -> bool:
    return item.get_closest_marker("once") is not None or any(map(item.path.is_relative_to, _WITHOUT_POLLER))


def pytest_runtest_setup(item: pytest.Item) -> None:
    absent = [program for mark in item.iter_markers("peer") for program in missing(*mark.args)]
    if not absent:
        return
    text = f"missing here: {', '.join(absent)} (tests/run installs them where it may)"
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def _open_sockets() -> set[str]:
    """Returns the sockets of this process by inode: a descriptor number would be reused by the next one."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if link.startswith("socket:"):
            found.add(link)
    return found


def _children() -> set[int]:
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as listing:
                found.update(map(int, listing.read().split()))
        except FileNotFoundError:  # a thread that has ended meanwhile, or a kernel built without this file
            continue
    return found


def _stays(pid: int) -> str:
    """Waits for a child to end. If it does not, kills it and returns its command line; otherwise returns ""."""
    if ended_within(pid, _LEAVE_SECONDS):
        left = ""
    else:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            left = line.read().replace(b"\0", b" ").decode(errors="replace")
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # it has already been reaped
        os.waitpid(pid, 0)
    return left


def _stay_open(before: set[str]) -> set[str]:
    """Returns the sockets opened since `before` that stay open. The server thread of a wider fixture may just be closing one."""
    if _open_sockets() - before:
        gc.collect()  # sockets that only a cycle keeps open: collected here, their ResourceWarning names this test
    deadline = time.monotonic() + _LEAVE_SECONDS
    while (leaked := _open_sockets() - before) and time.monotonic() < deadline:
        time.sleep(0.005)
    return leaked


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fails a test that leaves a socket open or a process running.

    Fixtures of a wider scope are set up before this one, so their sockets and processes are not counted.
    """
    sockets, children = _open_sockets(), _children()
    yield
    running = [line for line in map(_stays, _children() - children) if line]
    leaked = _stay_open(sockets)
    if running or leaked:
        pytest.fail(f"left behind: {len(leaked)} sockets, processes {running}", pytrace=False)


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes passwords at a thousandth of the cost, in tests that are not about scrypt."""
    from tunnelctl.server.access import users

    monkeypatch.setattr(users, "COST_N", 4)
    monkeypatch.setattr(users, "COST_P", 1)


@pytest.fixture
def loopback_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolves every name to loopback, where a test allows it by that name or by the address."""
    from tests.server.harness import Names

    Names(monkeypatch, www_example_com=[["127.0.0.1"]], bad_example_org=[["127.0.0.1"]])
