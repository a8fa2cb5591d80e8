"""What partners are told of their feed."""

from bridge.simulator.partner_login import COMMANDS, QUEUE, feed_login


def test_the_address_is_taken_apart():
    """Host, port, virtual host and credentials of the URL; queue and exchange of the operator."""
    assert feed_login("amqps://u:p%40ss@feed.example:5671/%2F") == {
        "server": "feed.example",
        "port": 5671,
        "useSsl": True,
        "virtualHost": "/",
        "queueName": QUEUE,
        "exchangeName": COMMANDS,
        "username": "u",
        "password": "p@ss",
    }
    assert feed_login("amqp://u:p@127.0.0.1")["port"] == 5672
