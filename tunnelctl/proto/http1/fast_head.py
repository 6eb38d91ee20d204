"""The fast path for request heads: a pattern recognises a head that has arrived whole and has no fault.

Nearly every head is like that, and a pattern reads it in a fifth of the instructions that the reader in `head` needs. Any other
head goes to that reader, which determines what is missing or wrong. The two never disagree; a property test checks that.
"""

import re

from tunnelctl.proto.headers import BLANKS
from tunnelctl.proto.http1.head import Head, Limits

_NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]"
_HEAD = re.compile(rb"(%b+)\r\n((?:%b:%b*\r\n)*)\r\n" % (_TEXT, _NAME, _TEXT))
_FIELD = re.compile("([^:]+):([^\r]*)\r\n")


def match_plain_head(data: bytes, limits: Limits) -> Head | None:
    """Returns the head that `data` begins with, by the strict grammar of `head`; None if that reader must examine it."""
    match = _HEAD.match(data)
    if match is None or match.end() > limits.max_bytes:
        return None
    line, block = match.groups()
    fields = tuple([(name, value.strip(BLANKS)) for name, value in _FIELD.findall(block.decode("latin-1"))])
    if len(line) > limits.max_line or len(fields) > limits.max_fields:
        return None
    return Head(line, fields, match[0], data[match.end() :])
