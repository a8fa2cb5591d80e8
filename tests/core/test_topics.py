"""Topics: what is built can be parsed, what is hostile cannot be built."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.topics import (
    AlertTopic,
    AvailabilityTopic,
    BridgeStateTopic,
    GetTopic,
    HeartbeatTopic,
    HomeAssistantTopics,
    PartitionTopic,
    SessionAckTopic,
    SessionReplayTopic,
    SetTopic,
    Topics,
    is_topic_level,
)

TOPICS = Topics("charger", ("flows/answers/",))


@pytest.mark.parametrize(
    ("topic", "meaning"),
    [
        ("charger/EH123456/set/start", SetTopic("EH123456", "start")),
        ("charger/EH123456/get/sessions", GetTopic("EH123456", "sessions")),
        ("charger/bridge/session/ack", SessionAckTopic()),
        ("charger/bridge/session/replay", SessionReplayTopic()),
        ("charger/bridge/set/start", None),
        ("charger/bridge/state", BridgeStateTopic()),
        ("charger/bridge/alert/storage", AlertTopic("storage")),
        ("charger/EH123456/availability", AvailabilityTopic("EH123456")),
        ("charger/EH123456/set", None),
        ("charger/EH123456/set/start/now", None),
        ("charger/EH123456/state/led", None),
        ("chargers/EH123456/set/start", None),
        ("other/EH123456/set/start", None),
        ("", None),
    ],
)
def test_a_topic_is_one_of_the_known_shapes_or_nothing(topic, meaning):
    """Exactly the documented shapes are understood."""
    assert TOPICS.parse(topic) == meaning


@pytest.mark.parametrize(
    ("topic", "of_part", "of_all"),
    [
        ("partition/03/state", BridgeStateTopic(), PartitionTopic(3, "state")),
        ("partition/03/heartbeat", HeartbeatTopic(), PartitionTopic(3, "heartbeat")),
        ("partition/03/alert/gap", AlertTopic("gap"), PartitionTopic(3, "alert/gap")),
        ("partition/03/alert/a/EH1", AlertTopic("a/EH1"), PartitionTopic(3, "alert/a/EH1")),
        ("partition/04/state", None, PartitionTopic(4, "state")),
        ("partition/03", None, None),
        ("partition/x/state", None, None),
        ("partition/²/state", None, None),
        ("state", None, BridgeStateTopic()),
        ("alert/gap", None, AlertTopic("gap")),
        ("session/ack", SessionAckTopic(), SessionAckTopic()),
        ("session/replay", SessionReplayTopic(), SessionReplayTopic()),
        ("alert/a/b/c", None, None),
    ],
)
def test_a_partition_reads_its_own_status_and_the_speaker_that_of_all(topic, of_part, of_all):
    """What consumers say reaches every partition."""
    part = Topics("charger", (), "bridge/partition/03")

    assert part.parse(f"charger/bridge/{topic}") == of_part
    assert TOPICS.parse(f"charger/bridge/{topic}") == of_all


def test_a_partition_subscribes_to_nothing_of_others():
    """Commands of everything are for a gateway that serves or answers everything."""
    part = Topics("charger", (), "bridge/partition/03")

    assert part.is_part
    assert not TOPICS.is_part
    assert not [
        name for name in (*part.subscriptions, *part.echoes) if name.startswith("charger/+")
    ]
    assert part.bridge_state == "charger/bridge/partition/03/state"
    assert part.requests_of("site/7") == ("charger/site/7/set/+", "charger/site/7/get/+")
    assert {*part.echoes_of("EH123456")} <= {
        name.replace("+", "EH123456", 1) for name in TOPICS.echoes
    }
    assert {*TOPICS.requests} <= {*TOPICS.subscriptions}


def test_a_base_of_several_levels_is_parsed_like_a_short_one():
    """The base topic may have several levels."""
    topics = Topics("home/garage/charger")

    assert topics.parse("home/garage/charger/EH123456/set/stop") == SetTopic("EH123456", "stop")
    assert topics.subscriptions[0] == "home/garage/charger/+/set/+"


@given(st.text())
def test_parsing_is_total(topic):
    """No text that arrives as a topic raises."""
    TOPICS.parse(topic)


@given(st.text())
def test_a_level_never_grows_into_another_topic(text):
    """What passes as a level holds nothing that means something to a broker."""
    if is_topic_level(text):
        assert not set(text) & set("/+#\0")
        assert text.isprintable()
        assert text


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("charger/reply/flow-1", True),
        ("charger/reply/flow/1", True),
        ("flows/answers/a", True),
        ("charger/reply/", False),
        ("charger/reply/a/../b/#", False),
        ("charger/reply/a//b", False),
        ("charger/EH123456/set/start", False),
        ("$SYS/broker", False),
        ("charger/reply/" + "a/" * 200 + "a", False),
    ],
)
def test_a_caller_may_only_be_answered_where_answers_belong(topic, allowed):
    """A Response Topic cannot make the bridge publish a command or elsewhere with its rights."""
    assert TOPICS.may_reply_to(topic) is allowed


def test_home_assistant_is_told_where_it_looks():
    """Device and entity topics lie below the prefix and end as discovery wants them."""
    places = HomeAssistantTopics("ha", "ha/status")

    assert places.device("charger_EH123456") == "ha/device/charger_EH123456/config"
    assert places.component("sensor", "n", "k") == "ha/sensor/n/k/config"
