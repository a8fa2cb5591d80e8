"""What the answers of the vendor are like, told to the core when it may be news.

An answer is told when its status, its headers about an end or a limit are others than those of the
last one of its path, when it is a refusal that counts, and with its shape every ten minutes.
"""

import contextlib
import re
from collections.abc import Sequence
from typing import Final

from bridge.adapters.easee.http_client import HttpResponse
from bridge.core.easee import rest_responses
from bridge.core.easee.error_responses import read_error
from bridge.core.easee.rest_requests import CloudRequest, Endpoint
from bridge.core.easee.signalr import RECORD_END
from bridge.core.easee.vendor_oddities import Fine, oddities
from bridge.core.easee.vendor_shapes import shape_of, template_of
from bridge.core.events import VendorOdd, VendorReplied
from bridge.core.records.observation import RawObservation
from bridge.errors import DecodeError
from bridge.ports import Clock, Emit

SHAPE_EVERY_S: Final = 600.0
# How often a path was answered so says something.
COUNTED: Final = frozenset({404, 410, 429})
MAX_HEADER: Final = 60
FRAME_EVERY_S: Final = 30.0
MAX_RECORDS: Final = 20
# While observations arrive by the thousand a part of them is looked at.
LOOK_EVERY_S: Final = 0.05
FEW: Final = 8
MAX_ODD: Final = 1000
_TARGET: Final = re.compile(rb'"target"\s*:\s*"([A-Za-z]{1,40})"')
# Their bodies hold secrets, or are the protocol's.
NO_SHAPE: Final = frozenset({Endpoint.LOGIN, Endpoint.NEGOTIATE})


class VendorNotes:
    """Tells the core of answers that may be news.

    Args:
        clock: Time.
        emit: Takes the events.
    """

    def __init__(self, clock: Clock, emit: Emit) -> None:
        self._clock = clock
        self._emit = emit
        self._told: dict[str, tuple[object, ...]] = {}
        self._shape_due_s: dict[str, float] = {}
        self._frame_due_s = 0.0
        self._fine: Fine = set()
        self._odd_due_s: dict[str, float] = {}
        self._looked_s = float("-inf")

    def answered(self, request: CloudRequest, reply: HttpResponse) -> None:
        """Look at the answer to a request."""
        endpoint = f"{request.method} {template_of(request.path)}"
        now_s = self._clock.now().mono_s
        about = (reply.status, _shown(reply.deprecation), _shown(reply.sunset), reply.limit)
        due = now_s >= self._shape_due_s.get(endpoint, 0.0)
        takes_shape = due and reply.ok and reply.body and request.endpoint not in NO_SHAPE
        if not (takes_shape or about != self._told.get(endpoint) or reply.status in COUNTED):
            return
        self._told[endpoint] = about
        shape = shape_of(reply.body) if takes_shape else None
        if shape is not None:
            self._shape_due_s[endpoint] = now_s + SHAPE_EVERY_S
        if shape is not None and request.endpoint is Endpoint.OBSERVATIONS:
            with contextlib.suppress(DecodeError):
                self.observed(rest_responses.observations(reply.body, request.scope).observations)
        status, deprecation, sunset, limit = about
        has_code = not reply.ok and read_error(reply.status, reply.body).code is not None
        self._emit(
            VendorReplied(
                endpoint,
                status,
                deprecation,
                sunset,
                limit,
                tuple(sorted(shape or ())),
                has_code=has_code,
            )
        )

    def observed(self, observations: Sequence[RawObservation]) -> None:
        """Look at observations; at a part of them while they come by the thousand."""
        now_s = self._clock.now().mono_s
        if len(observations) > FEW and now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        found = tuple(
            (key, sentence)
            for key, sentence in oddities(observations, self._fine)
            if now_s >= self._odd_due_s.get(key, 0.0)
        )
        if found and len(self._odd_due_s) < MAX_ODD:
            self._odd_due_s.update((key, now_s + SHAPE_EVERY_S) for key, _ in found)
            self._emit(VendorOdd(found))

    def frame(self, data: bytes) -> None:
        """Look at one frame of the hub in a while."""
        now_s = self._clock.now().mono_s
        if now_s < self._frame_due_s:
            return
        for record in data.split(RECORD_END, MAX_RECORDS)[:MAX_RECORDS]:
            if target := _TARGET.search(record):
                self._frame_due_s = now_s + FRAME_EVERY_S
                self.message(f"hub {target[1].decode()}", record)

    def message(self, endpoint: str, body: bytes) -> None:
        """Look at the shape of a message of the hub, or of the partner feed, in a while."""
        now_s = self._clock.now().mono_s
        if now_s < self._shape_due_s.get(endpoint, 0.0):
            return
        if shape := shape_of(body):
            self._shape_due_s[endpoint] = now_s + SHAPE_EVERY_S
            self._emit(VendorReplied(endpoint, shape=tuple(sorted(shape))))


def _shown(header: str | None) -> str:
    """Return a header as it may be shown."""
    return "".join(char for char in header or "" if char.isprintable())[:MAX_HEADER]
