"""Phases of a step add up; what lies between two steps belongs to neither."""

from rft.telemetry.clock import Clock


def test_a_clock_adds_up_phases_and_starts_anew():
    clock = Clock()
    for _ in range(2):
        with clock.phase("rollout"):
            pass
    assert 0 <= clock.times()["time/rollout_s"] <= clock.elapsed()
    clock.restart()
    assert clock.times() == {}
