"""The structure of the source: allowed imports, a test file for every module, size limits. Files are parsed, not imported."""

import ast
import re
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tunnelctl"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROTO = sorted((PACKAGE / "proto").rglob("*.py"))
GENERATOR = sorted((ROOT / "man/source").glob("*.py"))  # of the manual; not a part of the package, but under the same limits

FILES = [*MODULES, *GENERATOR]

# What each room may import from the package besides itself and namedtuple. Dependencies point one way.
MAY_IMPORT = {
    "tunnelctl": set(),
    "namedtuple": set(),  # a faster typing.NamedTuple: like a part of the standard library
    "status": set(),
    "errors": {"status"},
    "packages": set(),
    "options": set(),
    "events": {"errors"},
    "rare_events": {"errors", "events"},
    "files": {"status", "errors"},
    "engine": set(),
    "proto": {"tunnelctl", "status", "errors"},
    "stream": {"tunnelctl", "status", "errors", "events", "rare_events", "engine", "proto"},
    "control": {"tunnelctl", "status", "errors", "events", "options", "engine", "proto", "stream"},
    "client": {
        "control",
        "tunnelctl",
        "status",
        "errors",
        "events",
        "rare_events",
        "files",
        "packages",
        "options",
        "engine",
        "proto",
        "stream",
    },
    "server": {
        "control",
        "tunnelctl",
        "status",
        "errors",
        "events",
        "rare_events",
        "files",
        "packages",
        "options",
        "engine",
        "proto",
        "stream",
    },
    "cli": {
        "control",
        "tunnelctl",
        "status",
        "errors",
        "events",
        "rare_events",
        "files",
        "packages",
        "options",
        "engine",
        "proto",
        "stream",
        "client",
        "server",
    },
    "__main__": {"cli"},
}

CAN_BLOCK = {
    "socket",
    "_socket",
    "ssl",
    "select",
    "selectors",
    "asyncio",
    "threading",
    "time",
    "os",
    "subprocess",
    "signal",
    "multiprocessing",
}

# Modules whose tests are in a file of another name: they have no behaviour of their own, or another module's tests show it.
TESTED_IN = {
    "stream/network_messages.py": "stream/test_network.py",
    "control/listener.py": "client/forward/test_control.py",  # as forward opens it
    "client/forward/overview.py": "control/test_pages.py",  # what a program says of itself is seen at its endpoint
    "server/observe/overview.py": "control/test_pages.py",
    "server/observe/activity.py": "control/test_pages.py",
    "server/observe/pages.py": "control/test_endpoint.py",
    "__main__.py": "cli/test_main.py",
    "rare_events.py": "test_events.py",
    "stream/events.py": "test_events.py",  # one suite for all events
    "client/forward/events.py": "test_events.py",
    "client/check/events.py": "test_events.py",
    "client/discovery/events.py": "test_events.py",
    "client/discovery/options.py": "cli/spec/test_flags.py",
    "server/events.py": "test_events.py",
    "cli/events.py": "test_events.py",
    "client/check/probe.py": "client/check/test_check.py",
    "stream/tty_keys.py": "tty/test_check_live.py",
    "cli/setup/model.py": "cli/setup/test_tools.py",  # records
    "cli/setup/settings.py": "cli/setup/test_tools.py",
    "cli/setup/formats/model.py": "cli/setup/formats/test_trees.py",
    "cli/spec/ssh_hosts.py": "cli/commands/test_ssh_config.py",
    "cli/spec/flag.py": "cli/spec/test_flags.py",
    "cli/spec/connect_flags.py": "cli/spec/test_flags.py",
    "cli/spec/other_flags.py": "cli/spec/test_flags.py",
    "options.py": "cli/spec/test_flags.py",  # records of defaults
    "client/options.py": "cli/spec/test_flags.py",
    "client/check/options.py": "cli/spec/test_flags.py",
    "client/forward/options.py": "cli/spec/test_flags.py",
    "server/options.py": "cli/spec/test_flags.py",
    "client/forward/session.py": "client/forward/test_forwarder.py",  # what a connection does is seen at its port
    "client/pac/worker.py": "client/pac/test_finder.py",  # it runs as a program
    "client/route/planner.py": "client/test_connect.py",  # what each hop is sent
    "client/route/route.py": "client/test_tunnel.py",  # records
    "client/auth/negotiate.py": "client/auth/test_exchange.py",
    "cli/commands/upstream.py": "server/test_upstream.py",
    "cli/top/live.py": "tty/test_top.py",  # what a person sees
    "cli/top/terminal.py": "tty/test_top.py",
    "stream/accept.py": "server/test_serve.py",  # and client/forward/test_forwarder.py: both live in it
    "stream/socket_stream.py": "stream/test_contract.py",  # one suite for every kind of stream
    "stream/stdio.py": "stream/test_contract.py",
    "stream/reloadable.py": "server/test_reloadable.py",
    "stream/pump.py": "stream/test_bulk.py",
    "stream/splice.py": "stream/test_bulk.py",
    "client/auth/schemes.py": "client/auth/test_exchange.py",
    "proto/http1/render.py": "proto/test_refusal.py",  # each refusal on the wire
    "proto/http2/events.py": "proto/http2/test_rules.py",  # records
    "server/service.py": "server/test_tunnel.py",  # records
    "server/request.py": "server/test_tunnel.py",
    "server/http1.py": "server/test_tunnel.py",
    "server/config.py": "server/test_serve.py",
    "server/server.py": "server/test_serve.py",
    "server/process/worker.py": "server/process/test_supervisor.py",
    "server/observe/record.py": "server/observe/test_recorder.py",  # what is entered
    "stream/tls/errors.py": "stream/tls/test_failure.py",
    "stream/base.py": "stream/test_contract.py",
}

