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


# Keys of IntEnum, because Python hashes those of Enum by a call of its own, six times a tunnel.
NEXT: dict[State, dict[Step, State]] = {
    State.OPEN: {
        Step.SEND_END: State.HALF_CLOSED_LOCAL,
        Step.RECEIVE_END: State.HALF_CLOSED_REMOTE,
        Step.RESET: State.CLOSED,
    },
    State.HALF_CLOSED_LOCAL: {Step.RECEIVE_END: State.CLOSED, Step.RESET: State.CLOSED},
    State.HALF_CLOSED_REMOTE: {Step.SEND_END: State.CLOSED, Step.RESET: State.CLOSED},
    State.CLOSED: {},
}
