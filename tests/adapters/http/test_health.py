"""What supervisors are told."""

import json

from bridge.adapters.http.health import PARTS, routes
from bridge.core.changes import AlertCleared, AlertRaised, CloudStateChanged
from bridge.core.events import MqttConnected, MqttDisconnected, StoreOpened
from bridge.core.records.lease import ClusterView, HeldLease, Member, MemberStatus
from bridge.monitoring.metrics import Metrics
from tests.conftest import NOON


def well():
    """Make the metrics of a bridge whose every part is at work."""
    metrics = Metrics()
    metrics.event(MqttConnected(session_present=False, protocol="5", receive_maximum=20))
    metrics.event(StoreOpened(()))
    metrics.change(CloudStateChanged("connected"))
    return metrics


def test_all_is_well():
    """With every part at work the answer is 200 and names each of them."""
    reply = routes(well())["/healthz"]()
    document = json.loads(reply.body)
    assert (reply.status, document["ok"], set(document["parts"])) == (200, True, set(PARTS))


def test_one_part_fails_and_the_others_stay_well():
    """A broker that is gone makes the whole 503, and of the parts only its own."""
    metrics = well()
    metrics.event(MqttDisconnected("gone"))
    found = {path: handler().status for path, handler in routes(metrics).items()}
    assert found == {
        "/healthz": 503,
        "/healthz/bridge": 200,
        "/healthz/broker": 503,
        "/healthz/cloud": 200,
        "/healthz/store": 200,
    }


def test_a_part_that_is_out_of_reach_says_why():
    """In the words of the alert, for as long as it is not well."""
    metrics = well()
    metrics.event(MqttDisconnected("gone"))
    metrics.change(AlertRaised("broker_unreachable", "nothing listens", "h", NOON))
    metrics.change(AlertRaised("storage", "full", "h", NOON))
    metrics.change(CloudStateChanged("disconnected"))
    metrics.change(AlertRaised("cloud_unreachable", "nothing x", "h", NOON))
    parts = json.loads(routes(metrics)["/healthz"]().body)["parts"]
    assert parts["broker"] == {"ok": False, "state": "disconnected", "why": "nothing listens"}
    assert parts["cloud"]["why"] == "nothing x"
    assert "why" not in parts["store"]

    metrics.event(MqttConnected(session_present=False, protocol="5", receive_maximum=20))
    metrics.change(AlertCleared("cloud_unreachable"))
    parts = json.loads(routes(metrics)["/healthz"]().body)["parts"]
    assert parts["broker"] == {"ok": True, "state": "connected"}
    assert "why" not in parts["cloud"]


def test_a_bridge_that_has_just_started_is_not_well_yet():
    """Before anything was connected only the bridge itself is well."""
    found = {path: handler().status for path, handler in routes(Metrics()).items()}
    assert [path for path, status in found.items() if status == 200] == ["/healthz/bridge"]


def test_a_worker_that_stands_by_is_well():
    """While others serve every partition it has nothing to do; else it is as without a cluster."""
    metrics = Metrics()
    member = Member("right", 0.1, "1.0", MemberStatus())
    held = ClusterView((member,), (HeldLease(0, "left", 3, 2.0),))
    metrics.cluster_seen("right", held, 4)
    reply = routes(metrics)["/healthz"]()
    document = json.loads(reply.body)
    assert (reply.status, document["parts"]["broker"]["state"]) == (200, "standing by")
    assert document["parts"]["bridge"]["state"] == "running"

    metrics.cluster_seen("right", ClusterView((member,), (HeldLease(0, "left", 3, -1.0),)), 4)
    assert routes(metrics)["/healthz/broker"]().status == 503
    metrics.cluster_seen("left", held, 4)
    assert routes(metrics)["/healthz/broker"]().status == 503
