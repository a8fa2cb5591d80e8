"""Every border as a function of bytes: what comes in from outside, and what must hold then.

A target reads bytes as its border would and returns. It raises for a broken promise only: an error
that is not one of :mod:`bridge.errors`, or something that got out and may not. Whoever calls it
(hypothesis in ``make test``, libFuzzer in ``make fuzz``) looks after time and memory.
"""

from collections.abc import Callable

from tests.fuzz import cloud, disk, http, hub, mqtt

BORDERS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        mqtt.topic,
        mqtt.payload,
        mqtt.command,
        mqtt.packets,
        mqtt.properties,
        mqtt.publication,
        mqtt.consumer,
        mqtt.plant,
        hub.websocket,
        cloud.frames,
        cloud.observation,
        cloud.session,
        cloud.negotiation,
        cloud.bodies,
        cloud.session_bodies,
        cloud.refusal,
        cloud.retry_after,
        cloud.date,
        cloud.url,
        http.http_request,
        disk.configuration,
        disk.environment,
        disk.command_row,
        disk.columns,
        disk.page,
        disk.log_file,
        disk.own_files,
        disk.log_line,
    )
}
