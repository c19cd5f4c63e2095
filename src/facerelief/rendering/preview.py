"""Sheets of images side by side with captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facerelief.typed import Image

_PAPER = 250
_INK = (60, 60, 64)


def preview_sheet(
    panels: Sequence[tuple[str, Image]],
    *,
    height: int | None = None,
    columns: int | None = None,
    gap: int = 8,
) -> Image:
    """Images side by side, each under its caption.

    Args:
        panels: Caption, in ASCII, and image (h, w, 3) RGB; captions are shortened to fit.
        height: Height to which all panels are scaled, px; that of the tallest, at most 1024, unless given.
        columns: Panels in a row; all unless given.
        gap: Distance between panels, px.

    Returns:
        (H, W, 3) RGB.

    Raises:
        ValueError: There are no panels, or an image has another shape.
    """
    if not panels:
        raise ValueError("a preview sheet needs at least one panel")
    for label, image in panels:
        if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"panel {label!r} has shape {image.shape}, expected (h, w, 3)")
    tall = height or min(max(image.shape[0] for _, image in panels), 1024)
    cells = [_cell(label, image, tall) for label, image in panels]
    per_row = columns or len(cells)
    rows = [cells[k : k + per_row] for k in range(0, len(cells), per_row)]
    row_height = cells[0].shape[0]
    width = max(sum(cell.shape[1] for cell in row) + gap * (len(row) + 1) for row in rows)
    sheet = np.full((row_height * len(rows) + gap * (len(rows) + 1), width, 3), _PAPER, np.uint8)
    for r, row in enumerate(rows):
        top, left = gap + r * (row_height + gap), gap
        for cell in row:
            sheet[top : top + row_height, left : left + cell.shape[1]] = cell
            left += cell.shape[1] + gap
    return sheet


def _cell(label: str, image: Image, height: int) -> Image:
    """The image scaled to `height`, a caption line above it."""
    import cv2

    factor = height / image.shape[0]
    size = (max(round(image.shape[1] * factor), 1), height)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    scaled = np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=method), np.uint8)
    text_size = max(height / 700.0, 0.35)
    line = round(34 * text_size) + 6
    caption = np.full((line, size[0], 3), _PAPER, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX

    def fits(text: str) -> bool:
        return cv2.getTextSize(text, font, text_size, 1)[0][0] <= size[0]

    text = label
    while text and not fits(text):
        text = text[:-1]
    cv2.putText(caption, text, (0, line - 8), font, text_size, _INK, 1, cv2.LINE_AA)
    return np.concatenate([caption, scaled])
