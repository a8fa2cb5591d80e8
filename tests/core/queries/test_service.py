"""Every query gets exactly one final answer, in time, whatever happens."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.addressees import CHARGER, EQUALIZER, SITE, Addressees
from bridge.core.easee.sites import Site, SiteCircuit
from bridge.core.effects import Acknowledge, ReadReports, SendRequest
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    MqttMessage,
    ObservationsReceived,
    ReportsRead,
    ReportsReadFailed,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.queries.catalogue import QUERIES, PersonalDataPolicy
from bridge.core.queries.service import (
    LOST_EVENT_GRACE_S,
    MAX_PER_CHARGER,
    MAX_RUNNING,
    TIMEOUT_S,
    QueryService,
)
from bridge.core.records.moment import Timestamp
from bridge.core.topics import GetTopic, Topics
from bridge.errors import (
    AnswerUnusable,
    AuthFailed,
    Blocked,
    CloudRejected,
    CloudUnavailable,
    RateLimited,
    StoreError,
)
from tests.conftest import NOON
from tests.core.sessions.rows import ONE
from tests.native import as_messages

RECEIPT = AckToken(1, 5, 1)
FLEET = [ONE, *(f"EH00000{n}" for n in range(9))]
BODY = b'{"observations":[{"id":109,"value":3,"timestamp":"2026-11-22T12:00:00Z"}]}'


class Desk:
    """The queries, a clock, and what came out of them."""

    def __init__(self):
        self.observed = []
        self.queries = QueryService(
            Topics(),
            PersonalDataPolicy(personal_data=False, salt=b"salt"),
            FLEET,
        )
        self.now = Timestamp(NOON, 1000.0)

    def take(self, outputs):
        """Return effects; observations are taken as another component does."""
        outputs = as_messages(outputs)
        self.observed += [one for one in outputs if isinstance(one, ObservationsReceived)]
        return [one for one in outputs if not isinstance(one, ObservationsReceived)]

    def get(self, query, payload=b"", charger_id=ONE, **facts):
        message = MqttMessage("x", payload, RECEIPT, **facts)
        return self.take(
            self.queries.receive(message, GetTopic(charger_id, query), FLEET, self.now)
        )

    def wait(self, seconds):
        self.now = Timestamp(self.now.wall + timedelta(seconds=seconds), self.now.mono_s + seconds)
        return self.take(self.queries.tick(self.now))

    def answer(self, call, body=BODY):
        return self.take(self.queries.answered(CloudResponse(call.tag, 200, body), self.now))

    def fail(self, call, error):
        return self.take(self.queries.failed(CloudFailed(call.tag, error), self.now))


def waits(desk, tag):
    """Say whether a call or a read is awaited."""
    return tag.ref in desk.queries._owners


def answers(effects):
    """Return the documents of the answers."""
    return [json.loads(e.payload) for e in effects if isinstance(e, Publish)]


def calls(effects):
    """Return the calls to the cloud."""
    return [effect for effect in effects if isinstance(effect, SendRequest)]


def test_a_query_becomes_a_call_and_its_answer_one_message():
    """On the result topic, like a command's, with the data in value."""
    desk = Desk()
    call, acknowledge = desk.get("observations", b'{"id":"q1"}')
    assert acknowledge == Acknowledge(RECEIPT)
    assert waits(desk, call.tag)
    desk.wait(0.4)
    effects = desk.answer(call)

    (message,) = [effect for effect in effects if isinstance(effect, Publish)]
    assert (message.topic, message.retained) == (f"charger/{ONE}/result/observations", False)
    document = json.loads(message.payload)
    value = document.pop("value")
    assert document == {
        "id": "q1",
        "command": "observations",
        "state": "confirmed",
        "final": True,
        "reason": None,
        "detail": None,
        "http_status": 200,
        "ticks": None,
        "received_at": "2026-11-22T12:00:00Z",
        "at": "2026-11-22T12:00:00.400Z",
        "elapsed_ms": 400,
    }
    assert value["charger_op_mode"]["value"] == 3
    assert not waits(desk, call.tag)
    assert desk.queries.deadline_s() is None


def test_what_a_query_read_is_applied_as_if_it_had_been_polled():
    """A fresh read makes the topics fresh."""
    desk = Desk()
    desk.answer(calls(desk.get("observations"))[0])

    (observed,) = desk.observed
    assert (observed.source, observed.observations[0].id) == ("poll", 109)


@pytest.mark.parametrize("payload", [b"", b" ", b"{}", b"PRESS", b"1", b"true"])
def test_a_query_without_conditions_may_be_asked_with_anything_that_says_yes(payload):
    """Also with nothing: nothing can go wrong by it."""
    assert len(calls(Desk().get("observations", payload))) == 1


