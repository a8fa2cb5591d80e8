"""States of a command and their transitions, as one table.

Rules:

1. Every change of state is a row of :data:`TRANSITIONS`. A step that is not in the table is a
   mistake in this program and raises ``KeyError``.
2. A state without a row is final. A command gets there once, so it has one final answer.
3. There is no way from :data:`State.IN_DOUBT` back to :data:`State.WAITING`: what may have been
   carried out is never sent again.
4. A command of several steps is :data:`State.RUNNING` from the first to the last of them; each
   step is a command of its own. Its results say ``accepted`` until it ends.
5. :data:`State.LEAVING` is committed before the request goes out. A row that says so after a
   restart may have been carried out, and is therefore in doubt.

The diagram in ``docs/commands.md`` is drawn from the table.
"""

import enum
from collections.abc import Mapping
from typing import Final

# Of the component that is given what became of commands.
NAME: Final = "commands"


class State(enum.Enum):
    """Where a command is. Those with an answer have the contract's word as value."""

    RECEIVED = "received"
    WAITING = "waiting"
    LEAVING = "leaving"
    SENT = "sent"
    IN_DOUBT = "in_doubt"
    ACCEPTED = "accepted"
    RUNNING = "running"
    CONFIRMED = "confirmed"
    NOOP = "noop"
    REJECTED = "rejected"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    UNCONFIRMED = "unconfirmed"
    UNKNOWN = "unknown"


class Transition(enum.Enum):
    """What happens to a command."""

    REFUSE = "refused by the bridge"
    QUEUE = "admitted"
    LATE = "time to live is over"
    REPLACE = "replaced by a newer command"
    PICK = "next in the queue"
    SEND = "stored, and the request is sent"
    RETRY = "not executed; there is time for another attempt"
    TAKE = "accepted by the cloud"
    SKIP = "nothing to change"
    DENY = "refused by the cloud"
    LOSE = "no response from the cloud"
    CONFIRM = "confirmed by the charger"
    REJECT = "rejected by the charger"
    TIMEOUT = "30 s without a charger response"
    RESTART = "restart of the bridge"
    BEGIN = "stored, and its steps begin"
    DONE = "carried out by the bridge itself"
    ABORT = "ended before its last step"


TRANSITIONS: Final[Mapping[State, Mapping[Transition, State]]] = {
    State.RECEIVED: {
        Transition.REFUSE: State.REFUSED,
        Transition.QUEUE: State.WAITING,
        Transition.LATE: State.EXPIRED,
    },
    State.WAITING: {
        Transition.PICK: State.LEAVING,
        Transition.SKIP: State.NOOP,
        Transition.DONE: State.CONFIRMED,
        Transition.REFUSE: State.REFUSED,
        Transition.LATE: State.EXPIRED,
        Transition.REPLACE: State.SUPERSEDED,
        Transition.DENY: State.FAILED,
        Transition.RESTART: State.WAITING,
    },
    State.LEAVING: {
        Transition.SEND: State.SENT,
        Transition.BEGIN: State.RUNNING,
        Transition.REFUSE: State.REFUSED,
        Transition.LATE: State.EXPIRED,
        Transition.RESTART: State.IN_DOUBT,
    },
    State.SENT: {
        Transition.TAKE: State.ACCEPTED,
        Transition.SKIP: State.NOOP,
        Transition.CONFIRM: State.CONFIRMED,
        Transition.DENY: State.FAILED,
        Transition.RETRY: State.WAITING,
        Transition.LATE: State.EXPIRED,
        Transition.LOSE: State.IN_DOUBT,
        Transition.RESTART: State.IN_DOUBT,
    },
    State.ACCEPTED: {
        Transition.CONFIRM: State.CONFIRMED,
        Transition.REJECT: State.REJECTED,
        Transition.TIMEOUT: State.UNCONFIRMED,
        Transition.RESTART: State.ACCEPTED,
    },
    State.RUNNING: {
        Transition.CONFIRM: State.CONFIRMED,
        Transition.SKIP: State.NOOP,
        Transition.REJECT: State.REJECTED,
        Transition.ABORT: State.FAILED,
        Transition.LATE: State.EXPIRED,
        Transition.RESTART: State.RUNNING,
    },
    State.IN_DOUBT: {
        Transition.CONFIRM: State.CONFIRMED,
        Transition.REJECT: State.REJECTED,
        Transition.TIMEOUT: State.UNKNOWN,
        Transition.RESTART: State.IN_DOUBT,
    },
}

FINAL: Final = frozenset(State) - TRANSITIONS.keys()
# The charger may answer a command in these.
IN_PROGRESS: Final = frozenset({State.SENT, State.ACCEPTED, State.IN_DOUBT})
# It keeps the chargers it concerns to itself in these.
BLOCKING: Final = frozenset({State.LEAVING, State.SENT})
# The cloud has it, and the charger's answer is waited for.
AWAITED: Final = frozenset({State.ACCEPTED, State.IN_DOUBT})
