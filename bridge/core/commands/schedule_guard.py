"""What the cloud's schedules say of commands: who decides, and whether an order was carried out.

Rules:

1. Where an OCPP server of the charger's own decides, a schedule cannot take effect: an order that
   would put one in force is refused (``controlled_by_ocpp``). What was read before the order does
   not decide; it is read again, and where that takes too long the cloud is asked to decide.
2. A change is made of what the cloud holds when every earlier order of that charger is done.
3. An order is confirmed by schedules that were read after it was sent and show what it asked for.
"""

from typing import Final

from bridge.core.commands.active_commands import ActiveCommands, Command
from bridge.core.commands.send_policy import Defer, Refuse
from bridge.core.commands.state_machine import AWAITED, Transition
from bridge.core.domain_events import Output, SchedulesRead, SchedulesWanted
from bridge.core.easee.schedule_payloads import ScheduleOrder
from bridge.core.records.moment import Timestamp
from bridge.errors import CloudRejected

READ_WITHIN_S: Final = 10.0
CONTROLLED_BY_OCPP: Final = "controlled_by_ocpp"
DIRECT: Final = "a local OCPP server controls this charger: disconnect it to use schedules"
AUTHORITY: Final = "a local OCPP server controls this charger: it decides who may charge"
CONFLICT: Final = 409
NOT_FOUND: Final = 404


class ScheduleGuard:
    """The chargers that an OCPP server controls, and the readback of schedule orders.

    Attributes:
        direct: The chargers that are controlled, and when the cloud was asked that said so.
    """

    def __init__(self, commands: ActiveCommands) -> None:
        self._commands = commands
        self.direct: dict[str, float] = {}

    def forget(self, charger_id: str) -> None:
        """Drop what is held of a charger."""
        self.direct.pop(charger_id, None)

    def evaluate(
        self, command: Command, effects: list[Output], now: Timestamp
    ) -> Defer | Refuse | None:
        """Decide about a schedule order whose turn it is; None when it may be sent."""
        asked_s = self.direct.get(command.charger_id)
        if asked_s is None or not (command.spec.is_taken_by_ocpp or command.argument.puts_in_force):
            return None
        received_s = command.received.mono_s
        if asked_s >= received_s:
            is_schedule = command.spec.shown_by_schedules is not None
            return Refuse(CONTROLLED_BY_OCPP, DIRECT if is_schedule else AUTHORITY)
        if now.mono_s >= received_s + READ_WITHIN_S:
            return None
        effects.append(SchedulesWanted(command.charger_id))
        return Defer(received_s + READ_WITHIN_S)

    def is_unsettled(self, command: Command) -> bool:
        """Return whether what the cloud holds is not yet what an earlier order made of it."""
        return command.spec.shown_by_schedules is not None and any(
            other.charger_id == command.charger_id
            and other.spec.shown_by_schedules is not None
            and other.state in AWAITED
            for other in self._commands.live
        )

    def read(self, event: SchedulesRead, effects: list[Output], now: Timestamp) -> None:
        """Handle what the cloud told: it may confirm orders, or say that they have no effect."""
        charger_id, schedules = event.charger_id, event.schedules
        if schedules.is_direct:
            self.direct[charger_id] = event.asked_s
        else:
            self.direct.pop(charger_id, None)
        for command in tuple(self._commands.live):
            shown_by_schedules = command.spec.shown_by_schedules
            is_later = command.sent is not None and event.asked_s >= command.sent.mono_s
            if (
                shown_by_schedules is None
                or command.charger_id != charger_id
                or command.state not in AWAITED
                or not is_later
            ):
                continue
            if schedules.is_direct and command.argument.puts_in_force:
                self._commands.finish(
                    command,
                    Transition.REJECT,
                    effects,
                    now,
                    reason=CONTROLLED_BY_OCPP,
                    detail=DIRECT,
                )
            elif shown_by_schedules(command.argument, schedules):
                self._commands.finish(command, Transition.CONFIRM, effects, now)


def refusal_of(command: Command, error: CloudRejected) -> tuple[str, str]:
    """Return reason and detail of a command that the cloud refused."""
    if command.spec.shown_by_schedules is not None and error.status == CONFLICT:
        return CONTROLLED_BY_OCPP, DIRECT
    order = command.argument
    if isinstance(order, ScheduleOrder) and order.action == "enable" and error.status == NOT_FOUND:
        return error.reason, f"the cloud holds no {order.kind} schedule: send one with its periods"
    return error.reason, str(error)
