"""The short way through a request head: one that has come whole and has nothing wrong with it is recognised by a pattern.

Nearly every head is like that, and a pattern reads it in a fifth of the instructions that the reader in `head` needs. What does not
match goes to that reader, octet by octet, which says what is missing or wrong. The two never disagree; a property test holds that.
"""

import re

from tunnelctl.proto.headers import BLANKS
from tunnelctl.proto.http1.head import Head, Limits

_NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]"
_HEAD = re.compile(rb"(%b+)\r\n((?:%b:%b*\r\n)*)\r\n" % (_TEXT, _NAME, _TEXT))
_FIELD = re.compile("([^:]+):([^\r]*)\r\n")


def match_plain_head(data: bytes, limits: Limits) -> Head | None:
    """The head that `data` begins with, by the strict grammar of `head`; None where that reader must have a look."""
    match = _HEAD.match(data)
    if match is None or match.end() > limits.max_bytes:
        return None
    line, block = match.groups()
    fields = tuple([(name, value.strip(BLANKS)) for name, value in _FIELD.findall(block.decode("latin-1"))])
    if len(line) > limits.max_line or len(fields) > limits.max_fields:
        return None
    return Head(line, fields, match[0], data[match.end() :])
