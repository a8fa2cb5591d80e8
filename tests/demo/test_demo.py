"""The demonstration as people run it: in a terminal, in a pipe, and from a second terminal."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from bridge.demo import run as demo_run
from bridge.demo.broker import LOOPBACK, usable_port
from bridge.demo.run import try_these
from tests.conftest import PATIENCE_S, unused_port
from tests.mosquitto import Mosquitto
from tests.terminal import Terminal


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


# -- in a terminal -------------------------------------------------------------------------------

ALTERNATE, BACK = "\x1b[?1049h", "\x1b[?1049l"
CURSOR_OFF, CURSOR_ON = "\x1b[?25l", "\x1b[?25h"
NEXT = "The demonstration has ended. For your own charger: charger-bridge setup"


def demonstration(*words: str, **size: int) -> Terminal:
    """Run it in a terminal."""
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    return Terminal("demo", *words, environ=environ, **size)


def publish(terminal: Terminal, command: str) -> None:
    """Copy a line into a second terminal."""
    subprocess.run(command, shell=True, check=True, timeout=PATIENCE_S, env=os.environ)


@pytest.mark.acceptance
@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="needs mosquitto-clients")
def test_the_lines_to_copy_work_and_their_answers_are_seen():
    """Each of the three, copied into a shell, is confirmed in the table; the end is clean."""
    with demonstration() as terminal:
        terminal.expect("EH000002  ")
        terminal.expect(" charging ")
        shown = terminal.shown
        lines = re.findall(r"mosquitto_pub [^\n]*?EH\d+/set/\S+ -m \S+", shown)[-3:]
        assert [line.split("/set/")[1] for line in lines] == [
            "pause -m PRESS",
            "resume -m PRESS",
            "dynamic_charger_current -m 10",
        ]
        for line in lines:
            name = line.split("/set/")[1].split(" ")[0]
            publish(terminal, line)
            terminal.expect_row(name, "confirmed")
        terminal.type("\x03")
        assert terminal.wait() == 0

    assert terminal.written.startswith(CURSOR_OFF) or ALTERNATE in terminal.written[:40]
    assert terminal.written.count(ALTERNATE) == terminal.written.count(BACK) == 1
    assert terminal.written.rindex(CURSOR_ON) > terminal.written.rindex(CURSOR_OFF)
    assert terminal.written.partition(BACK)[2].replace(CURSOR_ON, "").strip() == NEXT


@pytest.mark.acceptance
def test_another_size_is_drawn_anew():
    """After each change of the window every line fits it, and the screen was cleared first."""
    with demonstration(columns=120, rows=30) as terminal:
        terminal.expect("limit A")
        for columns, rows in ((60, 20), (100, 24), (80, 24)):
            terminal.resize(columns, rows)
            terminal.expect_written("\x1b[2J")
            terminal.expect("charger ")
            terminal.expect("command ")
            frame = terminal.frames()[-1]
            assert max(map(len, frame)) <= columns
            assert len(frame) <= rows
        terminal.type("\x03")
        assert terminal.wait() == 0


@pytest.mark.acceptance
def test_a_closed_pipe_ends_it_in_silence():
    """`demo | head -3` shows three lines and nothing else."""
    done = subprocess.run(
        f"{sys.executable} -m bridge demo --duration 30 | head -3",
        shell=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )

    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3
    assert "mqtt://" in done.stdout
    assert "pause -m PRESS" in done.stdout


@pytest.mark.broker
def test_a_broker_of_ones_own_that_refuses_is_told_in_a_line(tmp_path):
    """Nothing is shown of a demonstration that cannot be; 75, in words, as everywhere."""
    port = unused_port()
    for name in ("passwords", "acl"):
        (tmp_path / name).write_text("")
    guarded = Mosquitto(tmp_path, port, anonymous=False)
    guarded.start()
    try:
        refused = demo_with(port)
    finally:
        guarded.stop()
    away = demo_with(port)

    for done, words in ((refused, "refused the connection"), (away, "nothing listens at")):
        assert (done.returncode, done.stdout) == (os.EX_TEMPFAIL, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert "Errno" not in done.stderr


def demo_with(port: int) -> subprocess.CompletedProcess[str]:
    """Run the demonstration with a broker on this machine."""
    return subprocess.run(
        [sys.executable, "-m", "bridge", "demo", "--mqtt", f"127.0.0.1:{port}", "--duration", "9"],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


# -- lines to copy -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port", "start"),
    [
        (LOOPBACK, 1883, "mosquitto_pub -t charger/EH000002/set/pause"),
        (LOOPBACK, 40001, "mosquitto_pub -p 40001 -t "),
        ("pi.lan", 1883, "mosquitto_pub -h pi.lan -p 1883 -t "),
    ],
)
def test_a_line_to_copy_names_no_more_than_it_needs(monkeypatch, host, port, start):
    """On this machine and the usual port neither host nor port is needed."""
    monkeypatch.setattr(demo_run.shutil, "which", lambda _: "/usr/bin/mosquitto_pub")
    lines = try_these(host, port, "charger/EH000002/set")

    assert len(lines) == 3
    assert all(line.startswith(start.removesuffix("pause")) for line in lines)
    assert max(map(len, lines)) <= 80 or host != LOOPBACK


def test_without_mosquittos_clients_the_demonstrations_own_is_named(monkeypatch):
    """The broker's package brings a publisher; it is beside this Python."""
    monkeypatch.setattr(demo_run.shutil, "which", lambda _: None)

    for line in try_these(LOOPBACK, 1883, "charger/EH000002/set"):
        assert line.split()[0].endswith("/amqtt_pub")
