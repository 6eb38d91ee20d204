"""Every error, declared once: its text and its hints, by class and code.

Below `cli` an error has facts only. Here is what may be said about it: `text` is the pattern of the line `what: cause`, which the
raiser writes and a test compares; the hints are for the user, with the names of flags. A place in braces is filled from the facts
of the error, or from DERIVED in cli.render.hints. Of several hints the first counts whose places can all be filled.

The manual page tunnelctl-messages(7) derives from this table. Nothing loads it before there is an error to print.
"""

from tunnelctl.cli.spec.messages.files import FILES
from tunnelctl.cli.spec.messages.login import LOGIN
from tunnelctl.cli.spec.messages.network import NETWORK
from tunnelctl.cli.spec.messages.usage import USAGE

MESSAGES = (*USAGE, *NETWORK, *LOGIN, *FILES)
