"""The path of the metrics."""

import subprocess
import sys

import pytest

from bridge.adapters.http.metrics import PATH, routes
from bridge.core.delivery.outbox import Outbox
from bridge.monitoring.metrics import Metrics


@pytest.mark.anyio
async def test_the_path_is_answered_again_and_again():
    """Each answer has the counters of its moment."""
    answer = routes(Metrics(), "1.2.3", Outbox())[PATH]

    first, again = await answer(), await answer()

    assert b'charger_bridge_info{version="1.2.3"} 1.0' in first.body
    assert again.content_type == first.content_type
    assert b"charger_bridge_broker_up 0.0" in again.body


def test_the_library_waits_for_a_request():
    """A gateway whose metrics are never requested does not load what spells them."""
    code = (
        "import sys; from bridge.adapters.http import health, metrics, page, server;"
        "from bridge.monitoring.metrics import Metrics;"
        "metrics.routes(Metrics(), '1', None);"
        "print({'prometheus_client', 'http.server', 'wsgiref'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
