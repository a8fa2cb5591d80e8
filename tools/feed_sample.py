"""Records messages of a partner's queue for the tests, without personal data.

``python -m tools.feed_sample URL_FILE QUEUE [COUNT] > tests/data/partner_feed/NAME.jsonl``

URL_FILE holds ``amqps://user:password@host:5671/vhost``. The messages are put back into the queue
in their order; stop the gateway meanwhile. Each line has the routing key and the body:

1. Serials become ``EH000001``, ``EH000002`` … in the order in which they come.
2. Texts become ``x``, but for times, truth values and short numbers; JSON in a text is looked into.
3. Values of observations that are known to be personal become ``x`` whatever they are.

``tests/core/easee/test_partner_feed.py`` has every such file read.
"""

import json
import re
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika

from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.partner_feed import read_key

COUNT = 200
HIDDEN = "x"
SERIAL = re.compile(r"\b[A-Z]{2}[A-Z0-9]{0,4}[0-9]{6}\b")
TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:?\d\d)?")
SHORT = re.compile(r"-?\d{1,6}(?:\.\d{1,9})?|true|false", re.IGNORECASE)
PERSONAL = {spec.id for spec in (*REGISTRY.values(), *EQUALIZER.values()) if spec.personal}
KEPT_TEXTS = {"mid", "serialnumber", "deviceid", "chargerid"}


class Redaction:
    """Replaces what is personal; one serial is the same stand-in everywhere."""

    def __init__(self) -> None:
        self._serials: dict[str, str] = {}

    def line(self, routing_key: str, body: bytes) -> str:
        """Return the line of one message."""
        number = read_key(routing_key).number
        text = body.decode("utf-8", "replace")
        try:
            document = json.loads(text)
        except ValueError:
            shown = f"{len(body)} bytes that are not JSON"
        else:
            is_personal = number in PERSONAL
            shown = json.dumps(self._walked(document, is_personal), separators=(",", ":"))
        return json.dumps({"key": self._named(routing_key), "body": shown})

    def _named(self, text: str) -> str:
        def stand_in(found: re.Match[str]) -> str:
            return self._serials.setdefault(found[0], f"EH{len(self._serials) + 1:06}")

        return SERIAL.sub(stand_in, text)

    def _walked(self, value: object, is_personal: bool) -> object:
        if isinstance(value, dict):
            by_name = {name.lower(): each for name, each in value.items()}
            number = by_name.get("id", by_name.get("observationid"))
            is_personal = is_personal or number in PERSONAL
            return {
                name: self._field(name.lower(), each, is_personal) for name, each in value.items()
            }
        if isinstance(value, list):
            return [self._walked(each, is_personal) for each in value]
        return self._text(value) if isinstance(value, str) else value

    def _field(self, name: str, value: object, is_personal: bool) -> object:
        if is_personal and name == "value":
            return HIDDEN
        if name in KEPT_TEXTS and isinstance(value, str):
            return self._named(value)
        return self._walked(value, is_personal)

    def _text(self, text: str) -> str:
        if text[:1] in "[{" and text:
            try:
                return json.dumps(self._walked(json.loads(text), is_personal=False))
            except ValueError:
                return HIDDEN
        if not text or TIME.fullmatch(text) or SHORT.fullmatch(text):
            return text
        return HIDDEN


def lines(channel: Any, queue: str, count: int) -> Iterator[str]:
    """Yield the line of each message, and put all of them back at the end."""
    redaction, last = Redaction(), 0
    try:
        for _ in range(count):
            method, _properties, body = channel.basic_get(queue)
            if method is None:
                return
            last = method.delivery_tag
            yield redaction.line(method.routing_key, body)
    finally:
        if last:
            channel.basic_nack(last, multiple=True, requeue=True)


def main(arguments: list[str], write: Callable[[str], object] = sys.stdout.write) -> None:
    """Record what a queue holds."""
    url_file, queue, *rest = arguments
    parameters = pika.URLParameters(Path(url_file).read_text().strip())
    if parameters.ssl_options is not None:
        parameters.ssl_options = pika.SSLOptions(ssl.create_default_context(), parameters.host)
    connection = pika.BlockingConnection(parameters)
    for line in lines(connection.channel(), queue, int(rest[0]) if rest else COUNT):
        write(f"{line}\n")
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1:])
