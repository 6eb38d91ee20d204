"""Options for tests from flat keywords: a field is set by its name, in whichever record it is nested."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from tunnelctl.cli.parse.values import fill
from tunnelctl.client.check.options import CheckOptions
from tunnelctl.client.forward.options import ForwardOptions
from tunnelctl.client.options import ConnectOptions
from tunnelctl.options import ReachOptions
from tunnelctl.proto.address import Address
from tunnelctl.server.options import ServeOptions

Record = TypeVar("Record", bound=NamedTuple)


def fields_of(record: type[NamedTuple]) -> Iterator[tuple[str, Any]]:
    """Yields the fields of a record and of the records nested in it, with their defaults; `...` for a field without one."""
    for name in record._fields:
        default = record._field_defaults.get(name, ...)
        if hasattr(default, "_fields"):
            yield from fields_of(type(default))
        else:
            yield name, default


def flat(record: type[Record], **fields: Any) -> Record:
    """Returns a record of options. Raises TypeError for a field that is in none of its records."""
    unknown = fields.keys() - dict(fields_of(record)).keys()
    if unknown:
        raise TypeError(f"{record.__name__} has no {unknown}")
    return fill(record, fields)


def reach_options(**fields: Any) -> ReachOptions:
    return flat(ReachOptions, **fields)


def connect_options(target: Address, proxy: tuple[str, ...] = (), **fields: Any) -> ConnectOptions:
    return flat(ConnectOptions, target=target, proxy=proxy, **fields)


def check_options(target: Address, proxy: tuple[str, ...] = (), **fields: Any) -> CheckOptions:
    return flat(CheckOptions, target=target, proxy=proxy, **fields)


def forward_options(**fields: Any) -> ForwardOptions:
    return flat(ForwardOptions, **fields)


def serve_options(**fields: Any) -> ServeOptions:
    return flat(ServeOptions, **fields)
