from __future__ import annotations

import numpy as np
import pytest
import soundfile

from mmrl.data.golds import check_golds
from mmrl.errors import DataError
from mmrl.judging.panel import Panel
from mmrl.media.writers import write_wav

TASKS = ("audio_order", "audio_reversal", "splice_point")
RATE = 16_000


def heard(row):
    samples, rate = soundfile.read(row.media[0].source)
    assert rate == RATE
    return samples


def pitch_of(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n=65536))
    return np.argmax(spectrum[200:]) + 200


def pieces_of(samples):
    """Split at pauses of more than a quarter of a second."""
    loud = np.flatnonzero(np.abs(samples) > 1e-4)
    cuts = np.flatnonzero(np.diff(loud) > RATE // 4)
    starts, ends = [loud[0], *loud[cuts + 1]], [*loud[cuts], loud[-1]]
    return [samples[start : end + 1] for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_gold_answers_pass_and_those_of_neighbours_do_not(task, level, rows_of, sounds):
    rows = rows_of(task, sounds, difficulty=level, count=2)
    report = check_golds(rows, Panel())
    assert report.errors == ()
    assert (report.judged, report.unopposed) == (24, 0)
    assert {row.difficulty for row in rows} == {level}


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_pieces_in_the_order_of_the_answer_rise_in_pitch(level, rows_of, sounds):
    rows = rows_of("audio_order", sounds, difficulty=level, count=2)
    for row in rows:
        pieces = pieces_of(heard(row))
        assert len(pieces) == len(row.answer) == {0.0: 2, 0.5: 4, 1.0: 6}[level]
        pitches = [pitch_of(pieces[int(digit) - 1]) for digit in row.answer]
        assert pitches == sorted(pitches)
        assert max(map(len, pieces)) - min(map(len, pieces)) < RATE * 0.05
    assert len({row.answer for row in rows}) > 1


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_rising_sound_falls_where_the_answer_is_backwards(level, rows_of, sounds):
    rows = rows_of("audio_reversal", sounds, difficulty=level, count=2)
    for row in rows:
        samples = heard(row)
        third = len(samples) // 3
        rises = pitch_of(samples[-third:]) > pitch_of(samples[:third])
        assert row.answer == ("forwards" if rises else "backwards")
        assert len(samples) == round((6 - 5 * level) * RATE)
    assert {row.answer for row in rows} == {"forwards", "backwards"}


def test_the_pitch_jumps_at_the_second_of_the_answer(rows_of, sounds):
    rows = rows_of("splice_point", sounds, difficulty=0.2, count=2)
    for row in rows:
        samples = heard(row)
        step, width = RATE // 20, RATE // 8
        starts = range(0, len(samples) - width, step)
        high = np.array([pitch_of(samples[at : at + width]) * RATE / 65536 > 1350 for at in starts])
        after = [abs(high[:at].mean() - high[at:].mean()) for at in range(1, len(high))]
        jump = (np.argmax(after) + 1) * step + width / 2
        assert jump / RATE == pytest.approx(float(row.answer), abs=0.25)
    moments = [float(row.answer) for row in rows]
    assert min(moments) < 2.5 < 3.5 < max(moments)


def test_a_hard_splice_is_within_one_recording(rows_of, sounds, tmp_path):
    (tmp_path / "alone.wav").write_bytes((sounds / "sound 1.wav").read_bytes())
    assert len(rows_of("splice_point", tmp_path, difficulty=0.8)) == 1
    with pytest.raises(DataError, match="none of the 0 sounds that follow it can be used"):
        rows_of("splice_point", tmp_path, difficulty=0.2)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(5 * RATE), "silent"),
        (0.3 * np.sin(np.arange(RATE // 8) / 5), "too short|can be used"),
        (0.3 * np.sin(np.arange(8 * RATE) * 2 * np.pi * 500 / RATE), "alike|the same backwards"),
    ],
)
def test_a_sound_in_which_nothing_can_be_told_is_left_out(task, samples, said, tmp_path, rows_of):
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav", np.append(samples, 0.1 if name == "a" else 0.2))
    with pytest.raises(DataError, match=said):
        rows_of(task, tmp_path, difficulty=0.9)
