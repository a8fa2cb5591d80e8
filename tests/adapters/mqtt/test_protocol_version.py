"""The choice between MQTT 5 and 3.1.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.mqtt.connect_errors import Cause
from bridge.adapters.mqtt.paho_translation import ANSWER_DEADLINE_S
from bridge.adapters.mqtt.protocol_version import FALLBACK_HOLDS_S, TRIAL_S, ProtocolVersionPolicy

DAY_S = 86_400.0
SILENCES = [Cause.NO_ANSWER, Cause.SILENT]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("cause", list(Cause))
def test_a_configured_version_is_never_left(version, cause):
    """Who names a version gets that version or an error."""
    version_policy = ProtocolVersionPolicy(version)

    assert version_policy.choose(0.0) == version
    assert version_policy.failed(version, cause, 0.0) is False
    assert version_policy.choose(0.0) == version


@pytest.mark.parametrize("cause", list(Cause))
def test_only_refusals_and_silence_lead_to_the_older_version(cause):
    """A wrong password or a dead host says nothing about the version."""
    version_policy = ProtocolVersionPolicy("auto")

    at_once = version_policy.failed("5", cause, 0.0)

    assert at_once is (cause in FALLBACK_HOLDS_S)
    assert version_policy.choose(0.0) == ("3.1.1" if at_once else "5")


def test_a_refusal_is_believed_for_a_day():
    """After a day the broker may have been updated."""
    version_policy = ProtocolVersionPolicy("auto")
    version_policy.failed("5", Cause.OLD_BROKER, 100.0)

    assert version_policy.choose(100.0 + DAY_S - 1) == "3.1.1"
    assert version_policy.choose(100.0 + DAY_S) == "5"


@pytest.mark.parametrize("cause", [Cause.OLD_BROKER, *SILENCES])
def test_when_the_older_version_fares_no_better_mqtt_5_is_next(cause):
    """A broker that is being restarted closes on both; nothing is learned from it."""
    version_policy = ProtocolVersionPolicy("auto")
    version_policy.failed("5", Cause.NO_ANSWER, 0.0)

    assert version_policy.failed("3.1.1", cause, 0.0) is False
    assert version_policy.choose(0.0) == "5"


@pytest.mark.parametrize("cause", SILENCES)
def test_a_broker_that_spoke_mqtt_5_is_not_doubted_at_the_first_silence(cause):
    """One closed socket during a restart does not cost the bridge MQTT 5."""
    version_policy = ProtocolVersionPolicy("auto")
    version_policy.succeeded("5")

    assert [version_policy.failed("5", cause, 0.0) for _ in range(3)] == [False, False, True]


def test_only_an_unknown_broker_is_given_little_time():
    """The short trial ends with the first proof of MQTT 5."""
    version_policy = ProtocolVersionPolicy("auto")

    assert (version_policy.patience_s("5"), version_policy.patience_s("3.1.1")) == (
        TRIAL_S,
        ANSWER_DEADLINE_S,
    )
    version_policy.succeeded("5")
    assert version_policy.patience_s("5") == ANSWER_DEADLINE_S
    assert ProtocolVersionPolicy("5").patience_s("5") == ANSWER_DEADLINE_S


@given(st.lists(st.tuples(st.sampled_from(Cause), st.floats(0, 10 * DAY_S)), max_size=30))
def test_two_attempts_at_once_never_follow_each_other(steps):
    """Whatever goes wrong, an immediate second attempt is not followed by a third."""
    version_policy = ProtocolVersionPolicy("auto")
    now_s, before = 0.0, False
    for cause, elapsed_s in steps:
        now_s += 0.0 if before else elapsed_s
        at_once = version_policy.failed(version_policy.choose(now_s), cause, now_s)
        assert not (at_once and before)
        before = at_once
