"""How a run is judged: all the time, and when nothing goes wrong any more.

The connections come back first: the back-off the program grants a cloud in trouble is not held
against it. From then on it has a minute for everything to be true.
"""

import itertools
from typing import TYPE_CHECKING

from bridge.core.broker import ALERT_HOLDS_S

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

OK = 200
CHECK_EVERY_S = 30.0
CHECK_SELDOM_S = 120.0
# The longest anything of ours stays away by itself, and what a login may be held back.
RECONNECT_TIMEOUT_S = 4000.0
# In lives with blocks that do not say how long they last.
COME_BACK_NEXT_DAY_S = 90_000.0
# What the disk refused is tried again after 60 s, and what follows from it takes its way.
CONVERGE_TIMEOUT_S = 65.0
TOLD_S = 1.0
UNREACHABLE = "cloud_unreachable"
# A command that came last may wait a minute, and then half a one for its charger.
RESULT_TIMEOUT_S = 100.0
RECEIVE_TIMEOUT_S = 5.0
# A poll may fail once.
POLLS = 2
POLLED_SPARE_S = 10.0
# A consumer that subscribes anew is found by the next report that tries, after 5 minutes at most.
PROBE_TIMEOUT_S = 330.0
# A broker has a report when the connection held for so long; so many that did not are told.
SETTLES_AFTER_S = 45 * 60.0
RESTLESS_CONNECTIONS = 20
# Faults after which the vendor says what the program does not know.
VENDOR_FAULTS = frozenset(
    {"hub_garbage", "undecodable", "rest_broken_body", "rest_5xx", "rest_429", "ban"}
)


class Over(BaseException):
    """The run came to its good end."""


