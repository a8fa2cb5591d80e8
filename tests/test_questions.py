"""Questions of the command line: explained by the gateway that serves what they are about."""

import pytest

from bridge.errors import BridgeError
from bridge.questions import MAX_TOPIC, Questions, answered
from tests.recorder.recorded import ONE, SECRET, Recorded

pytestmark = pytest.mark.anyio


class Clock:
    """The clock of a recorded core."""

    def __init__(self, recorded):
        self.recorded = recorded

    def now(self):
        return self.recorded.now


def asked(recorded, recorder=None, saved=None):
    """Return what answers for a core."""
    return Questions(
        recorded.core,
        recorder,
        Clock(recorded),
        salt=SECRET,
        save=lambda excerpt, reason: saved.append((excerpt, reason)) or "/a/record.rec",
    )


@pytest.fixture
def lived():
    """Return a core that lived a little."""
    recorded = Recorded()
    recorded.live()
    return recorded


async def test_a_topic_is_explained_by_what_was_recorded_and_what_is(lived):
    """The lines of the record come first, those of the present last."""
    request = {"explain": f"charger/{ONE}/state/op_mode"}
    lines = (await asked(lived, lived.recorder).answer(request))["lines"]

    assert "published charging" in lines[0]
    assert lines[-1].startswith("now: ")
    assert any("op_mode is 'charging'" in line for line in lines)


async def test_without_a_recorder_the_present_is_explained(lived):
    """And it is said that nothing else is known."""
    request = {"explain": f"{ONE}/availability"}
    lines = (await asked(lived).answer(request))["lines"]

    assert lines[0] == "now: the charger is online"
    assert "recorder.max_mib" in lines[-1]


async def test_a_record_is_written_on_request(lived):
    """Its path is the answer; without a recorder there is none."""
    saved = []
    answer = await asked(lived, lived.recorder, saved).answer({"record": "doctor"})

    assert answer == {"path": "/a/record.rec"}
    assert [reason for _, reason in saved] == ["doctor"]
    with pytest.raises(BridgeError, match="max_mib is 0"):
        await asked(lived).answer({"record": "doctor"})


@pytest.mark.parametrize("request_", [{}, {"explain": 5}, {"explain": ""}, {"explain": "x" * 2000}])
async def test_other_questions_are_refused(lived, request_):
    """What is none of the two, or no topic."""
    assert MAX_TOPIC < 2000
    with pytest.raises(BridgeError, match="no such question"):
        await asked(lived).answer(request_)


async def test_the_gateway_that_serves_a_charger_answers(lived):
    """In a process with several gateways, else the first; without one an error."""
    other = Recorded()
    gateways = {1: asked(other), 2: asked(lived)}
    lines = (await answered(gateways, {"explain": f"charger/{ONE}/availability"}))["lines"]
    assert lines[0] == "now: the charger is online"
    lines = (await answered(gateways, {"explain": "charger/bridge/cloud"}))["lines"]
    assert "now: the cloud is disconnected" in lines
    lines = (await answered(gateways, {"explain": "charger/bridge/partition/02/cloud"}))["lines"]
    assert any("connected" in line and "disconnected" not in line for line in lines)
    with pytest.raises(BridgeError, match="no gateway runs"):
        await answered({}, {"explain": "x"})
