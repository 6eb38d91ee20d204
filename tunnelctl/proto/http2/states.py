"""The states of a stream, as a table (RFC 9113 section 5.1). Those of server push, and idle, need no object."""

from __future__ import annotations

from enum import IntEnum, auto


class State(IntEnum):
    """The state of a stream: which of the two directions are open."""

    OPEN = auto()
    HALF_CLOSED_LOCAL = auto()  # we have ended our direction
    HALF_CLOSED_REMOTE = auto()  # the peer has ended its direction
    CLOSED = auto()


class Step(IntEnum):
    """The events that change the state."""

    SEND_END = auto()
    RECEIVE_END = auto()
    RESET = auto()  # by either end


# Each look at a member in its class costs a call, and a tunnel takes a dozen.
OPEN, HALF_CLOSED_LOCAL, HALF_CLOSED_REMOTE, CLOSED = State
SEND_END, RECEIVE_END, RESET = Step

# Keys of IntEnum, because Python hashes those of Enum by a call of its own, six times a tunnel.
NEXT: dict[State, dict[Step, State]] = {
    OPEN: {
        SEND_END: HALF_CLOSED_LOCAL,
        RECEIVE_END: HALF_CLOSED_REMOTE,
        RESET: CLOSED,
    },
    HALF_CLOSED_LOCAL: {RECEIVE_END: CLOSED, RESET: CLOSED},
    HALF_CLOSED_REMOTE: {SEND_END: CLOSED, RESET: CLOSED},
    CLOSED: {},
}
