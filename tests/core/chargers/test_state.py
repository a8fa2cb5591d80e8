import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.chargers.fleet import batched
from bridge.core.chargers.state import MAX_IDS, OFFLINE_AFTER_S, ChargerState
from bridge.core.easee.decode import REGISTRY, DataType, Observation, spec_of
from bridge.core.effects import LogEntry
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.value_format import pseudonymize
from bridge.settings import PublishSettings
from tests.native import as_messages

ID = "EH000001"
SALT = b"salt of a test"
TAG = "04CANARY5A6B80"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW = Timestamp(NOON, 10_000.0)
FINISHED = f'{{"Auth":"{TAG}","AuthReason":3,"EnergyKwh":0.411273,"Id":435}}'
CLEARED = '{"AuthReason":3,"EnergyKwh":0.411273,"Id":435}'


def charger(**publish):
    """A charger of which nothing is known yet."""
    return ChargerState(ID, PublishSettings(**publish), SALT)


def seen(number, value, seconds=0.0):
    """Make an observation measured some seconds after noon."""
    return Observation(ID, spec_of(number), value, NOON + timedelta(seconds=seconds))


def later(seconds, *, trusted=True):
    """Make a moment some seconds after noon on both clocks."""
    return Timestamp(NOON + timedelta(seconds=seconds), NOW.mono_s + seconds, trusted)


def apply(state, *observations, now=NOW, source="stream"):
    """Apply observations and collect what follows, changes as their messages."""
    effects = []
    for one in observations:
        state.apply(one, source, now, effects)
    return as_messages(batched(effects), publish=state._publish)


def again(state, now=NOW):
    """Return the messages of everything that is retained."""
    return as_messages(state.publications(now))


def published(effects):
    """Topic, without what all topics begin with, to the newest payload."""
    return {
        effect.topic.removeprefix(f"charger/{ID}/"): effect.payload
        for effect in effects
        if isinstance(effect, Publish)
    }


def retained(effects):
    """The same, as a broker would remember it."""
    return published(e for e in effects if isinstance(e, Publish) and e.retained)


# -- documents and bare values ---------------------------------------------------------------


def test_an_observation_becomes_a_document_and_a_bare_value():
    """One observation gives the contract's document, its bare value and derived state."""
    assert apply(charger(), seen(109, 3, -2)) == [
        Publish(
            "charger/EH000001/observation/charger_op_mode",
            b'{"id":109,"name":"charger_op_mode","value":3,"label":"charging","unit":null,'
            b'"measured_at":"2026-11-22T11:59:58Z","received_at":"2026-11-22T12:00:00Z",'
            b'"source":"stream"}',
            telemetry=True,
        ),
        Publish(
            "charger/EH000001/state/charger_op_mode",
            b"3",
            user_properties=(
                ("measured_at", "2026-11-22T11:59:58Z"),
                ("unit", ""),
                ("id", "109"),
            ),
            telemetry=True,
        ),
        Publish("charger/EH000001/state/op_mode", b"charging", telemetry=True),
        Publish("charger/EH000001/state/awaiting_authorization", b"false", telemetry=True),
    ]


EXAMPLES = {
    DataType.BOOLEAN: True,
    DataType.DOUBLE: 6.053,
    DataType.INTEGER: 3,
    DataType.POSITION: "59.91,10.75",
    DataType.STRING: '{"a": "x\\ny"}',
}


@pytest.mark.parametrize("spec", REGISTRY.values(), ids=lambda spec: spec.name)
def test_every_document_is_json_with_the_contracts_keys(spec):
    """Each row's document parses, has its eight keys in order, and agrees with the bare value."""
    value = EXAMPLES[spec.kind]
    effects = apply(charger(personal_data=True), seen(spec.id, value), source="poll")
    topics = published(effects)
    document = json.loads(topics[f"observation/{spec.name}"])

    assert list(document) == [
        *("id", "name", "value", "label", "unit", "measured_at", "received_at", "source"),
    ]
    assert (document["id"], document["name"], document["unit"]) == (spec.id, spec.name, spec.unit)
    expected = value if not spec.auth_field else '{"a":"x\\ny"}'
    assert document["value"] == expected
    bare = topics[f"state/{spec.name}"].decode()
    assert bare == (expected if isinstance(expected, str) else json.dumps(expected))