MAX_FUNCTION = 50
MAX_FILE = 600


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


NAMES = [name_of(path) for path in MODULES]


def only_found(found: Mapping[Any, Collection[str]]) -> dict[Any, Collection[str]]:
    """Returns what was found, by file, without the files in which nothing was."""
    return {name: what for name, what in found.items() if what}


def packages_imported(path: Path) -> set[str]:
    """Returns the packages that a module imports."""
    return {name.partition(".")[0] for name in imported(parsed(path))}


def room(path: Path) -> str:
    """The part of the house that a module belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "tunnelctl" if parts == ("__init__",) else parts[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yields the full names of all imports in a module, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    """Returns the rooms that a module imports from; `from tunnelctl import __version__` is the package itself."""
    found = set()
    for name in imported(parsed(path)):
        top, _, rest = name.partition(".")
        if top == "tunnelctl":
            first = rest.partition(".")[0]
            found.add(first if first in MAY_IMPORT and first != "tunnelctl" else "tunnelctl")
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def code_lines(source: str, tree: ast.AST) -> set[int]:
    """Returns the numbers of the lines that hold code: not blank, no comment, no docstring."""
    holding = {n for n, line in enumerate(source.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            docstring = node.body[0]
            holding -= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return holding


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_room_has_an_import_rule():
    assert {room(path) for path in MODULES} <= set(MAY_IMPORT)


def test_dependencies_point_one_way():
    beyond = {name_of(path): rooms_imported(path) - MAY_IMPORT[room(path)] - {room(path), "namedtuple"} for path in MODULES}
    assert only_found(beyond) == {}


def test_modules_do_not_import_each_other_in_a_circle():
    """Imports inside functions and for type checkers count: they hide a circle but do not remove it."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}
    imports = {name: {found for found in map(module_of(names), imported(parsed(path))) if found} for name, path in names.items()}
    assert circles(imports) == []


def test_a_circle_is_detected():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def module_of(names):
    """Maps an imported name to its module in the package, or to None for a name from elsewhere."""
    return lambda name: name if name in names else name.rpartition(".")[0] if name.rpartition(".")[0] in names else None


def circles(imports):
    """Returns the sets of modules that all reach each other, with the names in order."""
    reached = {name: reachable(name, imports) for name in imports}
    found = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in imports if name in reached[name]}
    return [list(circle) for circle in sorted(found)]


def reachable(name, imports):
    """Returns the modules that a module reaches through any number of imports; itself only through another."""
    found, left = set(), [other for other in imports[name] if other != name]
    while left:
        if (other := left.pop()) not in found:
            found.add(other)
            left.extend(imports[other])
    return found


def test_the_check_of_imports_can_fail():
    """A check that reads files would pass if it read none."""
    assert {room(path) for path in MODULES} >= {"proto", "engine", "client", "server", "cli"}
    assert "client" in rooms_imported(PACKAGE / "cli/main.py"), "an import inside a function must be found"
    assert rooms_imported(PACKAGE / "errors.py") == {"status"}
    assert len(PROTO) > 20
    assert "_socket" in imported(parsed(PACKAGE / "stream/dial.py"))


def test_proto_imports_no_module_that_can_block():
    assert only_found({name_of(path): packages_imported(path) & CAN_BLOCK for path in PROTO}) == {}


# The import name of a package, where it differs from the package name.
IMPORTED_AS = {"mini-racer": "py_mini_racer", "pyspnego": "spnego", "prometheus-client": "prometheus_client"}

# Modules that need an extra, and report it if it is missing.
OPTIONAL = {"client/pac/worker.py": "pac", "client/auth/negotiate.py": "negotiate"}


