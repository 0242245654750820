"""No phase of a training process is silent for long, and none floods its parent."""

from __future__ import annotations

from paris_p2p.training.phases import BEAT, TOLD_EVERY, Voice

Told = list[tuple[str, int, int | None]]


def voice(told: Told, now: list[float]) -> Voice:
    return Voice(lambda *phase: told.append(phase), lambda: now[0])


def test_a_new_phase_is_told_at_once_and_an_old_one_now_and_then() -> None:
    told, now = Told(), [0.0]
    speaker = voice(told, now)
    for done in range(10):
        now[0] += TOLD_EVERY / 4
        speaker.tell("encoding", done, 10)
    speaker.tell("saving", 0, None)
    assert [done for phase, done, _ in told if phase == "encoding"] == [0, 4, 8]
    assert told[-1] == ("saving", 0, None)


def test_a_silent_phase_is_repeated_and_steps_are_no_silence() -> None:
    told, now = Told(), [0.0]
    speaker = voice(told, now)
    for _ in range(3):
        now[0] += BEAT
        speaker.beat()
    assert told == [("loading", 0, None)] * 3
    speaker.stepped()
    now[0] += BEAT / 2
    speaker.beat()
    assert len(told) == 3
    now[0] += BEAT
    speaker.beat()
    assert told[-1] == ("training", 0, None)
