"""Deliver events to a list of components, each with its interests and its deadline.

Rules:

1. An event goes to the components that are interested in its type, in the order of the list. A
   result (:data:`~bridge.core.events.Result`) goes to the component that asked for it besides.
2. A domain event that a component yields is delivered at once, before the next thing it yields.
3. Behind each event the components that are due get a ``Tick``, in an order of their own, and then
   :class:`~bridge.core.domain_events.EventHandled` is delivered.
4. A deadline is asked for again only after its component handled something, or when it is over.
5. An error in a component ends what it does with that event, and nothing else, see
   :mod:`bridge.core.containment`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Protocol, cast, get_args

from bridge.core.containment import Containment, Slot
from bridge.core.domain_events import HANDLED, NOTHING, DomainEvent, Input, Outputs
from bridge.core.effects import Effect
from bridge.core.events import ComponentFailed, Event, Result, Tick, ValuesAcked
from bridge.core.records.moment import Timestamp

ROUTED = frozenset((*get_args(Event), *get_args(DomainEvent)))
RESULTS = get_args(Result)
TICK = Tick()


class Component(Protocol):
    """One part of the core.

    Attributes:
        name: Tells it from the others; results and the alert about errors carry it.
        interests: The types of the events it is given, besides results of what it asked for.
    """

    @property
    def name(self) -> str:
        """Return its name."""
        ...

    @property
    def interests(self) -> frozenset[type]:
        """Return the types of events it is given."""
        ...

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle an event, and yield effects and events.

        Behind ``EventHandled``, ``NOTHING`` says that the deadline is as it was, too.
        """
        ...

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which a ``Tick`` is wanted, or None."""
        ...


class Router:
    """Deliver events to components and collect the effects.

    Attributes:
        components: By name.
        deadline_s: Returns the monotonic time at which a ``Tick`` is wanted, or None.
    """

    def __init__(
        self, components: Sequence[Component], contained: Containment, by_time: Sequence[str]
    ) -> None:
        """Register the components.

        Args:
            components: In the order in which they are given an event.
            contained: Keeps their errors.
            by_time: Names of those that get a ``Tick``, in the order they get it in when several
                are due at once.
        """
        self.components = {each.name: each for each in components}
        self._contained = contained
        slots = {each.name: Slot(each.name, each.handle, each.deadline_s) for each in components}
        self._slots = tuple(slots.values())
        self._interests = {each.name: each.interests for each in components}
        self._targets: dict[tuple[type, str], tuple[Slot, ...]] = {}
        self._handled = self._targets_of(type(HANDLED))
        self._by_time = tuple(slots[name] for name in by_time)
        timed = tuple(dict.fromkeys((*self._by_time, *self._handled)))
        self.deadline_s = partial(contained.deadline_s, timed)

    def handle(self, event: Event, now: Timestamp) -> list[Effect]:  # noqa: C901 - each call counts here
        """Handle one event and return the effects, in order."""
        contained = self._contained
        contained.doing = type(event).__name__
        effects: list[Effect] = []
        if type(event) is not Tick:
            self._deliver(event, now, effects)
            if type(event) is ValuesAcked and not (effects or contained.failing):
                return effects  # these come with every batch of values
        contained.asked_s = mono_s = now.mono_s
        for slot in self._by_time:
            if slot.is_stale:
                contained.renew(slot)
            if slot.due_s <= mono_s and slot.rests_until_s <= mono_s:
                self._give(slot, TICK, now, effects)
        for slot in self._handled:
            if slot.rests_until_s <= mono_s:
                try:  # mostly nothing follows, and then this is all that is called
                    outputs = slot.handle(HANDLED, now)
                except Exception as error:  # noqa: BLE001 - the border of a component
                    self._failed(slot, HANDLED, error, now)
                    continue
                if outputs is not NOTHING or slot.failures or slot.due_s <= mono_s:
                    self._give(slot, HANDLED, now, effects, outputs)
        if contained.failing:
            effects += contained.tell(now)
        return effects

    def _deliver(self, event: Input, now: Timestamp, effects: list[Effect]) -> None:
        """Deliver an event to the components concerned, and add their effects to ``effects``."""
        if type(event) is ComponentFailed:
            self._contained.failed(event.name, event.error, event.doing)
        owner = event.owner if isinstance(event, RESULTS) else ""
        for slot in self._targets.get((type(event), owner)) or self._targets_of(type(event), owner):
            self._give(slot, event, now, effects)

    def _give(
        self,
        slot: Slot,
        event: Input,
        now: Timestamp,
        effects: list[Effect],
        outputs: Outputs | None = None,
    ) -> None:
        """Give a component an event; an error ends its processing of this event only.

        Args:
            slot: The component.
            event: The event.
            now: When it happened.
            effects: What the component yields is added to them, unless it is for components.
            outputs: What the component returned, where it was given the event already.
        """
        slot.is_stale = True
        try:
            for output in slot.handle(event, now) if outputs is None else outputs:
                if type(output) in ROUTED:
                    self._deliver(cast("Input", output), now, effects)
                else:
                    effects.append(output)  # type: ignore[arg-type]  # nothing else is left
        except Exception as error:  # noqa: BLE001 - the border of a component
            self._failed(slot, event, error, now)
        else:
            if slot.failures and (event is TICK or event is HANDLED):
                self._contained.was_asked(slot, now.mono_s)

    def _failed(self, slot: Slot, event: Input, error: Exception, now: Timestamp) -> None:
        slot.is_stale = True
        self._contained.failed(slot.name, error)
        if event is TICK or event is HANDLED:
            self._contained.leave_alone(slot, now.mono_s)

    def _targets_of(self, kind: type, owner: str = "") -> tuple[Slot, ...]:
        """Return the components an event goes to; worked out once for each type and owner."""
        interests = self._interests
        found = tuple(s for s in self._slots if kind in interests[s.name] or s.name == owner)
        self._targets[kind, owner] = found
        return found
