"""An Equalizer's observations: each is judged before anybody publishes one."""

import csv
from pathlib import Path

from bridge.core.chargers.equalizer import NAMES, NOT_PERSONAL, PERSONAL

with (Path(__file__).parents[2] / "data" / "equalizer-observations.csv").open() as file:
    ROWS = list(csv.DictReader(file))


def test_every_id_is_known_by_its_name():
    """The table lists what the vendor's clients list."""
    assert dict(NAMES) == {int(row["id"]): row["name"] for row in ROWS}


def test_every_text_is_judged():
    """Each text has a reason, in one table or the other; a number only where it is personal."""
    texts = {int(row["id"]) for row in ROWS if row["type"] == "String"}

    assert not PERSONAL.keys() & NOT_PERSONAL.keys()
    assert texts | {19} == (PERSONAL.keys() | NOT_PERSONAL.keys())
    assert all([*PERSONAL.values(), *NOT_PERSONAL.values()])


def test_what_names_a_household_is_personal():
    """Address, meter, networks, and what ties them to a charger."""
    assert set(PERSONAL) == {20, 26, 51, 55, 56, 69, 91}