def declared(extra: str = "") -> set[str]:
    """Returns the modules that pyproject.toml declares as requirements, including those of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else ())]
    names = {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in wanted}
    return {IMPORTED_AS.get(name, name) for name in names}


def test_modules_import_only_the_standard_library_and_declared_packages():
    """A package that only another package requires is not declared, and a plain install has no extras."""
    known = {extra: {*sys.stdlib_module_names, "tunnelctl", *declared(extra)} for extra in ("", *OPTIONAL.values())}
    assert only_found({name: packages_imported(PACKAGE / name) - known[OPTIONAL.get(name, "")] for name in NAMES}) == {}


def test_every_module_has_its_test_file():
    files = {name: TESTED_IN.get(name, Path(name).with_name(f"test_{Path(name).name}")) for name in NAMES}
    assert [name for name, file in files.items() if not name.endswith("__init__.py") and not (ROOT / "tests" / file).exists()] == []


def test_no_entry_of_tested_in_is_stale():
    assert all((PACKAGE / name).exists() for name in TESTED_IN)


def test_no_test_module_imports_another():
    """Shared code belongs in a helper module beside them, or in a fixture in conftest.py."""
    found = [(path, name) for path in ROOT.glob("tests/**/*.py") for name in imported(parsed(path)) if ".test_" in name]
    assert found == []


def test_files_and_functions_are_within_the_size_limits():
    assert only_found({path.relative_to(ROOT): too_long(path) for path in FILES}) == {}


def too_long(path: Path) -> list[str]:
    """Returns what is too long in a file, with its number of lines of code."""
    tree = parsed(path)
    lines = code_lines(path.read_text("utf-8"), tree)
    found = {function.name: lines & set(range(function.lineno, (function.end_lineno or 0) + 1)) for function in functions(tree)}
    long = [f"{name}: {len(own)}" for name, own in found.items() if len(own) > MAX_FUNCTION]
    return [*long, *([f"the file: {len(lines)}"] if len(lines) > MAX_FILE else ())]


def test_the_check_of_sizes_can_fail(tmp_path):
    file = tmp_path / "long.py"
    file.write_text("def f():\n" + "    f()\n" * MAX_FUNCTION + "f()\n" * MAX_FILE)
    assert too_long(file) == [f"f: {MAX_FUNCTION + 1}", f"the file: {MAX_FUNCTION + 1 + MAX_FILE}"]


def test_every_function_is_annotated():
    assert only_found({path.relative_to(ROOT): not_annotated(path) for path in FILES}) == {}


def not_annotated(path: Path) -> list[str]:
    """Returns the functions of a file that lack an annotation."""
    found = []
    for function in functions(parsed(path)):
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        bare = [a.arg for a in named if a is not None and a.annotation is None and a.arg not in ("self", "cls")]
        if bare or function.returns is None:
            found.append(function.name)
    return found


def test_the_check_of_annotations_can_fail(tmp_path):
    file = tmp_path / "bare.py"
    file.write_text("def f(a) -> None: ...\ndef g(a: int): ...\ndef h(self, a: int) -> int: ...\n")
    assert not_annotated(file) == ["f", "g"]


# Calls that read or write files, wait, prompt a person, or run a kernel or a program. Allocation does not count: anonymous
# memory, a pipe, a socket pair, random bytes.
DOES_WORK = re.compile(
    r"(^|\.)_?(open|run|call|check_output|Popen|getpass|input|ask|ask_now|find|prepare|load|reload|read|readline|readinto|recv|"
    r"accept|connect|dial|resolve|getaddrinfo|gethostbyname|sleep|wait|write|send|sendall|unlink|mkdir|listdir|client_context|"
    r"server_context)(_\w+)?$"
)

# Constructors that may do so, and why.
MAY_WORK = {
    ("Stdio", "os.open"),  # reopens its standard output if that is a terminal: for an O_NONBLOCK flag of its own
}


def works(path: Path) -> set[tuple[str, str]]:
    """Returns the constructors of a module that call such functions: directly, in other methods, or in functions of the module."""
    tree = parsed(path)
    beside = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found = set()
    for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        methods = {f"self.{node.name}": node for node in cls.body if isinstance(node, ast.FunctionDef)}
        left, seen = [node for node in methods.values() if node.name in ("__init__", "__new__")], set()
        while left:
            node = left.pop()
            for called in called_by(node):
                inner = methods.get(called) or beside.get(called)
                if inner is None and DOES_WORK.search(called):
                    found.add((cls.name, called))
                elif inner is not None and called not in seen:
                    seen.add(called)
                    left.append(inner)
    return found


def called_by(function: ast.FunctionDef) -> Iterator[str]:
    """Yields the calls that run when the function is called, without those in functions and lambdas that it only defines."""
    left: list[ast.AST] = [*function.body]
    while left:
        node = left.pop()
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
        if not isinstance(node, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
            left.extend(ast.iter_child_nodes(node))


def test_no_constructor_does_work():
    """Creating an object neither reads, waits nor prompts: such work is a separate step with a name, where its errors belong."""
    assert only_found({name_of(path): works(path) - MAY_WORK for path in MODULES}) == {}


def test_no_exception_for_a_constructor_is_stale():
    assert set().union(*map(works, MODULES)) >= MAY_WORK


def test_a_constructor_that_does_work_is_detected(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(
        "def fetch(path):\n    return open(path).read()\n"
        "class Direct:\n    def __init__(self, load):\n        self.value = load()\n"
        "class Indirect:\n    def __init__(self):\n        self._begin()\n"
        "    def _begin(self):\n        self.text = fetch('x')\n"
        "class Later:\n    def __init__(self):\n        self.load = lambda: fetch('x')\n"
        "    def later(self):\n        run(self.load)\n"
    )
    assert {name for name, _ in works(module)} == {"Direct", "Indirect"}


def test_every_module_has_a_docstring():
    assert [path for path in FILES if not ast.get_docstring(parsed(path))] == []
