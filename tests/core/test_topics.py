"""Topics: what is built can be parsed, what is hostile cannot be built."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.topics import (
    AlertTopic,
    AvailabilityTopic,
    BridgeStateTopic,
    GetTopic,
    HomeAssistantTopics,
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