def test_forms_can_be_switched_off_but_derived_state_stays():
    """Documents and bare values are optional; what people automate on is not."""
    assert set(published(apply(charger(json=False), seen(46, 25)))) == {
        *("state/led_mode", "state/led", "state/led_color", "state/led_pattern"),
    }
    assert set(published(apply(charger(scalar=False), seen(46, 25)))) == {
        *("observation/led_mode", "state/led", "state/led_color", "state/led_pattern"),
    }


def test_only_what_changes_is_published():
    """A repeat is silent, a new stamp renews the document only, a new value renews both."""
    state = charger()
    apply(state, seen(120, 7.2))

    assert apply(state, seen(120, 7.2)) == []
    assert set(published(apply(state, seen(120, 7.2, 1)))) == {"observation/total_power"}
    assert set(published(apply(state, seen(120, 7.3, 2)))) == {
        *("observation/total_power", "state/total_power"),
    }


def test_true_is_not_one():
    """A value that changes its type is a new value."""
    state = charger()
    apply(state, seen(103, 1))

    assert published(apply(state, seen(103, True, 1)))["state/cable_locked"] == b"true"


def test_an_unnamed_id_is_published_by_number():
    """What nobody has described is still published."""
    assert published(apply(charger(), seen(300, 5)))["state/observation_300"] == b"5"


def test_ids_from_outside_do_not_fill_the_memory():
    """However many ids are made up, a bounded number is held, and named ones always fit."""
    state = charger()
    effects = apply(state, *(seen(n, 1) for n in range(1000, 3000)))

    assert len(published(effects)) == 2 * MAX_IDS
    assert effects[-1] == LogEntry(
        "debug", "observation.one_too_many", {"charger_id": ID, "observation": "observation_2999"}
    )
    assert published(apply(state, seen(109, 3)))["state/op_mode"] == b"charging"


# -- newest wins -----------------------------------------------------------------------------


@given(st.permutations(range(6)))
@pytest.mark.fault("F32")
def test_any_order_of_arrival_ends_on_the_newest_value(order):
    """Whatever the order of arrival, the retained values are the newest ones."""
    state = charger()
    effects = apply(state, *(seen(109, n, n - 10) for n in order))

    assert retained(effects)["state/charger_op_mode"] == b"5"
    assert retained(effects)["state/op_mode"] == b"error"
    assert state.value(109) == 5
    assert state.measured_at(109) == NOON - timedelta(seconds=5)


def known(effects):
    """What a broker retains and is not said to be unknown."""
    return {topic: payload for topic, payload in retained(effects).items() if payload != b"null"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([109, 96, 46, 42, 15, 16, 17, 45]),
            st.sampled_from([0, 1, 2, 7, 25, 55]),
            st.integers(-9, 9),
        ),
        max_size=12,
        unique_by=lambda row: (row[0], row[2]),
    ),
    st.randoms(use_true_random=False),
)
def test_order_never_shows(rows, random):
    """What the broker retains in the end does not depend on the order things arrived in."""
    observations = [seen(number, value, seconds) for number, value, seconds in rows]
    shuffled = random.sample(observations, len(observations))

    assert known(apply(charger(), *shuffled)) == known(
        apply(charger(), *sorted(observations, key=lambda one: one.measured_at))
    )


def test_an_older_observation_is_counted_not_published():
    """A late arrival changes nothing and is told at debug level without its value."""
    state = charger()
    apply(state, seen(109, 6, 1))

    assert apply(state, seen(109, 3)) == [
        LogEntry("debug", "observation.stale", {"charger_id": ID, "observation": "charger_op_mode"})
    ]
    assert (state.stale, state.value(109)) == (1, 6)


def test_on_equal_stamps_the_later_arrival_wins():
    """Stamps have whole seconds; of two in one second the later one is the truth."""
    state = charger()
    apply(state, seen(109, 3), seen(109, 6))

    assert state.value(109) == 6


