"""The modules that `connect` has loaded when it dials: every ssh connection pays for them."""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import certificates
from tests.peers.imports import lazy_imports, listed
from tests.peers.process import free_port
from tests.peers.scripted import ESTABLISHED, Conversation, ScriptedServer

ROOT = Path(__file__).parents[1]

HEAVY = {
    "typer", "pydantic", "rich", "httpx", "asyncio", "importlib.metadata", "ssl", "dataclasses", "logging", "inspect", "argparse",
    "json", "urllib.parse", "tomllib", "typing", "re", "concurrent.futures", "textwrap", "difflib", "hashlib", "hpack",
}  # fmt: skip
# Python's layers over _socket and _signal, and what they load: a quarter of the start of `connect` before it did without them.
LAYERS = {"socket", "selectors", "signal", "enum", "functools", "collections", "operator", "heapq", "types"}

# Runs the file that is installed as the program. At the first connect() of any socket, by whatever call, the audit hook prints
# the loaded modules and ends the process; the hook itself needs no import. -I and -S exclude the environment and .pth files.
HARNESS = """
import os, sys

def hook(event, args):
    if event == "socket.connect":
        os.write(1, "\\n".join(["DIALLING", *sys.modules]).encode())
        os._exit(99)

sys.addaudithook(hook)
sys.path[:0] = {path!r}
sys.argv = ["tunnelctl", *{argv!r}]
exec(open({script!r}).read())
"""


def loaded(argv: list[str], env: dict[str, str] | None = None, packages: bool = False) -> set[str]:
    """Returns the modules loaded at the moment of dialling."""
    path = [str(ROOT), *([p for p in sys.path if p.endswith("site-packages")] if packages else [])]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", HARNESS.format(path=path, argv=argv, script=str(ROOT / "tunnelctl/__main__.py"))],
        stdin=subprocess.DEVNULL, capture_output=True, env=env or {}, timeout=20, text=True,
    )  # fmt: skip
    assert done.returncode == 99, f"the program did not dial: {done.stderr}"
    first, *modules = done.stdout.splitlines()
    assert first == "DIALLING"
    return set(modules)


@pytest.fixture
def proxy() -> str:
    return f"http://127.0.0.1:{free_port()}"


LINES = {
    "plain": "connect -x {proxy} host 22",
    "one word": "connect --proxy={proxy} host:22",
    "verbose": "connect -vv -x {proxy} [::1]:22",
    "fields and limits": "connect -x {proxy} --header A:b --timeout 5 --keepalive 0 --retry 0 host 22",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_connect_loads_no_heavy_module_before_it_dials(proxy, line):
    modules = loaded(line.format(proxy=proxy).split())
    assert "tunnelctl.client.connect" in modules
    assert "_socket" in modules
    assert modules & HEAVY == set()
    others = {"cli.parse.typer_app", "cli.spec.commands", "cli.spec.flags", "cli.render.help"}
    assert not {f"tunnelctl.{name}" for name in others} & modules
    assert not [name for name in modules if name.startswith(("tunnelctl.cli.render.hints", "tunnelctl.cli.spec.messages"))]
    assert ("tunnelctl.cli.render.console" in modules) == ("-vv" in line), "loaded only if something may be printed"


@pytest.mark.parametrize("line", [LINES[name] for name in ("plain", "one word", "fields and limits")])
def test_connect_uses_the_modules_in_c_without_those_over_them(line, proxy):
    assert loaded(line.format(proxy=proxy).split()) & (HEAVY | LAYERS) == set()


# Runs a whole tunnel, whose bytes come before the line with the modules.
TUNNEL = "import sys; sys.path.insert(0, {path!r}); from tunnelctl.cli.main import main; main({argv!r}); print(*sys.modules)"


def test_tls_uses_the_module_in_c_without_that_over_it(tmp_path):
    """ssl doubles what TLS adds to the start; the codec of host names and hashlib are not needed either."""
    files = certificates.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.server)

    def greet(peer: Conversation) -> None:
        with context.wrap_socket(peer.sock, server_side=True) as tls:
            Conversation(tls).accept_tunnel(ESTABLISHED + b"hello\n")
            tls.unwrap()

    with ScriptedServer(greet) as server:
        argv = f"connect -4 -x https://localhost:{server.port} --proxy-cacert {files.authority} host 22".split()
        code = TUNNEL.format(path=str(ROOT), argv=argv)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, env={}, timeout=20, text=True
        )
    hello, line = done.stdout.splitlines()
    modules = set(line.split())
    assert (hello, done.stderr) == ("hello", "")
    assert {"_ssl", "tunnelctl.stream.tls.stream"} <= modules
    assert modules & (HEAVY | LAYERS | {"base64", "encodings.idna"}) == set()


