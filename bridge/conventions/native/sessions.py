"""Charging sessions as messages: the running one, the last one, and reports."""

from bridge.core.changes import CurrentSessionChanged, LastSessionChanged, ReportDue
from bridge.core.messages import Publish
from bridge.core.records.stored_report import StoredReport
from bridge.core.session_documents import auth_reason_name, last_fields, plain, stored_fields
from bridge.core.topics import Topics
from bridge.core.value_format import json_document


def report_document(stored: StoredReport) -> bytes:
    """Write the document of a row whose tag is cleared for it."""
    return json_document(dict(stored_fields(stored)))


class SessionMessages:
    """Makes the messages below ``<base>/<id>/session``.

    Args:
        topics: The topic tree.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def current(self, change: CurrentSessionChanged) -> tuple[Publish, ...]:
        """Return ``session/current``, empty where none runs."""
        topic, session = self._topics.session(change.charger_id, "current"), change.session
        if session is None:
            return (Publish(topic, b""),)
        payload = json_document(
            {
                "charger_id": change.charger_id,
                "session_id": session.session_id,
                "started_at": session.started_at,
                "meter_start_kwh": plain(session.meter_start_kwh),
                "energy_kwh": plain(session.energy_kwh),
                "auth_reason": session.auth_reason,
                "auth_reason_name": auth_reason_name(session.auth_reason),
                "incomplete": session.incomplete,
                "clock": session.clock,
            }
        )
        return (Publish(topic, payload),)

    def last(self, change: LastSessionChanged) -> tuple[Publish, ...]:
        """Return ``session/last``."""
        topic = self._topics.session(change.charger_id, "last")
        return (Publish(topic, json_document(dict(last_fields(change.report, change.name)))),)

    def report(self, change: ReportDue) -> tuple[Publish, ...]:
        """Return ``session/report``, whose acknowledgement is waited for."""
        topic = self._topics.session(change.stored.report.charger_id, "report")
        payload = report_document(change.stored)
        return (Publish(topic, payload, retained=False, tag=change.tag, owner=change.owner),)