def test_the_caller_s_response_topic_is_answered_too():
    """With its correlation data, where we may publish."""
    desk = Desk()
    topic = "charger/reply/me"
    call = calls(desk.get("observations", response_topic=topic, correlation=b"c"))[0]
    messages = [e for e in desk.answer(call) if isinstance(e, Publish)]

    assert [(m.topic, m.correlation) for m in messages][1:] == [(topic, b"c")]
    assert messages[0].payload == messages[1].payload


@pytest.mark.parametrize(
    ("query", "facts", "reason"),
    [
        ("horoscope", {}, "unknown_command"),
        ("observations", {"retained": True}, "retained"),
        ("observations", {"charger_id": "EH999999"}, "unknown_charger"),
        ("observations", {"charger_id": "../x"}, "unknown_charger"),
        ("history", {}, "invalid_value"),
        ("sessions", {"payload": b"{"}, "invalid_value"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(query, facts, reason):
    """One answer, acknowledged, and nothing is sent to the cloud."""
    effects = Desk().get(query, **facts)

    assert Acknowledge(RECEIPT) in effects
    assert not calls(effects)
    if facts.get("charger_id") != "../x":
        (answer,) = answers(effects)
        assert (answer["state"], answer["reason"], answer["final"]) == ("refused", reason, True)


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (RateLimited("spent", retry_after_s=60.0, local=True), "refused", "busy"),
        (RateLimited("429", retry_after_s=60.0), "refused", "busy"),
        (CloudRejected("no", status=403, reason="forbidden"), "failed", "forbidden"),
        (CloudUnavailable("down", status=503), "failed", "cloud_unavailable"),
        (
            AnswerUnusable("big", status=200, reason="answer_too_large"),
            "failed",
            "answer_too_large",
        ),
        (AnswerUnusable("cut", status=200), "failed", "answer_unusable"),
        (AuthFailed("wrong"), "failed", "auth_failed"),
        (Blocked("b", status=403, retry_after_s=1.0), "failed", "blocked"),
    ],
)
def test_a_cloud_that_does_not_give_it_is_an_answer_too(error, state, reason):
    """A spent budget is busy; everything else says what it is."""
    desk = Desk()
    (answer,) = answers(desk.fail(calls(desk.get("observations"))[0], error))

    assert (answer["state"], answer["reason"]) == (state, reason)
    assert answer["http_status"] == error.status
    assert "value" not in answer


def test_an_answer_that_cannot_be_read_is_a_failure():
    """HTML is no list of observations."""
    desk = Desk()
    (answer,) = answers(desk.answer(calls(desk.get("observations"))[0], b"<html>"))

    assert (answer["state"], answer["reason"]) == ("failed", "unreadable")


def test_sessions_wait_for_the_store_and_the_cloud():
    """The answer comes when both have said something, in whatever order."""
    for store_first in (True, False):
        desk = Desk()
        effects = desk.get("sessions")
        (call,) = calls(effects)
        (read,) = [effect for effect in effects if isinstance(effect, ReadReports)]
        assert (read.charger_id, read.until) == (ONE, NOON)
        event = ReportsRead(read.tag, ())
        steps = [
            lambda event=event, desk=desk: as_messages(desk.queries.handle(event, desk.now)),
            lambda call=call, desk=desk: desk.answer(call, b"[]"),
        ]
        first, second = steps if store_first else reversed(steps)
        assert answers(first()) == []
        assert [one["value"] for one in answers(second())] == [[]]


def test_a_store_that_cannot_be_read_is_told():
    """Where the cloud does not help either."""
    desk = Desk()
    effects = desk.get("sessions")
    (read,) = [effect for effect in effects if isinstance(effect, ReadReports)]
    assert desk.fail(calls(effects)[0], CloudUnavailable("down")) == []
    event = ReportsReadFailed(read.tag, StoreError("gone"))
    (answer,) = answers(as_messages(desk.queries.handle(event, desk.now)))

    assert (answer["state"], answer["reason"]) == ("refused", "storage")


def test_too_many_queries_are_refused_busy_and_answers_make_room():
    """Of one charger and of all; nothing is queued."""
    desk = Desk()
    running = [calls(desk.get("observations"))[0] for _ in range(MAX_PER_CHARGER)]
    assert answers(desk.get("observations"))[0]["reason"] == "busy"
    desk.answer(running[0])
    assert calls(desk.get("observations"))

    for charger_id in FLEET[1:]:
        for _ in range(MAX_PER_CHARGER):
            desk.get("observations", charger_id=charger_id)
    assert len(desk.queries._running) == MAX_RUNNING


def test_a_call_that_is_never_answered_is_given_up():
    """Exactly one answer, and a late one changes nothing."""
    desk = Desk()
    (call,) = calls(desk.get("observations"))
    assert call.within_s == TIMEOUT_S
    assert desk.queries.deadline_s() == 1000.0 + TIMEOUT_S + LOST_EVENT_GRACE_S
    assert desk.wait(TIMEOUT_S + LOST_EVENT_GRACE_S - 1) == []

    (answer,) = answers(desk.wait(1))
    assert (answer["state"], answer["reason"]) == ("failed", "no_answer")
    assert not waits(desk, call.tag)


def test_a_caller_may_have_less_patience():
    """ttl_s, expires_at and the message's own expiry shorten the time; what is over is over."""
    later = b'{"expires_at":"2026-11-22T12:00:05Z"}'
    assert calls(Desk().get("observations", b'{"ttl_s":7}'))[0].within_s == 7
    assert calls(Desk().get("observations", expiry_s=3))[0].within_s == 3
    assert calls(Desk().get("observations", later))[0].within_s == 5

    before = b'{"expires_at":"2026-11-22T11:00:00Z"}'
    effects = Desk().get("observations", before)
    assert [one["state"] for one in answers(effects)] == ["expired"]
    assert not calls(effects)
    desk = Desk()
    desk.now = Timestamp(NOON, 1000.0, trusted=False)
    assert calls(desk.get("observations", before))[0].within_s == TIMEOUT_S


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "ask", "answer", "answer", "fail", "store", "wait"]),
            st.integers(0, 9),
        ),
        max_size=60,
    )
)
def test_whatever_happens_every_query_has_exactly_one_answer(steps):
    """Any mixture of queries, answers in any order, failures and silence."""
    desk = Desk()
    asked, told, waiting, reads = 0, 0, [], []
    names = [*QUERIES, "nonsense"]
    for step, number in [*steps, ("wait", 9)]:
        effects = []
        match step:
            case "ask":
                asked += 1
                payload = b'{"name":"charger_op_mode"}' if number % 5 == 1 else b""
                effects = desk.get(names[number % 5], payload, charger_id=FLEET[number])
            case "answer" if waiting:
                effects = desk.answer(waiting.pop(number % len(waiting)))
            case "fail" if waiting:
                effects = desk.fail(waiting.pop(number % len(waiting)), CloudUnavailable("down"))
            case "store" if reads:
                event = ReportsRead(reads.pop().tag, ())
                effects = as_messages(desk.queries.handle(event, desk.now))
            case "wait":
                effects = desk.wait(number * 10.0)
        told += len(answers(effects))
        waiting.extend(calls(effects))
        reads.extend(effect for effect in effects if isinstance(effect, ReadReports))
        waiting = [call for call in waiting if waits(desk, call.tag)]
        reads = [read for read in reads if waits(desk, read.tag)]

    assert told == asked
    assert desk.queries.deadline_s() is None
    assert not desk.queries._owners