@pytest.mark.fault("F32")
def test_a_stamp_from_the_future_does_not_lock_the_topic():
    """A charger whose clock was ahead is believed again as soon as it is right."""
    state = charger()
    ahead = published(apply(state, seen(120, 7.2, 86_400)))
    after = published(apply(state, seen(120, 7.3, 1), now=later(2)))

    assert json.loads(ahead["observation/total_power"])["measured_at"] == "2026-11-23T12:00:00Z"
    assert after["state/total_power"] == b"7.3"


def test_a_stamp_from_the_future_does_not_bind_when_its_time_comes_near():
    """A stamp ten minutes ahead is outranked by every measurement that follows its arrival."""
    state = charger()
    apply(state, seen(120, 7.2, 600))

    assert state.value(120) == 7.2
    assert (
        published(apply(state, seen(120, 7.3, 360), now=later(360)))["state/total_power"] == b"7.3"
    )


def test_a_value_on_its_way_is_not_hidden_by_a_stamp_from_the_future():
    """What was measured a second before the wrong stamp arrived still replaces it."""
    state = charger()
    apply(state, seen(120, 7.1, -60))
    apply(state, seen(120, 7.2, 3600))

    assert published(apply(state, seen(120, 7.3, -1), now=later(1)))["state/total_power"] == b"7.3"
    assert apply(state, seen(120, 7.0, -120))[0].event == "observation.stale"


def test_a_slow_clock_does_not_turn_the_order_round():
    """Where all stamps seem to come from the future, the newest of them still wins."""
    state = charger()
    slow = Timestamp(NOON - timedelta(hours=1), NOW.mono_s)
    apply(state, seen(120, 7.0, -7200), seen(120, 7.1, -60))
    apply(state, seen(120, 7.3), seen(120, 7.2, -30), now=slow)
    assert state.value(120) == 7.3

    apply(state, seen(120, 7.0, -7200), now=slow)
    assert state.value(120) == 7.3
    apply(state, seen(120, 7.2, -30), now=later(60))
    assert state.value(120) == 7.3


def test_an_old_value_that_comes_again_does_not_replace_what_a_slow_clock_held_for_future():
    """The value before it, brought again by a burst, was not measured after it; a later one was."""
    state = charger()
    slow = Timestamp(NOON - timedelta(hours=1), NOW.mono_s)
    apply(state, seen(120, 7.0, -7200), now=NOW)
    apply(state, seen(120, 7.3), now=slow)

    assert apply(state, seen(120, 7.0, -7200), now=slow)[0].event == "observation.stale"
    assert state.value(120) == 7.3
    apply(state, seen(120, 7.1, -7199), now=slow)
    assert state.value(120) == 7.1


def test_a_mark_set_by_an_untrusted_clock_is_lifted_by_a_trusted_one():
    """What could not be judged at boot does not hide what comes after the time is known."""
    state = charger()
    apply(state, seen(120, 7.2, 86_400), now=later(0, trusted=False))

    assert apply(state, seen(120, 7.1), now=later(1, trusted=False))[0].event == "observation.stale"
    assert published(apply(state, seen(120, 7.3, 1), now=later(2)))["state/total_power"] == b"7.3"


# -- personal data -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [20, 25, 36, 69, 81, 108, 128, 140, 241])
@pytest.mark.parametrize("plain", [False, True])
def test_personal_data_is_never_retained(number, plain):
    """A tag goes by the broker's memory, and is hashed unless the operator wants it plain."""
    state = charger(personal_data=plain)
    effects = apply(state, seen(number, TAG))
    shown = TAG if plain else pseudonymize(TAG, SALT)

    assert [effect.retained for effect in effects] == [False, False]
    assert json.loads(effects[0].payload)["value"] == shown
    assert effects[1].payload == shown.encode()
    assert again(state) == []


def test_no_tag_is_said_to_be_none():
    """An empty tag is no personal data and does not look like one."""
    assert published(apply(charger(), seen(128, "")))["state/user_id_token"] == b""


@pytest.mark.parametrize("number", [2, 8, 62, 240, 4711])
def test_an_address_in_a_text_that_should_hold_none_does_not_go_out(number):
    """Also under an id nobody has described: the field goes, and a broken text is withheld."""
    state = charger(personal_data=True)
    effects = apply(state, seen(number, '{"n":1,"address":"Lane 4"}'))
    effects += apply(state, seen(number, '{"address":"Lane 4', 1))

    assert published(effects)[f"state/{spec_of(number).name}"] == b'{"n":1}'
    assert "Lane 4" not in repr(effects) + repr(again(state))
    assert effects[-1].event == "observation.withheld"


