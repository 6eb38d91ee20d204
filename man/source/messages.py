"""Every message of the program, collected from its source for the manual: the texts of its errors and warnings.

A text is traced to the literals that it comes from: through a variable of the same function, a parameter to the callers in the same
module, a function's returns, a table. The arguments of one caller stay together: its hint is never combined with another caller's
cause. A value that is known only at run time becomes a word in capitals.
"""

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import product
from typing import NamedTuple

from tunnelctl import errors
from tunnelctl.proto.http1.connect_client import IS_IT_TLS, NO_TLS_EITHER

MOST = 40  # texts that one place may produce; more would be a mistake of ours
DEPTH = 3  # functions through which a text is traced

Function = ast.FunctionDef | ast.AsyncFunctionDef
Given = dict[str, tuple["Scope", ast.expr]]

# Words for expressions whose own last name would not be clear enough.
WORDS = {
    "address._replace(port=0)": "ADDRESS:0",
    "argv[0]": "WORD",
    "at": "TIME",
    "cause_of": "CAUSE",
    "cert[0]": "FLAG",
    "cert[1]": "FILE",
    "command or 'wrong use'": "COMMAND",
    "dropped": "N",
    "error.format_message()": "CAUSE",
    "error.strerror": "REASON",
    "error": "REASON",
    "flags": "--proxy",  # the beginning of a flag for TLS
    "header.get(fields, 'host')": "HOST",
    "header.parse(text)[0]": "NAME",
    "hop.address": "PROXY",
    "idle_timeout": "N",
    "install_command": "COMMAND",
    "join": "LIST",
    "key[0]": "FLAG",
    "key[1]": "FILE",
    "left": "N",
    "len": "N",
    "line_of": "LINE",
    "lower": "REASON",
    "max": "N",
    "min": "N",
    "monotonic": "N",
    "nearest": "PROXY",
    "next": "FLAG",
    "offered": "SCHEMES",
    "options.get": "PATH",
    "peer": "PROXY",
    "PROTOCOLS[protocol].name": "PROTOCOL",
    "reason": "REASON",
    "replace": "REASON",
    "report": "CAUSE",
    "round": "N",
    "scheme": "SCHEME",
    "seen": "SHA256",
    "rpartition": "CAUSE",
    "sessions": "N",
    "status.waitstatus_to_exitcode": "STATUS",
    "stop": "TARGET",
    "stops": "TARGET",
    "timeout": "N",
    "_to_install": "COMMAND",
    "wait": "STATUS",
    "route.family": "N",
    "route.hops[0].address": "PROXY",
    "route.unused": "VARIABLE",
    "route.via[place]": "PROXY",
    "words[0]": "COMMAND",
}
THROUGH = (
    "shown",
    "str",
    "mask_word",
    "quote",
    "strip",
    "rstrip",
    "removeprefix",
    "sorted",
)  # functions and methods that only transform a text

LATER = {IS_IT_TLS: NO_TLS_EITHER}  # a hint, and the one that replaces it once more is known

# The module whose errors end nothing: a meaningless entry of no_proxy is passed over, and -v shows the cause.
PASSED_OVER = "no_proxy.py"

CLASSES: dict[str, type[errors.TunnelctlError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.TunnelctlError)
}


class Message(NamedTuple):
    """One message, `what: cause`, with the hints that may follow; a warning or a line of -v has no status."""

    status: int | None
    text: str
    hints: tuple[str, ...]


@cache
def collected() -> tuple[Message, ...]:
    """Returns all messages in alphabetical order; a message from several places occurs once."""
    hints: dict[tuple[int | None, str], dict[str, None]] = {}
    for path in modules(files("tunnelctl")):
        for status, text, hint in Module(ast.parse(path.read_text("utf-8"))).messages():
            if path.name == PASSED_OVER:
                status, text = None, f"ignored: ENTRY in VARIABLE: {text.partition(': ')[2]}"
            found = hints.setdefault((status, text), {})
            if hint and not re.fullmatch("[A-Z-]+", hint):  # in capitals: the hint of another error, which is listed itself
                found.update(dict.fromkeys((hint, LATER.get(hint, hint))))
    return tuple(Message(*key, tuple(sorted(hints[key]))) for key in sorted(hints, key=lambda key: key[1].lower()))