class Ending:
    """The judge of one run."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self._healed_s = 0.0

    def look(self) -> None:
        """Judge what must be true all the time."""
        sim = self._sim
        sim.oracle.check()
        wire = sim.broker.wire
        is_up = sim.broker.is_up and wire is not None and not wire.half_open
        # A broker that came back with an older memory is told again within a moment.
        if is_up and sim.clock.is_true and sim.timeline.now_s - sim.broker.connections[-1] > TOLD_S:
            for charger_id in sim.chargers:
                shown = sim.broker.retained.get(sim.topics.availability(charger_id))
                sim.oracle.availability(charger_id, shown, late_s=60.0 + wire.lag_s)
        sim.timeline.later(CHECK_EVERY_S if sim.options.rarer == 1 else CHECK_SELDOM_S, self.look)

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        sim = self._sim
        sim.note("healed", f"after {sim.options.hours:g} h")
        sim.trouble_is_over = True
        self._healed_s = sim.timeline.now_s
        sim.back_in_s = min(sim.back_in_s, 1.0)
        vendor = sim.vendor
        vendor.next_fault, vendor.down_until_s, vendor.banned_until_s = None, 0.0, 0.0
        vendor.upgrade_refused, vendor.frames_cut = 0, 0.0
        sim.broker_accepts()
        sim.broker.set_consumer(there=True, subscribed=True)
        for line in (sim.broker.wire, *vendor.sockets):
            if line is not None:
                line.lag_s = 0.0
        sim.disk.slow_s = 0.0
        sim.mend_disk()
        sim.set_clock()
        for charger_id in sim.chargers:
            sim.bring_back(charger_id, 0)
            vendor.world.chargers[charger_id].reject_next = False
        within_s = RECONNECT_TIMEOUT_S if sim.options.rarer == 1 else COME_BACK_NEXT_DAY_S
        self._wait_until_back(sim.timeline.now_s + within_s)

    def _wait_until_back(self, until_s: float) -> None:
        """Wait for the connections; from then on the minute counts."""
        sim = self._sim
        sim.oracle.check()
        wire, hub = sim.broker.wire, sim.vendor.socket_of(sim.lives)
        heard = hub is not None and hub.is_listening
        if sim.options.poll:
            heard = self._all_polled()
        # An account that was refused waits up to an hour, also where the hub is there all the time.
        # Where the hub takes the token the word is another one, and the alert tells.
        # A Retry-After of the login lasts for minutes, and is told too.
        is_held = (
            sim.broker.retained.get(sim.topics.bridge_cloud) == b"auth_failed"
            or bool(sim.broker.retained.get(sim.topics.alert("auth_failed")))
            or b"; next login in " in sim.broker.retained.get(sim.topics.alert(UNREACHABLE), b"")
        )
        is_up = wire is not None and not (wire.half_open or wire.deaf)
        if sim.is_alive and is_up and heard and not is_held:
            sim.note("connected", "a minute to go")
            sim.touch(sim.rng)
            sim.timeline.later(CONVERGE_TIMEOUT_S, self._converged)
        elif sim.timeline.now_s > until_s:
            sim.oracle.fail("the bridge does not come back")
        else:
            sim.timeline.later(1.0, lambda: self._wait_until_back(until_s))

    def _all_polled(self) -> bool:
        """Say whether every charger was read since all is well."""
        read = {
            one.path.split("/")[2]
            for one in self._sim.vendor.requests
            if one.path.startswith("/state/") and one.status == OK and one.sent_s > self._healed_s
        }
        return read >= set(self._sim.chargers)

    def _converged(self) -> None:
        """Judge what everybody sees."""
        sim = self._sim
        oracle, retained = sim.oracle, sim.broker.retained
        polled_within_s = POLLS * sim.options.poll_interval_s + POLLED_SPARE_S
        under_way_s = polled_within_s if sim.options.poll else RECEIVE_TIMEOUT_S
        oracle.values_are_newest(retained, "charger", since_s=under_way_s)
        if retained.get(sim.topics.bridge_state) != b"online":
            oracle.fail("bridge/state is not online")
        word = b"degraded" if sim.options.poll else b"connected"
        if retained.get(sim.topics.bridge_cloud) != word:
            oracle.fail(f"bridge/cloud is {retained.get(sim.topics.bridge_cloud)!r}")
        for charger_id in sim.chargers:
            shown = retained.get(sim.topics.availability(charger_id))
            if shown != b"online":
                oracle.fail(f"{charger_id} is here and called {shown!r}")
        for topic, payload in retained.items():
            if topic.startswith(sim.topics.alert("")) and not self._is_true(topic, payload):
                oracle.fail(f"an alert that is not true: {topic} {payload!r}")
        oracle.check()
        tried_s = sim.broker.consumer_back_s + PROBE_TIMEOUT_S
        wait_s = max(0.0, tried_s - sim.timeline.now_s)
        sim.timeline.later(wait_s, oracle.reports_arrived)
        sim.timeline.later(wait_s + RESULT_TIMEOUT_S - CONVERGE_TIMEOUT_S, self._answered)

    def _is_true(self, topic: str, payload: bytes) -> bool:
        """Say whether an alert tells something that is so."""
        sim = self._sim
        kind = topic.rsplit("/", 1)[1]
        if kind == "reports_unsettled":
            return self._is_restless()
        if kind == "retained_command":
            return True  # people publish some all the time, and it stays for a day
        if kind == "broker_unreachable":  # told over MQTT when it is over, and for a while
            return sim.timeline.now_s - sim.broker.connections[-1] <= ALERT_HOLDS_S
        if kind == "vendor_change":  # a fault of ours can look like another interface
            return bool(sim.fired.keys() & VENDOR_FAULTS)
        if kind != "session_gap":
            return False
        held = {(r.report.charger_id, r.report.session_id) for r in sim.disk.rows.reports.values()}
        sim.oracle.refresh_sessions()
        return any(one not in held for one in sim.oracle.sessions)

    def _is_restless(self) -> bool:
        """Say whether reports are owed that no connection held long enough for, and no one takes.

        That the trouble is over shows only when one has held.
        """
        sim = self._sim
        if sim.options.acknowledges or all(one.settled for one in sim.disk.rows.reports.values()):
            return False
        times = [*sim.broker.connections[-RESTLESS_CONNECTIONS:], sim.timeline.now_s]
        held = (until_s - since_s for since_s, until_s in itertools.pairwise(times))
        return len(times) > RESTLESS_CONNECTIONS and max(held) < SETTLES_AFTER_S

    def _answered(self) -> None:
        sim = self._sim
        sim.people.all_answered()
        sim.oracle.cloud_is_spared(sim.vendor.requests)
        self._nothing_left(3)

    def _nothing_left(self, looks: int) -> None:
        """Judge that nothing waits for ever; what is on its way just now may be."""
        sim = self._sim
        assert sim.process is not None
        assert sim.process.gateway is not None
        outbox = sim.process.gateway._outbox
        left = outbox.waiting + outbox.in_flight
        if left and looks:
            sim.timeline.later(1.0, lambda: self._nothing_left(looks - 1))
            return
        if left:
            sim.oracle.fail(f"{left} messages are left over")
        sim.oracle.check()
        raise Over
