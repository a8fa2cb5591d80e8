"""How much memory 50 chargers take, and whether it grows: ``python -m benchmarks.memory``.

The gateway with everything on (JSON and scalar, web server, Home Assistant, every command) and its
peers serve 50 chargers of 100 observations; resident memory is read after the first round. Then a
million observations pass through the gateway, and it is read again after each tenth of them. With
two chargers it is read once.
Growth counts from the first tenth on: buffers find their size before that. Everybody is started
once before, uncounted: modules are compiled then, as an installation does it. Seven minutes.
"""

import tempfile
import time
from pathlib import Path

from benchmarks import contenders, stage
from benchmarks.contenders import Contender, Place
from benchmarks.records import Fleet
from benchmarks.stage import Generator, Judge

PEERS = (contenders.MQTT_JS, contenders.NODE_RED, contenders.PYEASEE)
# Longer than between two beats: at each the gateway gives back what a burst left.
SETTLED_S = 12.0
STEPS = 10


def resident_mib(
    contender: Contender, fleet: Fleet, rounds: int, settled_s: float = SETTLED_S
) -> list[float] | None:
    """Return resident memory after the first round, and after each so many more.

    Args:
        contender: Who.
        fleet: Who speaks.
        rounds: In each of :data:`STEPS` steps; 0 for no more than the first.
        settled_s: How long to wait before memory is read.
    """
    with (
        tempfile.TemporaryDirectory() as name,
        stage.broker() as broker,
        Generator(fleet) as hub,
    ):
        process = contender.start(Place(hub, broker, Path(name), stage.WINDOW))
        if process is None:
            return None
        marks = list(contender.wanted(fleet, 1))[-20:]
        with process, Judge(broker.port, *marks) as judge:
            hub.answer()
            last = 0
            found = []
            for step in range(STEPS + 1 if rounds else 1):
                first, last = last + 1, last + (rounds if step else 1)
                hub.order(first=first, last=last, each=50)
                wanted = contender.wanted(fleet, last)
                stage.last_arrival_ns(broker.port, judge, marks, wanted)
                time.sleep(settled_s)
                found.append(process.resident_kib / 1024)
    return found


def main() -> None:
    """Measure and print."""
    parser = stage.arguments(__doc__, "memory")
    parser.add_argument("--chargers", type=int, default=50)
    parser.add_argument("--observations", type=int, default=1_000_000, help="in all")
    parser.add_argument("--alone", action="store_true", help="without peers, and without growth")
    options = parser.parse_args()
    fleet = Fleet(options.chargers, 100)
    rounds = 0 if options.alone else max(1, options.observations // fleet.topics // STEPS)
    for contender in (contenders.GATEWAY_EVERYTHING, contenders.PYEASEE)[
        : 1 if options.alone else 2
    ]:
        resident_mib(contender, fleet, 0, settled_s=0.0)
    ours = resident_mib(contenders.GATEWAY_EVERYTHING, fleet, rounds)
    few = resident_mib(contenders.GATEWAY_EVERYTHING, Fleet(2, 100), 0)
    figures = {"gateway, everything on": ours[0], "gateway, everything on, 2 chargers": few[0]}
    for chargers in (fleet.chargers, 2):
        before = contenders.GATEWAY_EVERYTHING_BEFORE
        if (found := resident_mib(before, Fleet(chargers, 100), 0)) is not None:
            figures[f"{before.name}, {chargers} chargers"] = found[0]
    for peer in () if options.alone else PEERS:
        if (found := resident_mib(peer, fleet, 0)) is not None:
            figures[peer.name] = found[0]
    print(stage.table(("resident", "MiB"), [(k, f"{v:.1f}") for k, v in figures.items()]))
    table = {"resident_mib": figures, "chargers": fleet.chargers}
    if options.alone:
        stage.write(options.json, table)
        return
    print(
        f"after each {rounds * fleet.topics:,} observations:", *(f"{mib:.1f}" for mib in ours[1:])
    )
    print(f"growth over the last nine tenths: {ours[-1] - ours[1]:+.2f} MiB")
    table |= {"steps_mib": ours, "growth_mib": ours[-1] - ours[1]}
    table |= {"observations": rounds * STEPS * fleet.topics}
    stage.write(options.json, table)


if __name__ == "__main__":
    main()
