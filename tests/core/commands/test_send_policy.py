import itertools
from datetime import timedelta

import pytest

from bridge.core.commands.active_commands import Command
from bridge.core.commands.send_policy import (
    BURST,
    DAY_S,
    FLASH_SPACING_S,
    OTHERS_TIMES,
    PACE_S,
    RESUME_EFFECT_DELAY_S,
    Defer,
    NoChange,
    Refuse,
    SendPolicy,
)
from bridge.core.commands.shown_state import ShownState
from bridge.core.commands.validation import CommandRequest
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.decode import Observation, spec_of
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON
from tests.core.commands.bench import Bench, answers, calls_of

ID, OTHER = "EH123456", "EH999999"


def _at(seconds):
    return Timestamp(NOON + timedelta(seconds=seconds), 1000.0 + seconds)


def _command(name="dynamic_charger_current", value=16, charger_id=ID):
    spec = CATALOGUE[name]
    request = CommandRequest(charger_id, spec, spec.read(value, 32), None, None, 60.0)
    command = Command(request, _at(0), 1060.0, [])
    command.devices = frozenset({charger_id})
    return command


@pytest.fixture
def policy():
    """Nothing was sent yet; two writes of flash memory a day are allowed."""
    shown = ShownState()
    shown.stream(_at(-10), is_up=True)
    return SendPolicy(shown, 2)


def _see(policy, number, value, seconds=0.0):
    return policy.observed(Observation(ID, spec_of(number), value, _at(seconds).wall), _at(seconds))


def test_limits_are_paced_unless_they_lower(policy):
    """A few raises go at once, a stream of them does not, a cut always; chargers are apart."""
    for number in range(BURST):
        assert policy.evaluate(_command(value=16 + number), _at(0)) is None
        policy.sent(_command(value=16 + number), _at(0))

    assert policy.evaluate(_command(value=20), _at(1)) == Defer(1000.0 + BURST * PACE_S)
    assert policy.evaluate(_command(value=10), _at(1)) is None
    assert policy.evaluate(_command(value=20, charger_id=OTHER), _at(1)) is None
    assert policy.evaluate(_command(value=20), _at(BURST * PACE_S)) is None


