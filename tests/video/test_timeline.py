"""Numbers and times: what is whole stays as it is, what is broken still rises."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facerelief.video.timeline import Clock, Numbering, Spans


def test_spans_name_runs():
    spans = Spans()
    for number in (3, 40, 41, 42):
        spans.add(number)
    assert str(spans) == "4 frames (numbers 3, 40 to 42)"
    assert spans.count == 4


def test_spans_of_one():
    spans = Spans()
    spans.add(7)
    assert str(spans) == "1 frame (number 7)"


def test_many_runs_stay_one_short_line():
    spans = Spans()
    for number in range(0, 2000, 2):
        spans.add(number)
    assert str(spans) == "1000 frames (numbers 0, 2, 4, 6, 8, 10 and more)"


def numbers(fed: list[tuple[int | None, int | None]], came: list[int | None]) -> tuple[list[int], Numbering]:
    numbering = Numbering()
    for stamp, coded in fed:
        numbering.packet(stamp, coded)
    got = [numbering.frame(stamp) for stamp in came]
    numbering.end()
    return got, numbering


def test_frames_that_do_not_come_keep_their_numbers():
    coding_order = [(0, 0), (30, 1), (10, 2), (20, 3), (60, 4), (40, 5), (50, 6)]
    got, numbering = numbers(coding_order, [0, 10, 40, 50])
    assert got == [0, 1, 4, 5]
    assert str(numbering.lost) == "3 frames (numbers 2 to 3, 6)"
    assert numbering.next == 7


def test_an_appended_recording_goes_on_counting():
    got, numbering = numbers([(0, 0), (10, 1), (20, 2), (0, 0), (10, 1)], [0, 10, 0, 10])
    assert got == [0, 1, 3, 4]
    assert str(numbering.lost) == "1 frame (number 2)"


def test_without_stamps_refused_packets_are_lost_frames():
    numbering = Numbering()
    got = []
    for broken in (False, False, True, False):
        numbering.packet(None, None)
        if broken:
            numbering.refused()
        else:
            got.append(numbering.frame(None))
    numbering.end()
    assert got == [0, 1, 3]
    assert str(numbering.lost) == "1 frame (number 2)"


def test_sound_times_are_kept():
    clock = Clock(0.04)
    given_times = [5.0, 5.04, 5.1, 9.0, 9.01]
    got = [clock.at(t, i) for i, t in enumerate(given_times)]
    assert got == pytest.approx([t - 5.0 for t in given_times], abs=1e-12)
    assert clock.repaired.count == 0


def test_one_slip_moves_nothing_else():
    clock = Clock(0.1)
    got = [clock.at(t, i) for i, t in enumerate([0.0, 1.0, 0.5, 3.0, None, 4.0])]
    assert got == pytest.approx([0.0, 1.0, 1.1, 3.0, 3.1, 4.0])
    assert str(clock.repaired) == "2 frames (numbers 2, 4)"


def test_time_goes_on_after_a_restart():
    clock = Clock(0.1)
    got = [clock.at(t, i) for i, t in enumerate([0.0, 1.0, 2.0, 0.0, 1.0, 2.0])]
    assert got == pytest.approx([0.0, 1.0, 2.0, 2.1, 3.1, 4.1])
    assert str(clock.repaired) == "1 frame (number 3)"


@given(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_times_always_rise_from_zero(stamps):
    clock = Clock(0.04)
    got = [clock.at(t, i) for i, t in enumerate(stamps)]
    assert got[0] == 0.0
    assert all(a < b for a, b in pairwise(got))


@given(st.data())
def test_numbers_are_ranks_whatever_is_lost(data):
    """Frames shown in order, any of them lost: each has its place in the whole."""
    stamps = sorted(data.draw(st.sets(st.integers(-1000, 1000), min_size=1, max_size=30)))
    kept = [s for s in stamps if data.draw(st.booleans())]
    fed = data.draw(st.permutations(stamps))
    got, numbering = numbers([(s, i) for i, s in enumerate(fed)], list(kept))
    assert got == [stamps.index(s) for s in kept]
    assert numbering.lost.count == len(stamps) - len(kept)
    assert numbering.next == len(stamps)
