"""Which changes take effect at once."""

from dataclasses import replace

from bridge.config.keys import KEYS, SECTIONS
from bridge.config.reload import RELOADABLE, Change, change
from bridge.settings import CommandSettings, EaseeSettings, LogSettings, MqttSettings, Secret
from bridge.settings import Settings as All

NAMES = (("EH654321", "Garage"),)
RUNNING = All(EaseeSettings("someone@example.com", Secret("first")))


def test_nothing_changed():
    """The same file again changes nothing and waits for nothing."""
    assert change(RUNNING, RUNNING) == Change(RUNNING, (), ())


def test_what_can_be_taken_is_taken_and_the_rest_waits():
    """Chargers, names, commands and the log level are taken; a broker's address waits."""
    wanted = replace(
        RUNNING,
        commands=CommandSettings(allow=()),
        log=LogSettings(level="debug"),
        mqtt=MqttSettings(host="elsewhere"),
        easee=EaseeSettings("someone@example.com", Secret("second"), ("EH654321",), names=NAMES),
    )
    found = change(RUNNING, wanted)
    easee = replace(RUNNING.easee, chargers=("EH654321",), names=NAMES)
    assert found.settings == replace(RUNNING, commands=wanted.commands, log=wanted.log, easee=easee)
    assert found.taken == (
        *("easee.chargers", "easee.names"),
        *("commands.allow", "log.level"),
    )
    assert found.waiting == ("easee.password", "mqtt.host")


def test_every_reloadable_section_exists():
    """The table names sections that are there, and each has keys."""
    assert set(RELOADABLE) <= set(SECTIONS)
    assert set(RELOADABLE) <= {key.path.split(".")[0] for key in KEYS}
