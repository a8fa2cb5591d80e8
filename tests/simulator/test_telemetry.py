import random

from bridge.simulator.telemetry import Telemetry


def run(telemetry, rng, seconds, target_a):
    """Measure second by second; return what was sent and the energy."""
    sent, energy_kwh = [], 0.0
    for second in range(seconds):
        energy_kwh += telemetry.draw(target_a, 3, 1.0, rng)
        sent += telemetry.sent(
            float(second), rng, phases=3, session_kwh=energy_kwh, meter_kwh=1000 + energy_kwh
        )
    return sent, energy_kwh


def test_power_ramps_and_wiggles_below_the_limit():
    """Current reaches what is offered within seconds and does not exceed it by more than noise."""
    telemetry, rng = Telemetry(), random.Random(1)
    _, energy_kwh = run(telemetry, rng, 60, 16.0)

    assert 10.8 < telemetry.power_kw < 11.3
    assert 0.13 < energy_kwh < 0.19


def test_energy_and_warmth_grow_while_current_flows():
    """Session energy rises, the charger gets warmer."""
    telemetry, rng = Telemetry(), random.Random(1)
    sent, _ = run(telemetry, rng, 600, 16.0)
    energies = [value for observation_id, value in sent if observation_id == 121]
    warmth = [value for observation_id, value in sent if observation_id == 150]

    assert energies == sorted(energies)
    assert len(energies) > 5
    assert warmth[-1] > warmth[0] + 4


def test_the_end_of_the_current_is_told_once():
    """Zeros follow when current stops, and only then."""
    telemetry, rng = Telemetry(), random.Random(1)
    run(telemetry, rng, 60, 16.0)

    assert dict(telemetry.ended())[120] == 0
    assert list(telemetry.ended()) == []


def test_an_idle_charger_speaks_every_quarter_of_an_hour():
    """Without a car there is a sign of life every 900 s, and nothing about power."""
    telemetry, rng = Telemetry(), random.Random(1)
    sent, _ = run(telemetry, rng, 3600, 0.0)
    ids = [observation_id for observation_id, _ in sent]

    assert ids.count(194) == 4
    assert 120 not in ids
