"""Preview sheets: every panel shows whole, under its caption."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.rendering.preview import preview_sheet


def panel(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_panels_side_by_side_at_one_height() -> None:
    sheet = preview_sheet([("one", panel(60, 40, 10)), ("two", panel(30, 50, 20))], gap=5)
    assert sheet.dtype == np.uint8
    assert (sheet == 10).all(axis=2).sum() == 60 * 40
    assert (sheet == 20).all(axis=2).sum() == 60 * 100
    assert sheet.shape[1] == 5 + 40 + 5 + 100 + 5


def test_captions_are_written_above() -> None:
    sheet = preview_sheet([("photo", panel(200, 200, 0))])
    written = (sheet < 200).all(axis=2)
    caption = written[: sheet.shape[0] - 200 - 8]
    assert caption.any()
    assert not preview_sheet([("", panel(200, 200, 0))])[:10].min() < 200


def test_long_captions_stay_in_their_panel() -> None:
    sheet = preview_sheet([("a very long caption " * 9, panel(80, 60, 250)), ("", panel(80, 60, 250))], gap=6)
    assert (sheet[:, 6 + 60 + 3 :] == 250).all()


def test_rows() -> None:
    panels = [(str(k), panel(20, 20, k)) for k in range(5)]
    one, two = preview_sheet(panels), preview_sheet(panels, columns=3)
    assert two.shape[0] > 1.8 * (one.shape[0] - 16)
    assert two.shape[1] < one.shape[1]
    for k in range(5):
        assert (two == k).all(axis=2).sum() == 400


def test_height_is_at_most_asked() -> None:
    assert (preview_sheet([("", panel(3000, 10, 7))]) == 7).all(axis=2).any(axis=1).sum() == 1024
    assert (preview_sheet([("", panel(30, 10, 7))], height=90) == 7).all(axis=2).sum() == 90 * 30


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="panel"):
        preview_sheet([])
    with pytest.raises(ValueError, match="grey"):
        preview_sheet([("grey", np.zeros((4, 4), np.uint8))])
