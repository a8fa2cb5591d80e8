import json

from bridge.simulator import documents
from bridge.simulator.observation_table import CHARGER_OBSERVATIONS
from bridge.simulator.sessions import Car
from tests.simulator.lab import FIRST


def test_observations_are_typed_json_and_absent_when_never_sent(lab):
    """Values are JSON values here, and an id that was never sent is not null but missing."""
    charger = lab().first
    rows = documents.observations(charger, [109, 31, 47, 5, 65000])["observations"]

    assert [(row["id"], row["value"], row["dataType"]) for row in rows] == [
        (109, 1, 4),
        (31, True, 2),
        (47, 32.0, 3),
    ]
    assert all(row["timestamp"].endswith("Z") for row in rows)


def test_config_and_state_repeat_the_observations(lab):
    """What the documents say is what was observed."""
    bench = lab()
    bench.first.plug_in(Car())
    config, state = documents.config(bench.first), documents.state(bench.first)

    assert config["authorizationRequired"] is True
    assert config["phaseMode"] in (1, 2, 3)
    assert config["localNodeType"] in (1, 2)
    assert (state["chargerOpMode"], state["ledMode"], state["reasonForNoCurrent"]) == (7, 25, 55)


def test_every_key_repeats_a_known_observation():
    """No document refers to an id nobody has named."""
    for keys in (documents.CONFIG, documents.STATE, documents.CIRCUIT):
        assert {one for one in keys.values() if one is not None} <= CHARGER_OBSERVATIONS.keys()


def test_a_site_leads_to_its_chargers(lab):
    """Site, circuit and charger fit together, and everything is JSON."""
    world = lab(chargers=4).world
    site = documents.site(world)
    listed = [one["id"] for circuit in site["circuits"] for one in circuit["chargers"]]

    assert listed == list(world.chargers)
    json.dumps(documents.site_state(world, documents.SITE_ID))


def test_a_charger_knows_its_circuit_and_hides_nothing_from_its_owner(lab):
    """The back plate names the circuit, the details the PIN."""
    world = lab().world
    charger = world.chargers[FIRST]

    assert documents.one(world, charger)["backPlate"]["circuitId"] == 8101
    assert documents.details(charger)["pinCode"]
