"""The demo as people run it, and its view."""

import io
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from bridge.demo.board import Board, ChargerRow
from bridge.demo.broker import usable_port
from bridge.demo.view import screen, strip


def test_the_strip_shows_color_and_motion():
    """White flashing is lit and dark in turn; steady stays; an unknown color is empty."""
    flashing = ChargerRow(state={"led_color": "white", "led_pattern": "flashing"})
    steady = ChargerRow(state={"led_color": "blue", "led_pattern": "steady"})

    assert len({str(strip(flashing, frame).style) for frame in range(4)}) == 2
    assert {str(strip(steady, frame).style) for frame in range(4)} == {"bright_blue"}
    assert strip(ChargerRow(), 0).plain != strip(steady, 0).plain


def test_the_screen_shows_chargers_topics_and_what_to_try():
    """Everything the board knows is on one screen."""
    board = Board("charger")
    board.take("charger/bridge/cloud", b"connected")
    board.take("charger/EH000001/availability", b"online")
    board.take("charger/EH000001/state/op_mode", b"charging")
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(screen(board, "mqtt://127.0.0.1:1883", "mosquitto_pub …", 0))
    text = console.export_text()

    for word in ("EH000001", "charging", "connected", "mosquitto_pub", "mqtt://127.0.0.1:1883"):
        assert word in text


def test_a_port_is_found_although_the_usual_one_is_taken(free_port, monkeypatch):
    """A mosquitto that runs already is not in the way."""
    monkeypatch.setattr("bridge.demo.broker.USUAL_PORT", free_port)
    assert usable_port() == free_port

    monkeypatch.setattr("bridge.demo.broker.USUAL_PORT", 1)
    monkeypatch.setattr("bridge.demo.broker.LOOPBACK", "127.0.0.1")
    assert usable_port() > 0


@pytest.mark.acceptance
def test_the_demo_runs_from_nothing_and_ends_by_itself():
    """Broker, cloud and gateway come up, cars charge, and the end is clean."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "demo", "--duration", "8"],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )

    assert done.returncode == 0, done.stderr
    assert re.match(r" +0\.\d\ds +mqtt://127\.0\.0\.1:\d+\n", done.stdout)
    assert "charger/EH000002/state/op_mode charging" in done.stdout
    assert done.stdout.rstrip().endswith("charger/bridge/state offline")
    assert done.stderr == ""