def modules(directory: Traversable) -> Iterator[Traversable]:
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from modules(entry)
        elif entry.name.endswith(".py"):
            yield entry


class Module:
    """A module, and its names that texts may come from."""

    def __init__(self, tree: ast.Module) -> None:
        self.functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
        self.values = {**dict(imported(tree)), **dict(assignments(tree.body))}
        self.attributes: dict[str, list[tuple[Function, ast.expr]]] = {}
        for function in self.functions:
            for name, value in attributes(function):
                self.attributes.setdefault(name, []).append((function, value))
        self.calls = [(function, call) for function in self.functions for call in calls(function)]
        self.callers: dict[str, list[tuple[Function, ast.Call]]] = {}
        for function, call in self.calls:
            self.callers.setdefault(callee(call), []).append((function, call))

    def messages(self) -> Iterator[tuple[int | None, str, str]]:
        """Yields status, text and hint, one of each: a message with two hints is yielded twice."""
        for function, call in self.calls:
            plain = Scope(self, function)
            if ast.unparse(call.func) == "events.Warning":
                yield from ((None, f"warning: {text}", "") for text in plain.texts(call.args[0]))
            if len(call.args) > 1 and (kinds := plain.classes(call.func)):
                scopes = [unpacked for scope in plain.called() for unpacked in scope.unpacked()]
                yield from (message for scope in scopes for kind in kinds for message in made(kind, call, scope))


def made(kind: type[errors.TunnelctlError], call: ast.Call, scope: "Scope") -> Iterator[tuple[int, str, str]]:
    """Yields the messages that the call of an error may make of its arguments."""
    hint = keywords(call).get("hint", call.args[2] if len(call.args) > 2 else ast.Constant(""))
    for what, cause, help_ in product(*map(scope.texts, (*call.args[:2], hint))):
        if what:  # the phase of an attempt is empty until it has begun
            yield int(kind.status), f"{what}: {cause}", help_


def keywords(call: ast.Call) -> dict[str | None, ast.expr]:
    return {word.arg: word.value for word in call.keywords}


