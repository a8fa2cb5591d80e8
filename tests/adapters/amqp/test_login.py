"""Where the partner feed is."""

import json

import pytest

from bridge.adapters.amqp.exchange import Confirmed
from bridge.adapters.amqp.login import configured_login, feed_login
from bridge.core.easee.partner_feed import FeedLogin
from bridge.errors import DecodeError
from bridge.settings import AmqpSettings, Secret

URL = "amqps://operator:p%40ss@feed.example/%2F"


class Cloud:
    """A cloud that answers with a body."""

    def __init__(self, body):
        self.body, self.asked = body, []

    async def send(self, request, *, within_s):
        self.asked.append((request.path, within_s))
        return Confirmed(200, self.body)


@pytest.mark.anyio
async def test_the_cloud_is_asked_where_nothing_is_configured():
    """Its answer names queue and exchange; one that is none is refused."""
    told = {"server": "h", "username": "u", "password": "p", "queueName": "A.Q", "useSsl": False}
    cloud = Cloud(json.dumps(told | {"exchangeName": "X", "port": 1}).encode())
    login = await feed_login(AmqpSettings(), cloud)

    assert login == FeedLogin("h", 1, False, "/", "u", "p", "A.Q", "X")
    assert [path for path, _ in cloud.asked] == ["/api/streams/amqp/v2"]
    with pytest.raises(DecodeError):
        await feed_login(AmqpSettings(), Cloud(b"[]"))


@pytest.mark.anyio
async def test_the_cloud_is_not_asked_for_what_is_configured():
    """Address and queue of the configuration count."""
    login = await feed_login(AmqpSettings(Secret(URL), "A.Q"), None)

    assert (login.host, login.queue, login.exchange) == ("feed.example", "A.Q", "A.C.X")


@pytest.mark.parametrize(
    ("url", "login"),
    [
        (URL, FeedLogin("feed.example", 5671, True, "/", "operator", "p@ss", "A.Q", "A.C.X")),
        (
            "amqp://u:p@127.0.0.1:5673/easee",
            FeedLogin("127.0.0.1", 5673, False, "easee", "u", "p", "A.Q", "A.C.X"),
        ),
        (
            "amqp://u:p@localhost",
            FeedLogin("localhost", 5672, False, "/", "u", "p", "A.Q", "A.C.X"),
        ),
    ],
)
def test_a_configured_address_is_read(url, login):
    """User, password and virtual host are decoded; ports have their defaults."""
    assert configured_login(url, "A.Q") == login
