"""The borders towards the cloud: the hub and the REST interface."""

import contextlib
from datetime import timedelta

import httpx

from bridge.adapters.easee.http_client import date_of
from bridge.adapters.store.row_format import report_columns
from bridge.core.clock_check import ServerClock
from bridge.core.easee import error_responses, hub_session, rest_responses, signalr
from bridge.core.easee.decode import MAX_ID, MAX_TEXT_BYTES, Observation, decode
from bridge.core.easee.history import history
from bridge.core.easee.rest_requests import is_serial
from bridge.core.easee.session_list import session_list
from bridge.core.easee.session_payloads import read_report, read_start
from bridge.core.events import ChargerResponse, Event, ObservationsReceived
from bridge.core.records.observation import RawObservation
from bridge.errors import CloudRejected, DecodeError
from tests.fuzz.core import API, CORE, EXCHANGE, NOON, ONE, any_of, parts, shake, stored, text_of


def frames(data: bytes) -> None:
    """Hub frames: the same messages wherever the bytes are cut, and none of them hurts the core."""
    decoder, halves = signalr.Decoder(), signalr.Decoder()
    whole = decoder.feed(data)
    middle = len(data) // 2
    assert halves.feed(data[:middle]) + halves.feed(data[middle:]) == whole
    events: list[Event] = [
        item
        for item in signalr.batch_observations(whole)
        if isinstance(item, ObservationsReceived | ChargerResponse | signalr.StreamAnomaly)
    ]
    if CORE.wants(data):
        shake(*events[:4])


def observation(data: bytes) -> None:
    """One observation of any id, type and JSON value: a typed value of bounded size, or refused."""
    head, stamp, value = parts(data, 3)
    number = int.from_bytes(head[:2], "big") % 300 if len(head) < 8 else MAX_ID
    raw = RawObservation(
        ONE,
        number,
        head[2] % 9 if len(head) > 2 else None,
        any_of(value),
        stamp.decode("utf-8", "ignore") or "2026-11-22T11:59:00Z",
    )
    with contextlib.suppress(DecodeError):
        read = decode(raw)
        assert isinstance(read, Observation)
        if isinstance(read.value, str):
            assert len(read.value.encode()) <= MAX_TEXT_BYTES
        if isinstance(read.value, float):
            assert read.value - read.value == 0
    if CORE.wants(data):
        shake(ObservationsReceived((raw,)))


def session(data: bytes) -> None:
    """The billing record (129) and its beginning (223): read as a whole, or refused."""
    text = data.decode("utf-8", "ignore")
    with contextlib.suppress(DecodeError):
        report = read_report(
            text, charger_id=ONE, source="stream", measured_at=NOON, received_at=NOON
        )
        assert report.doubtful or report.ended_at >= report.started_at
        assert report.at <= NOON
        assert report_columns.from_row(report_columns.to_row(stored(report))) == stored(report)
    with contextlib.suppress(DecodeError):
        read_start(text, charger_id=ONE, measured_at=NOON, received_at=NOON)
    stamp = "2026-11-22T11:59:00Z"
    if CORE.wants(data):
        shake(
            ObservationsReceived(
                tuple(RawObservation(ONE, number, 6, text, stamp) for number in (223, 129))
            )
        )


def negotiation(data: bytes) -> None:
    """The hub's answer to a negotiation: a URL of the same host, or an error that is named."""
    with contextlib.suppress(DecodeError):
        token = hub_session.read_negotiation(data).connection_token
        url = hub_session.socket_url("https://streams.example.com/hubs/chargers", token)
        assert url.startswith("wss://streams.example.com/hubs/chargers?id=")
        assert url.isascii()
        assert url.isprintable()
        assert len(url) <= MAX_URL_LENGTH


MAX_URL_LENGTH = 8192


REST = (
    rest_responses.token_pair,
    rest_responses.charger_list,
    lambda body: rest_responses.observations(body, ONE),
    rest_responses.command_tickets,
    rest_responses.command_state,
    lambda body: rest_responses.charger_site(body, ONE),
)


def bodies(data: bytes) -> None:
    """Bodies of the REST interface, each read as every kind of answer."""
    for read in REST:
        with contextlib.suppress(DecodeError):
            found = read(data)
            if isinstance(found, rest_responses.ChargerList):
                assert all(map(is_serial, found.charger_ids))


def session_bodies(data: bytes) -> None:
    """The list of sessions and the history of an observation."""
    with contextlib.suppress(DecodeError):
        for report in session_list(data, ONE, received_at=NOON).reports:
            assert report_columns.from_row(report_columns.to_row(stored(report))) == stored(report)
    for number in (100, 120, 129):
        with contextlib.suppress(DecodeError):
            for raw in history(data, ONE, number):
                with contextlib.suppress(DecodeError):
                    decode(raw)


def refusal(data: bytes) -> None:
    """How the cloud says no: one printable line, whatever it wrote."""
    for status in (400, 403, 429, 500):
        found = error_responses.read_error(status, data)
        notice = error_responses.block_notice(status, data) or ""
        for said in (found.message, found.reason, notice):
            assert said.isprintable()
            assert len(said) <= 200


def retry_after(data: bytes) -> None:
    """Retry-After: a wait of 0 s to a day, or none."""
    for wall in (NOON, None):
        wait_s = error_responses.retry_after_s(data.decode("latin-1"), wall)
        assert wait_s is None or 0 <= wait_s <= error_responses.MAX_RETRY_AFTER_S


def date(data: bytes) -> None:
    """The Date of an answer: a moment a clock can be compared with, or none."""
    made_at = date_of(httpx.Response(200, headers=[(b"Date", data)]))
    if made_at is not None:
        assert made_at.utcoffset() == timedelta(0)
        reference = ServerClock()
        reference.update(made_at, 0.0)
        reference.disagrees(NOON.timestamp(), 1.0)


def url(data: bytes) -> None:
    """A path behind the configured host: it leads there, or is refused."""
    path = text_of(data)
    with contextlib.suppress(CloudRejected):
        target = EXCHANGE._checked(API, path)
        assert (target.scheme, target.host, target.userinfo) == ("https", "api.example.com", b"")
