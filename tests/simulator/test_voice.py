from datetime import timedelta

from bridge.simulator.voice import HISTORY_LENGTH, Voice
from tests.simulator.lab import NOON


def test_a_change_is_told_once():
    """The same value again says nothing."""
    told = []
    voice = Voice("EH000001", told.append, NOON)
    voice.change(109, 1)
    voice.change(109, 1)
    voice.change(109, 3)

    assert [update.reading.value for update in told] == [1, 3]
    assert voice.number(109) == 3
    assert voice.number(120) == 0
    voice.put(120, "7,2")
    assert voice.number(120) == 0
    assert not voice.flag(42)


def test_history_remembers_what_moved_and_no_more():
    """Former values are kept, up to a bound."""
    voice = Voice("EH000001", lambda _: None, NOON)
    for number in range(HISTORY_LENGTH + 10):
        voice.put(120, float(number), NOON + timedelta(seconds=number))

    assert len(voice.history[120]) == HISTORY_LENGTH
    assert voice.history[120][-1].value == HISTORY_LENGTH + 9
    assert 109 not in voice.history
