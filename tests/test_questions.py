"""Questions of the command line: explained by the gateway that serves what they are about."""

import errno
import os

import pytest

from bridge.core.partitions import SPEAKER
from bridge.errors import BridgeError, RecordError
from bridge.questions import MAX_TOPIC, Questions, SavedRecord, answered
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
        save=lambda excerpt, reason: (
            saved.append((excerpt, reason)) or SavedRecord("/a/record.rec", {ONE: "EH000001"})
        ),
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
    request = {"record": "doctor"}
    answer = await answered({0: asked(lived, lived.recorder, saved)}, request)

    assert answer == {"paths": ["/a/record.rec"], "serials": {ONE: "EH000001"}}
    assert [reason for _, reason in saved] == ["doctor"]
    with pytest.raises(BridgeError, match="max_mib is 0"):
        await answered({0: asked(lived)}, request)
    gateways = {SPEAKER: asked(lived), **dict.fromkeys((1, 4), asked(lived, lived.recorder, saved))}
    assert (await answered(gateways, request))["paths"] == ["/a/record.rec"] * 2


async def test_a_record_that_cannot_be_written_is_told(lived):
    """A full disk is named, and one gateway's is no reason to refuse another's."""

    def full(_excerpt, _reason):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    broken = Questions(lived.core, lived.recorder, Clock(lived), salt=SECRET, save=full)
    with pytest.raises(RecordError, match="cannot be written: No space left on device"):
        await answered({0: broken}, {"record": "doctor"})
    gateways = {0: broken, 1: asked(lived, lived.recorder, [])}

    assert (await answered(gateways, {"record": "doctor"}))["paths"] == ["/a/record.rec"]


@pytest.mark.parametrize("request_", [{}, {"explain": 5}, {"explain": ""}, {"explain": "x" * 2000}])
async def test_other_questions_are_refused(lived, request_):
    """What is none of the two, or no topic."""
    assert MAX_TOPIC < 2000
    with pytest.raises(BridgeError, match="no such question"):
        await asked(lived).answer(request_)


async def test_the_gateway_that_serves_a_charger_answers(lived):
    """In a process with several gateways, and that of a partition that is named."""
    other = Recorded()
    gateways = {1: asked(other), 2: asked(lived)}
    lines = (await answered(gateways, {"explain": f"charger/{ONE}/availability"}))["lines"]
    assert lines[0] == "now: the charger is online"
    lines = (await answered(gateways, {"explain": "charger/bridge/partition/02/cloud"}))["lines"]
    assert any("connected" in line and "disconnected" not in line for line in lines)


async def test_what_another_worker_knows_is_said_to_be_elsewhere(lived):
    """The status of all partitions is the speaker's; a charger may be served by another worker."""
    gateways = {1: asked(Recorded()), 3: asked(lived)}
    for topic in ("charger/bridge/cloud", "charger/EH999999/availability"):
        (line,) = (await answered(gateways, {"explain": topic}))["lines"]
        assert line.startswith(
            f"no partition of this worker has to do with {topic}: it serves 1, 3"
        )
    gateways[SPEAKER] = asked(lived)
    lines = (await answered(gateways, {"explain": "charger/bridge/cloud"}))["lines"]
    assert "now: the cloud is degraded" in lines or "now: the cloud is connected" in lines
    lines = (await answered({0: asked(lived)}, {"explain": "charger/EH999999/availability"}))[
        "lines"
    ]
    assert "is not served" in lines[0]
    with pytest.raises(BridgeError, match="no gateway runs"):
        await answered({}, {"explain": "x"})