def site_desk(*, personal_data=False):
    """Queries of a charger, an Equalizer and a site."""
    desk = Desk()
    here = Site(7, None, (SiteCircuit(9, {}, (ONE,)),), ("QP123456",))
    sites = {here.addressee: here}
    known = Addressees({CHARGER: (ONE, "EH999999"), EQUALIZER: ("QP123456",), SITE: sites})
    policy = PersonalDataPolicy(personal_data=personal_data, salt=b"salt")
    desk.queries = QueryService(Topics(), policy, known, sites)

    def get(name, query, payload=b""):
        message = MqttMessage("x", payload, RECEIPT)
        return desk.take(desk.queries.receive(message, GetTopic(name, query), known, desk.now))

    return get


@pytest.mark.parametrize("name", [ONE, "QP123456", "site/7"])
def test_a_site_is_asked_for_by_its_name_or_by_a_device_of_it(name):
    """The same three requests."""
    paths = [call.request.path for call in calls(site_desk()(name, "site"))]
    assert paths[0] == "/api/sites/7?detailed=true"
    assert len(paths) == 3


@pytest.mark.parametrize(
    ("name", "query", "reason"),
    [
        ("site/7", "observations", "unknown_command"),
        ("QP123456", "keys", "unknown_command"),
        ("site/8", "site", "unknown_charger"),
        ("EH999999", "site", "busy"),
        (ONE, "keys", "not_allowed"),
    ],
)
def test_a_query_that_is_not_for_its_addressee_is_refused(name, query, reason):
    """Nothing is asked of the cloud."""
    effects = site_desk()(name, query)
    assert calls(effects) == []
    assert [one["reason"] for one in answers(effects)] == [reason]


def test_keys_are_asked_for_where_personal_data_may_be_told():
    """By a charger or by a site."""
    get = site_desk(personal_data=True)
    for name in (ONE, "site/7"):
        assert [call.request.path for call in calls(get(name, "keys"))] == [
            "/api/accounts/easeekeys"
        ]