def test_the_short_form_with_a_proxy_variable_loads_nothing_heavy(proxy):
    modules = loaded(["host", "22"], env={"TUNNELCTL_PROXY": proxy, "NO_PROXY": "example.com,10.0.0.0/8"})
    assert modules & HEAVY == set()


def test_a_missing_settings_file_loads_nothing_more(proxy, tmp_path):
    modules = loaded(["connect", "-x", proxy, "host", "22"], env={"HOME": str(tmp_path)})
    assert modules & HEAVY == set()
    assert not {"tunnelctl.cli.parse.settings_file", "pathlib", "difflib"} & modules


def test_a_settings_file_loads_tomllib_but_not_typer(proxy, tmp_path):
    (tmp_path / "tunnelctl").mkdir()
    (tmp_path / "tunnelctl/config.toml").write_text(f'[defaults]\nproxy = "{proxy}"\n')
    modules = loaded(["connect", "host", "22"], env={"XDG_CONFIG_HOME": str(tmp_path)})
    assert "tomllib" in modules
    assert not {"typer", "pydantic", "ssl", "asyncio", "json", "tunnelctl.cli.parse.typer_app"} & modules


def test_credentials_in_the_url_load_nothing_heavy(proxy):
    modules = loaded(["connect", "-x", proxy.replace("//", "//user:p%40ss@"), "host", "22"])
    assert modules & HEAVY == set()


def test_the_measurement_detects_typer(proxy):
    """Runs the same harness on a line that the direct parser leaves to Typer, which shows that the tests above can fail."""
    modules = loaded(["connect", f"-x{proxy}", "host", "22"], packages=True)
    assert {"typer", "inspect"} <= modules


# serve and forward end at once: no machine has this address.
OTHER_LINES = (
    "env -x http://proxy:1",
    "ssh-config host",
    "setup curl -x http://proxy:1",
    "status",
    "top --json",
    "stop nothing",
    "hash-password",
    "completion bash",
    "help status",
    "check-policy policy.toml host 22",
    "check -x http://127.0.0.1:1 host 22",
    "forward -x direct -L 192.0.2.1:1:host:22 --open-proxy",
    "serve --listen 192.0.2.1:1 --open-proxy",
)
RUN = "import sys; from tunnelctl.cli.main import main; main(sys.argv[1:]); print(*sys.modules)"


@pytest.mark.parametrize("line", OTHER_LINES)
def test_no_plain_line_of_another_command_loads_typer(line):
    """Typer takes longer than most commands. Shells start `env` for each prompt window, scripts start `status`."""
    environ = {"XDG_RUNTIME_DIR": "/nonexistent", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", RUN, *line.split()], capture_output=True, env=environ, timeout=20, text=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "tunnelctl.cli.parse.call" in modules
    assert not {"typer", "pydantic", "httpx", "asyncio"} & set(modules), done.stderr


def test_connect_loads_neither_the_pool_nor_other_protocols(proxy):
    modules = loaded(["connect", "-x", proxy, "host", "22"])
    assert "tunnelctl.client.upstream.base" in modules
    assert not {"tunnelctl.client.pool", "tunnelctl.client.upstream.socks"} & modules


def test_through_a_control_socket_it_loads_nothing_that_finds_or_reaches_a_proxy(tmp_path):
    modules = loaded(["connect", "--via", str(tmp_path / "x.sock"), "host", "22"])
    assert modules & HEAVY == set()
    usual = {"retry", "tunnel", "route.planner", "route.selection", "route.fingerprint", "auth.exchange", "fdpass"}
    assert not {f"tunnelctl.client.{name}" for name in usual} & modules
    assert not {"tunnelctl.stream.dial", "tunnelctl.stream.listen", "tunnelctl.engine.resolver"} & modules


def test_without_it_connect_loads_nothing_of_it(proxy):
    modules = loaded(["connect", "-x", proxy, "host", "22"])
    assert not {"tunnelctl.client.via", "tunnelctl.control.directory", "tunnelctl.stream.unix_stream"} & modules


def test_connect_does_not_load_the_server(proxy):
    assert not {name for name in loaded(["connect", "-x", proxy, "host", "22"]) if name.startswith("tunnelctl.server")}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_connect_loads_only_its_own_event_modules(proxy, line):
    modules = loaded(line.format(proxy=proxy).split())
    printed = {"tunnelctl.rare_events"} if "-vv" in line else set()
    assert {name for name in modules if name.startswith("tunnelctl.") and name.endswith("events")} == {"tunnelctl.events"} | printed


def test_an_import_inside_a_function_has_its_cost_in_the_table():
    """`python -m tests.peers.imports` measures anew. What costs nothing stands at the top of its module."""
    assert set(listed()) == lazy_imports()
    assert {module: cost for module, cost in listed().items() if cost < 0.1} == {}
