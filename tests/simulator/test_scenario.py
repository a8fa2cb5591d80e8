import pytest

from bridge.errors import ConfigError
from bridge.simulator.scenario import Scenario


def test_serials_are_numbered_from_one():
    """The n-th charger's serial ends in n."""
    assert Scenario(chargers=2).serials == ("EH000001", "EH000002")


def test_offline_chargers_go_by_number_or_serial():
    """An offline charger may be named either way."""
    assert Scenario(offline=(2, "EH000003")).offline_serials == {"EH000002", "EH000003"}


def test_chargers_under_ocpp_go_by_number_or_serial():
    """As offline ones do."""
    assert Scenario(direct_ocpp=(1, "EH000002")).direct_serials == {"EH000001", "EH000002"}


def test_the_password_is_not_in_the_repr():
    """A scenario can be printed without giving its password away."""
    assert "canary" not in repr(Scenario(password="canary"))


def test_what_cannot_be_is_named_all_at_once():
    """Every problem is told with the option it belongs to."""
    with pytest.raises(ConfigError) as refused:
        Scenario(
            chargers=0,
            speed=float("nan"),
            pending_op_mode=3,
            records_per_frame=0,
            offline=(9,),
            direct_ocpp=(8,),
            token_ttl_s=-1,
        )

    named = [problem.split(":")[0] for problem in refused.value.problems]
    assert named == [
        "chargers",
        "speed",
        "pending_op_mode",
        "records_per_frame",
        "offline",
        "direct_ocpp",
        "token_ttl_s",
    ]