def test_a_stream_of_limits_is_slowed_down(policy):
    """Whatever is asked for, no more than one limit in two seconds leaves in the long run."""
    sent = []
    for tenth in range(600):
        now = _at(tenth / 10)
        command = _command(value=6 + tenth % 7 + tenth // 60)
        if policy.evaluate(command, now) is None:
            sent.append(command.argument.amps)
            policy.sent(command, now)
    raises = sum(1 for a, b in itertools.pairwise(sent) if b >= a)

    assert raises <= 60 / PACE_S + BURST


def test_what_is_there_already_is_skipped(policy):
    """A limit the charger shows is not sent; an action always is."""
    _see(policy, 48, 16)

    assert policy.evaluate(_command(value=16), _at(1)) == NoChange()
    assert policy.evaluate(_command("pause", "PRESS"), _at(1)) is None


def test_a_limit_behind_a_resume_waits_for_its_effect(policy):
    """Until the dynamic current moved, or five seconds after the cloud's answer."""
    resume = _command("resume", "PRESS")
    policy.sent(resume, _at(0))
    assert policy.evaluate(_command(), _at(1)) is None  # the queue waits for the answer anyway
    policy.answered(resume, _at(1))
    assert policy.evaluate(_command(), _at(2)) == Defer(1001.0 + RESUME_EFFECT_DELAY_S)
    assert policy.evaluate(_command("stop", "PRESS"), _at(2)) is None
    assert policy.evaluate(_command("dynamic_circuit_current", 10), _at(2)) is None
    assert policy.evaluate(_command(), _at(1 + RESUME_EFFECT_DELAY_S)) is None


def test_a_limit_behind_a_resume_goes_when_the_effect_is_seen(policy):
    """The current that moved up is the effect; one that moved to 0 is not."""
    _see(policy, 48, 16)
    resume = _command("resume", "PRESS")
    policy.sent(resume, _at(1))
    policy.answered(resume, _at(1))
    _see(policy, 48, 0, 2)
    assert isinstance(policy.evaluate(_command(), _at(2)), Defer)
    _see(policy, 48, 32, 3)
    assert policy.evaluate(_command(), _at(3)) is None


def test_a_resume_that_came_to_nothing_holds_nobody(policy):
    """What was not carried out has no effect to wait for."""
    resume = _command("resume", "PRESS")
    policy.sent(resume, _at(0))
    policy.undo(resume)

    assert policy.evaluate(_command(), _at(1)) is None


def test_flash_memory_is_written_so_many_times_a_day(policy):
    """The third limit of a day is refused, until the first is a day old; chargers are apart."""
    policy.count_flash_write(ID, "max_circuit_current", 1000.0)
    policy.count_flash_write(ID, "offline_max_circuit_current", 1001.0)
    refused = policy.evaluate(_command("max_charger_current", 20), _at(3600))

    assert refused == Refuse(
        "flash_budget", "2 a day, by commands.flash_writes_per_day: again in 23.0 h"
    )
    assert policy.evaluate(_command("max_charger_current", 20, OTHER), _at(3600)) is None
    assert policy.evaluate(_command("enabled", True), _at(3600)) is None
    assert policy.evaluate(_command("max_charger_current", 20), _at(DAY_S)) is None


def test_other_settings_may_be_written_ten_times_as_often(policy):
    """What people switch by hand is bounded too, but not in their way."""
    for number in range(2 * OTHERS_TIMES):
        assert policy.evaluate(_command("enabled", number % 2 == 0), _at(number)) is None
        policy.sent(_command("enabled", number % 2 == 0), _at(number))

    assert policy.evaluate(_command("enabled", True), _at(60)).reason == "flash_budget"
    assert policy.evaluate(_command("max_charger_current", 20), _at(60)) is None


def test_a_limit_is_not_written_twice_in_a_minute(policy):
    """The same limit waits a minute, and says so at once; another setting does not."""
    policy.sent(_command("max_charger_current", 20), _at(0))

    assert policy.evaluate(_command("max_charger_current", 16), _at(30)) == Refuse(
        "flash_budget", "it was written just now: again in 30 s"
    )
    assert policy.evaluate(_command("smart_button_enabled", False), _at(30)) is None
    assert policy.evaluate(_command("max_charger_current", 16), _at(FLASH_SPACING_S)) is None


def test_a_write_that_the_cloud_refused_is_not_counted(policy):
    """What was not carried out wore nothing."""
    for number in range(5):
        policy.sent(_command("enabled", True), _at(number))
        policy.undo(_command("enabled", True))

    assert policy.evaluate(_command("enabled", True), _at(6)) is None


def test_no_writes_may_be_allowed_at_all():
    """A daily number of 0 refuses every flash-writing setting."""
    policy = SendPolicy(ShownState(), 0)

    assert policy.evaluate(_command("enabled", True), _at(0)) == Refuse(
        "flash_budget", "0 a day, by commands.flash_writes_per_day"
    )


def test_equal_settings_wear_nothing(policy):
    """A setting that is there already is skipped before any budget is looked at."""
    _see(policy, 31, True)
    policy.count_flash_write(ID, "enabled", 1000.0)

    assert policy.evaluate(_command("enabled", True), _at(1)) == NoChange()


def test_a_charger_that_left_takes_everything_with_it(policy):
    """Nothing that it was sent or wrote counts when it comes back; another one's still does."""
    for charger_id in (ID, OTHER):
        for number in range(BURST):
            policy.sent(_command(value=16 + number, charger_id=charger_id), _at(0))
            policy.count_flash_write(charger_id, "max_circuit_current", 1000.0 + number)
    policy.forget(ID)

    assert policy.evaluate(_command(value=20), _at(1)) is None
    assert isinstance(policy.evaluate(_command(value=20, charger_id=OTHER), _at(1)), Defer)
    assert policy.evaluate(_command("max_charger_current", 20), _at(60)) is None
    assert isinstance(policy.evaluate(_command("max_charger_current", 20, OTHER), _at(60)), Refuse)

    for charger_id in (ID, OTHER):
        resume = _command("resume", "PRESS", charger_id)
        policy.sent(resume, _at(100))
        policy.answered(resume, _at(100))
    policy.forget(ID)
    assert policy.evaluate(_command(), _at(101)) is None
    assert isinstance(policy.evaluate(_command(charger_id=OTHER), _at(101)), Defer)


def test_what_a_charger_that_left_showed_skips_nothing(policy):
    """A limit it showed before it left is sent again; one that was never heard of is no error."""
    _see(policy, 48, 16)
    policy.forget("EH000000")
    assert policy.evaluate(_command(value=16), _at(1)) == NoChange()
    policy.forget(ID)

    assert policy.evaluate(_command(value=16), _at(1)) is None


def test_a_command_that_wears_nothing_gives_no_write_back(policy):
    """A limit that came to nothing does not pay for a setting that was written."""
    for number in range(2):
        policy.sent(_command("max_charger_current", 20), _at(100 * number))
    policy.undo(_command())

    assert isinstance(policy.evaluate(_command("max_charger_current", 16), _at(300)), Refuse)


def test_the_pace_counts_from_the_first_of_the_last_three(policy):
    """Not from the newest: a person who tries values is not made to wait for each."""
    for second in range(BURST):
        policy.sent(_command(value=10 + second), _at(second))

    assert policy.evaluate(_command(value=20), _at(3)) == Defer(1000.0 + BURST * PACE_S)


def test_what_a_schedule_holds_is_not_resumed():
    """A charger that waits for a schedule is not paused: the answer says what works."""
    bench = Bench()
    bench.observe(96, 54)
    for command, payload in (("resume", b"PRESS"), ("charging_allowed", b"true")):
        effects = bench.send(command, payload)
        assert not calls_of(effects)
        assert answers(effects)[-1]["reason"] == "controlled_by_schedule"
        assert "override_schedule" in answers(effects)[-1]["detail"]
    assert calls_of(bench.send("pause", b"PRESS"))


def test_a_charger_that_waits_for_something_else_is_resumed():
    """A pause is lifted, whatever schedules there are."""
    bench = Bench()
    bench.observe(96, 52)

    assert calls_of(bench.send("resume", b"PRESS"))