@pytest.mark.parametrize("number", [60, 129, 223])
@pytest.mark.parametrize("plain", [False, True])
def test_sessions_are_retained_without_their_tag(number, plain):
    """The tag inside a session never reaches a retained topic, whatever the operator wants."""
    state = charger(personal_data=plain)
    effects = apply(state, seen(number, FINISHED))
    name = spec_of(number).name

    assert retained(effects)[f"state/{name}"] == CLEARED.encode()
    assert json.loads(retained(effects)[f"observation/{name}"])["value"] == CLEARED
    assert state.value(number) == CLEARED
    assert TAG not in repr(effects) + repr(again(state))


def test_a_session_that_cannot_be_read_is_withheld():
    """What may hide a tag is not published, and the good value before it stays."""
    state = charger()
    apply(state, seen(129, FINISHED))

    assert apply(state, seen(129, f"Auth {TAG}", 1)) == [
        LogEntry(
            "debug", "observation.withheld", {"charger_id": ID, "observation": "charging_session"}
        )
    ]
    assert state.value(129) == CLEARED


# -- derived state -----------------------------------------------------------------------------


def test_pending_authorization_is_found_in_either_order():
    """Mode 2 becomes awaiting_authorization with reason 55 and ceases to be without it."""
    state = charger()
    assert published(apply(state, seen(109, 2)))["state/op_mode"] == b"awaiting_start"
    assert not state.awaiting_authorization

    effects = apply(state, seen(96, 55, 1))
    assert published(effects)["state/op_mode"] == b"awaiting_authorization"
    assert published(effects)["state/awaiting_authorization"] == b"true"
    assert state.awaiting_authorization

    assert published(apply(state, seen(96, 0, 2)))["state/op_mode"] == b"awaiting_start"


def test_derived_state_is_published_on_change_only():
    """A new stamp alone does not repeat derived topics."""
    state = charger()
    apply(state, seen(46, 25))

    assert set(published(apply(state, seen(46, 25, 1)))) == {"observation/led_mode"}
    assert set(published(apply(state, seen(46, 26, 2)))) == {
        *("observation/led_mode", "state/led_mode", "state/led", "state/led_pattern"),
    }


def test_derived_state_that_is_no_longer_told_becomes_unknown():
    """What was published is not left standing when it ceased to be true."""
    state = charger()
    apply(state, seen(15, True))

    assert published(apply(state, seen(15, False, 1)))["state/access_mode"] == b"null"
    assert published(apply(state, seen(42, False, 2)))["state/access_mode"] == b"open"


def touch(effects):
    """What was said of the touch button, if anything."""
    return published(effects).get("state/touch_button")


def test_the_touch_button_dies_with_the_setting_and_comes_back_with_smart_charging():
    """Only a confirmed setting tells; smart charging coming on again revives the button."""
    state = charger()
    assert touch(apply(state, seen(102, True))) is None
    assert touch(as_messages(state.smart_charging_setting(False, NOW))) == b"disabled"
    assert touch(apply(state, seen(102, True, 1))) is None
    assert touch(apply(state, seen(102, False, 2))) is None
    assert touch(apply(state, seen(102, True, 3))) == b"enabled"
    assert touch(apply(state, seen(102, False, 4), seen(102, True, 5))) is None


def test_the_touch_button_ignores_smart_charging_of_before():
    """A value measured before the setting does not revive the button, a later one does."""
    state = charger()
    list(state.smart_charging_setting(False, NOW))

    assert touch(apply(state, seen(102, True, -60))) is None
    assert touch(as_messages(state.smart_charging_setting(True, NOW))) == b"enabled"

    state = charger()
    list(state.smart_charging_setting(False, NOW))
    assert touch(apply(state, seen(102, True, 60))) == b"enabled"


# -- availability ------------------------------------------------------------------------------


def said(state, link_ok, now):
    """What an availability check publishes, if anything."""
    return published(as_messages(state.availability(link_ok, now))).get("availability")


