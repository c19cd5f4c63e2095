"""Confidence falls with each sign of a wrong face; cuts change the edges of a frame."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.tracking.confidence import Check, FrameSimilarity, frame_confidence

GOOD = Check(0.95, 1.5, 0.5)


def test_a_face_followed_rightly_is_trusted():
    assert frame_confidence(GOOD, 3.3, 0.98) > 0.9


@pytest.mark.parametrize(
    ("check", "stated", "likeness"),
    [
        (Check(0.5, 1.5, 0.5), 3.3, 1.0),
        (Check(0.95, 9.0, 0.5), 3.3, 1.0),
        (Check(0.95, 1.5, 1.8), 3.3, 1.0),
        (GOOD, 7.0, 1.0),
        (GOOD, 3.3, 0.4),
        (GOOD, float("nan"), 1.0),
    ],
)
def test_each_sign_alone_lowers_it(check, stated, likeness):
    assert frame_confidence(check, stated, likeness) < 0.6


def test_it_falls_steadily_with_the_stated_error():
    values = [frame_confidence(GOOD, mm, 1.0) for mm in np.linspace(2, 9, 40)]
    assert (np.diff(values) <= 0).all()
    assert values[-1] > 0


def test_similarity_of_frames():
    rng = np.random.default_rng(0)
    one, two = (
        np.kron(rng.integers(0, 256, (9, 12, 1)), np.ones((40, 40, 3))).astype(np.uint8) for _ in "ab"
    )
    similar = FrameSimilarity()
    assert similar(one) == 1.0
    assert similar(one) == pytest.approx(1.0)
    assert similar(one // 2) > 0.99  # darker
    assert similar(np.roll(one, 2, axis=1)) > 0.84  # a small motion
    assert similar(two) < 0.5
    assert similar(np.zeros_like(one)) == 1.0  # nothing to compare
