"""Puts a fault of the field back into the program, where ``PUT_BACK`` names one.

Python imports this before anything else where this folder is on its path. Each fault is patched in
the module that has it, before others import from there.
"""

import os


def e6():
    """One component's error: here that of queries."""
    from bridge.core.domain_events import QueryReceived  # noqa: PLC0415
    from bridge.core.queries.service import QueryService  # noqa: PLC0415

    handle = QueryService.handle

    def failing(self, event, now):
        if isinstance(event, QueryReceived):
            raise ZeroDivisionError("put back")
        return handle(self, event, now)

    QueryService.handle = failing


def a3():
    """A stamp from the future outranks what is measured after it."""
    from bridge.core.chargers import state  # noqa: PLC0415

    state._ordering_time = lambda measured_at, _old, _now: measured_at
    state._is_stale = lambda new, old, _now: new.measured_at < old.measured_at


def b1():
    """A finished session with one odd side field is no session."""
    from bridge.core.easee import session_payloads  # noqa: PLC0415
    from bridge.errors import DecodeError  # noqa: PLC0415

    read = session_payloads.read_report

    def strict(*args, **kwargs):
        report = read(*args, **kwargs)
        if report.incomplete:
            raise DecodeError("a side field is odd", source="session")
        return report

    session_payloads.read_report = strict


def d7():
    """A second bridge on the base topic is not noticed."""
    from bridge.core.neighbours import Neighbours  # noqa: PLC0415

    Neighbours._heard = lambda *_: ()


def b2():
    """A finished session in a list of one is no session."""
    from bridge.core.easee import session_payloads  # noqa: PLC0415
    from bridge.errors import DecodeError  # noqa: PLC0415

    read = session_payloads._document

    def strict(text, source):
        if text.lstrip().startswith("["):
            raise DecodeError("not an object", source=source)
        return read(text, source)

    session_payloads._document = strict


def storm():
    """Two components fail with every message that is theirs."""
    from bridge.core.neighbours import Neighbours  # noqa: PLC0415

    e6()

    def failing(*_):
        raise LookupError("put back")

    Neighbours._heard = failing


FAULTS = {"STORM": storm, "E6": e6, "A3": a3, "B1": b1, "D7": d7, "B2": b2}
if name := os.environ.get("PUT_BACK"):
    FAULTS[name]()