def test_availability_needs_the_link_the_cloud_the_charger_and_a_sign_of_life():
    """Each of the four alone makes a charger unavailable, and it is said once."""
    state = charger()
    assert said(state, True, NOW) == b"offline"
    apply(state, seen(120, 7.2))
    assert said(state, True, NOW) == b"online"
    assert said(state, True, NOW) is None
    assert said(state, False, NOW) == b"offline"
    assert said(state, True, NOW) == b"online"
    apply(state, seen(250, False, 1))
    assert said(state, True, NOW) == b"offline"
    apply(state, seen(250, True, 2))
    assert said(state, True, NOW) == b"online"
    apply(state, seen(109, 0, 3))
    assert said(state, True, NOW) == b"offline"
    apply(state, seen(109, 1, 4))
    assert said(state, True, NOW) == b"online"


def test_twenty_minutes_of_silence_are_offline():
    """The deadline is when silence counts; at that very moment the charger is unavailable."""
    state = charger()
    apply(state, seen(120, 7.2, -60))
    due = later(OFFLINE_AFTER_S - 60)

    assert state.deadline_s(NOW) == due.mono_s
    assert state.available(True, later(OFFLINE_AFTER_S - 61))
    assert not state.available(True, due)
    assert state.deadline_s(due) is None
    assert charger().deadline_s(NOW) is None


@given(
    st.lists(st.tuples(st.sampled_from([109, 46, 120, 124, 250, 251]), st.integers(1200, 10**7)))
)
def test_a_replay_never_refreshes_liveness(rows):
    """Old stamps, however many arrive, make no charger available, nor does what the cloud says."""
    state = charger()
    apply(state, *(seen(number, 1, -age_s) for number, age_s in rows))
    apply(state, seen(250, True), seen(251, "SERVER_INITIATED_DISCONNECT"))

    assert not state.available(True, NOW)
    assert state.deadline_s(NOW) is None


def test_a_stamp_from_the_future_is_worth_its_arrival():
    """A clock that is ahead does not keep a dead charger alive."""
    state = charger()
    apply(state, seen(120, 7.2, 86_400))

    assert state.deadline_s(NOW) == NOW.mono_s + OFFLINE_AFTER_S


def test_without_a_trusted_clock_arriving_on_the_stream_counts():
    """Before the time is known, what arrives counts; once it is known, its stamp is judged."""
    state = charger()
    unknown = later(0, trusted=False)
    apply(state, seen(120, 7.2, -7200), now=unknown)

    assert state.available(True, later(60, trusted=False))
    assert not state.available(True, later(60))

    apply(state, seen(120, 7.3, 30), now=later(60, trusted=False))
    assert state.available(True, later(90))
    assert state.deadline_s(later(90)) == NOW.mono_s + 30 + OFFLINE_AFTER_S

    silent = charger()
    apply(silent, seen(120, 7.2), now=unknown, source="poll")
    assert not silent.available(True, unknown)


# -- after the broker lost everything ----------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from([109, 46, 42, 120, 128, 129, 118, 300]),
            st.sampled_from([0, 3, 25, 1.5, True, FINISHED, ""]),
            st.integers(-5, 5),
        )
    )
)
def test_everything_retained_comes_again_as_it_was(rows):
    """A broker that forgot ends up with exactly what it knew, times included."""
    state = charger()
    effects = apply(state, *(seen(*row) for row in rows))
    effects += as_messages(state.availability(True, NOW))
    repeated = again(state, later(30))

    assert published(repeated) == retained(effects)
    assert all(message.retained for message in repeated)


def test_a_silent_charger_is_not_published_as_online_again():
    """Repeating what was said does not repeat what has become untrue."""
    state = charger()
    apply(state, seen(109, 3))
    list(state.availability(True, NOW))

    assert published(again(state, later(OFFLINE_AFTER_S)))["availability"] == b"offline"


def test_availability_goes_the_way_of_the_values():
    """One connection carries both, so whoever reads ``online`` finds the values before it."""
    state = charger()
    effects = [*apply(state, seen(109, 3)), *as_messages(state.availability(True, NOW))]
    published_ways = {e.topic.split("/")[2]: e.telemetry for e in effects if isinstance(e, Publish)}
    assert published_ways == {"observation": True, "state": True, "availability": True}
