from bridge.simulator.readings import Update
from tests.simulator.lab import FIRST, SECOND, THIRD, values


def of(happened, charger_id):
    """Only what one charger said."""
    return [one for one in happened if isinstance(one, Update) and one.charger_id == charger_id]


def test_cars_come_charge_and_leave(lab):
    """In a day an open charger sees several whole sessions."""
    bench = lab(traffic=True)
    told = of(bench.wait(24 * 3600), SECOND)
    modes = values(told, 109)

    assert {1, 3, 4, 6} <= set(modes)
    assert len(values(told, 129)) >= 3
    assert len(values(told, 223)) - len(values(told, 129)) in (0, 1)


def test_a_waiting_car_waits_for_you(lab):
    """Where the cloud decides nobody else starts it, and after an hour the car drives off."""
    bench = lab(traffic=True)
    told = of(bench.wait(2 * 3600), FIRST)

    assert 7 in values(told, 109)
    assert 3 not in values(told, 109)
    assert values(told, 129) == []
    assert 1 in values(told, 109)


def test_somebody_else_may_authorize(lab):
    """With authorize_after_s a waiting car is started through the cloud by another user."""
    bench = lab(traffic=True, authorize_after_s=60)
    told = of(bench.wait(900), FIRST)

    assert 3 in values(told, 109)
    assert '"AuthReason": 6' in values(told, 223)[0]


def test_a_tag_starts_where_the_local_list_decides(lab):
    """With local authorization somebody shows a tag."""
    bench = lab(traffic=True)
    told = of(bench.wait(900), THIRD)

    assert values(told, 128)
    assert 3 in values(told, 109)


def test_an_offline_charger_has_no_traffic(lab):
    """Nothing is seen of the cars at a charger without its cloud."""
    bench = lab(traffic=True, offline=(2,))

    assert of(bench.wait(3600), SECOND) == []