def calls(function: ast.AST) -> Iterator[ast.Call]:
    """Yields the calls in a function, except those in a function inside it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.Call):
            yield node
        if not isinstance(node, Function):
            yield from calls(node)


def assignments(nodes: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in nodes:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and node.value is not None:
            yield target.id, node.value


def imported(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yields the texts, and the tables of texts, that a module imports from others of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("tunnelctl."):
            for alias in node.names:
                value = getattr(import_module(node.module), alias.name, None) if alias.name.isupper() else None
                if isinstance(value, str | dict):
                    with suppress(SyntaxError):  # a table of something else
                        yield alias.asname or alias.name, ast.parse(repr(value), mode="eval").body


def attributes(function: Function) -> Iterator[tuple[str, ast.expr]]:
    """Yields the attributes that a method sets on its object, with their values."""
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Assign)
            and isinstance(target := node.targets[0], ast.Attribute)
            and ast.unparse(target.value) == "self"
        ):
            yield target.attr, node.value


class Scope:
    """A function, and the values that its names may have; with `given`, the arguments of one call of it."""

    def __init__(self, module: Module, function: Function, depth: int = 0, given: "Given | None" = None) -> None:
        self._module, self._function, self._depth, self._given = module, function, depth, given
        self._locals: dict[str, list[ast.expr]] = {}
        for name, value in assignments([node for node in ast.walk(function) if isinstance(node, ast.stmt)]):
            self._locals.setdefault(name, []).append(value)
        assigned = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
        self._taken_apart = [(node.targets[0], node.value) for node in assigned if isinstance(node.targets[0], ast.Tuple)]
        self._parameters = [argument.arg for argument in function.args.args if argument.arg != "self"]

    def called(self) -> "list[Scope]":
        """Returns this function as each of its callers in the module calls it, so that the texts of one call stay together."""
        sites = self._module.callers.get(self._function.name)
        if not sites or not self._parameters or self._depth >= DEPTH:
            return [self]
        callers = ((scope, call) for function, call in sites for scope in Scope(self._module, function, self._depth + 1).called())
        return [Scope(self._module, self._function, self._depth, self._bound(scope, call)) for scope, call in callers]

    def _bound(self, caller: "Scope", call: ast.Call) -> "Given":
        """Returns the parameters with the arguments of a call, and with their defaults where it passes none."""
        defaults = self._function.args.defaults
        own = zip(self._parameters[len(self._parameters) - len(defaults) :], defaults, strict=True)
        theirs = [*zip(self._parameters, call.args, strict=False), *((str(name), node) for name, node in keywords(call).items())]
        return {**{name: (self, node) for name, node in own}, **{name: (caller, node) for name, node in theirs}}

    def unpacked(self) -> "list[Scope]":
        """Returns this function with each pair of texts that an unpacking such as `cause, hint = …` may take from a literal."""
        scopes = [self]
        for target, value in self._taken_apart:
            for place, pair in self._tuples(value):
                if not all(map(self._is_written_down, pair.elts)):
                    continue  # a computed value stays a word in capitals
                names = [word.id if isinstance(word, ast.Name) else "" for word in target.elts]
                given = {**(self._given or {}), **{name: (place, text) for name, text in zip(names, pair.elts, strict=False)}}
                scopes.append(Scope(self._module, self._function, self._depth, given))
        return scopes[1:] or scopes

    def _is_written_down(self, node: ast.expr) -> bool:
        """Whether an expression is a text, the name of one, or a call of a function of this module."""
        own = isinstance(node, ast.Call) and any(function.name == callee(node) for function in self._module.functions)
        return own or isinstance(node, ast.Constant | ast.JoinedStr) or ast.unparse(node) in self._module.values

    def _tuples(self, node: ast.expr) -> "list[tuple[Scope, ast.Tuple]]":
        """Returns the tuples that an expression may be, each with the scope of its names."""
        match node:
            case ast.Tuple():
                return [(self, node)]
            case ast.IfExp(body=one, orelse=other):
                parts = [one, other]
            case ast.BoolOp(values=values):
                parts = values
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if self._depth < DEPTH:
                set_by = self._module.attributes.get(name, [])
                return [
                    pair for function, value in set_by for pair in Scope(self._module, function, self._depth + 1)._tuples(value)
                ]
            case ast.Call(func=ast.Attribute(value=table, attr="get"), args=[_, *default]):
                parts = [*self._table(table), *default]
            case ast.Call():
                scope, returned = self._results(node)
                return [pair for value in returned for pair in scope._tuples(value)]
            case _:
                parts = [self._module.values[node.id]] if isinstance(node, ast.Name) and node.id in self._module.values else []
        return [pair for part in parts for pair in self._tuples(part)]

    def _results(self, call: ast.Call) -> "tuple[Scope, list[ast.expr]]":
        """Returns the scope and the return values of a called function; none beyond DEPTH, since functions may call each other."""
        own = [function for function in self._module.functions if function.name == callee(call)]
        if not own or self._depth >= DEPTH:
            return self, []
        returned = [each.value for each in ast.walk(own[0]) if isinstance(each, ast.Return) and each.value is not None]
        return Scope(self._module, own[0], self._depth + 1, Scope(self._module, own[0])._bound(self, call)), returned

    def classes(self, node: ast.expr) -> list[type[errors.TunnelctlError]]:
        """Returns the error classes that a callable may be: a name, a variable, one of two, or a table with a default."""
        if isinstance(node, ast.Name) and node.id in CLASSES:
            return [CLASSES[node.id]]
        if isinstance(node, ast.Name):
            return [kind for value in self._locals.get(node.id, []) for kind in self.classes(value)]
        if isinstance(node, ast.IfExp):
            return [*self.classes(node.body), *self.classes(node.orelse)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            table = self._table(node.func.value)
            return list(dict.fromkeys(kind for value in (*node.args[1:], *table) for kind in self.classes(value)))
        return []

    def texts(self, node: ast.expr) -> list[str]:
        """Returns the texts that an expression may have as its value."""
        match node:
            case ast.Constant(value=str(text)):
                found = [text]
            case ast.JoinedStr(values=parts):
                found = self._joined(parts)
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                found = self._joined([left, right])
            case ast.IfExp(body=one, orelse=other):
                found = [*self.texts(one), *self.texts(other)]
            case ast.BoolOp(values=values):
                found = [text for value in values for text in self.texts(value)]
            case ast.Name(id=name):
                found = self._named(name, node)
            case ast.Subscript(value=table) if values := self._table(table):
                found = [text for value in values for text in self.texts(value)]
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in self._module.attributes:
                found = [text for function, value in self._module.attributes[name] for text in self._in(function, value)]
            case ast.Call():
                found = self._called(node)
            case _:
                found = [word(node)]
        return list(dict.fromkeys(found))[:MOST]

    def _joined(self, parts: list[ast.expr]) -> list[str]:
        choices = [self._inserted(part.value) if isinstance(part, ast.FormattedValue) else self.texts(part) for part in parts]
        return ["".join(pieces) for pieces in product(*map(optional, choices))][:MOST]

    def _inserted(self, node: ast.expr) -> list[str]:
        """Returns the texts for a gap in an f-string: literals that are defined near it, else a word in capitals."""
        name = node.id if isinstance(node, ast.Name) else ""
        written = isinstance(self._module.values.get(name), ast.Constant) and not name.startswith("MAX")
        apart = name in (self._given or {}) and name not in self._parameters
        near = isinstance(node, ast.IfExp | ast.Subscript) or name in self._locals or written or apart
        found = self.texts(node) if near else []
        return found if found and len(found) <= 2 else [word(node)]

    def _in(self, function: Function, node: ast.expr) -> list[str]:
        """Returns the texts of an expression in another function of the module."""
        return Scope(self._module, function, self._depth + 1).texts(node) if self._depth < DEPTH else [word(node)]

    def _named(self, name: str, node: ast.expr) -> list[str]:
        values = self._locals.get(name) or ([self._module.values[name]] if name in self._module.values else [])
        if values:
            return [text for value in values for text in self.texts(value)]
        if name in self._parameters or name in (self._given or {}):
            return self._from_callers(name, node)
        return [word(node)]

    def _from_callers(self, name: str, node: ast.expr) -> list[str]:
        """Returns the texts of a parameter: from the given call, or from all calls in this module; defaults included."""
        scopes = self.called() if self._given is None else [self]
        given = [scope._given[name] for scope in scopes if scope._given and name in scope._given]
        return [text for scope, value in given for text in scope.texts(value)] or [word(node)]

    def _called(self, node: ast.Call) -> list[str]:
        scope, returned = self._results(node)
        if returned:
            return [text for value in returned for text in scope.texts(value)]
        if isinstance(node.func, ast.Attribute) and node.func.attr in THROUGH:
            return self.texts(node.func.value)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            return [re.sub(r"\{(\w+)\}", lambda name: WORDS.get(name[1], "TEXT"), text) for text in self.texts(node.func.value)]
        if isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            return [text for value in self._table(node.func.value) for text in self.texts(value)] or [word(node)]
        return [word(node)]

    def _table(self, node: ast.expr) -> list[ast.expr]:
        """Returns the values of a dictionary that this module defines or imports, none for anything else."""
        value = self._module.values.get(ast.unparse(node))
        return value.values if isinstance(value, ast.Dict) else []


def callee(call: ast.Call) -> str:
    """Returns the name that is called, without `self.`: that of a function of the same module, if it is one."""
    return ast.unparse(call.func).removeprefix("self.")


def optional(texts: list[str]) -> list[str]:
    """Puts an optional part of a text in brackets, as in a usage line."""
    return [f"[{text}]" for text in texts if text] if "" in texts and len(texts) > 1 else texts


def word(node: ast.expr) -> str:
    """Returns a word in capitals that represents an expression."""
    source = ast.unparse(node)
    match node:
        case _ if source in WORDS:
            return WORDS[source]
        case ast.Call(func=ast.Name(id=name), args=[inner, *_]) if name in THROUGH:
            return word(inner)
        case ast.Call(func=ast.Attribute(value=inner, attr=name)) if name in THROUGH:
            return word(inner)
        case ast.Call(func=function):
            return word(function)
        case ast.Subscript(value=inner) | ast.Await(value=inner) | ast.BinOp(left=inner) | ast.BoolOp(values=[inner, *_]):
            return word(inner)
        case ast.Attribute(attr="spellings"):
            return "FLAG"
        case ast.Name(id=name) | ast.Attribute(attr=name):
            limit = name.isupper() or name in ("most", "least")
            return "N" if limit else WORDS.get(name) or name.strip("_").replace("_", "-").upper()
    return "N"
