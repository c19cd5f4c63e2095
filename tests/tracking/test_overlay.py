"""The overlay shows the photo where there is no face, and clay just where the face is."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facerelief.geometry.patch import DepthPatch
from facerelief.tracking.frame import TrackedFrame
from facerelief.tracking.overlay import overlay_frame, overlay_size

LABEL = 0.85
"""Labels stand below this share of the height."""


@pytest.fixture(scope="module")
def frame(toy_reconstruction) -> TrackedFrame:
    """The toy head in a frame of 360 x 480 px."""
    return enlarged(TrackedFrame(0, 0.0, toy_reconstruction.image, "tracked", toy_reconstruction), 3)


def enlarged(frame: TrackedFrame, times: int) -> TrackedFrame:
    face = frame.face
    assert face is not None

    def grown(patch: DepthPatch | None) -> DepthPatch | None:
        if patch is None:
            return None
        depth = np.kron(patch.depth, np.ones((times, times), np.float32))
        return DepthPatch(depth, patch.left * times, patch.top * times)

    image = np.kron(face.image, np.ones((times, times, 1), np.uint8))
    camera = replace(face.camera.in_crop(0, 0, times))
    coarse = grown(face.coarse)
    assert coarse is not None
    face = replace(face, image=image, camera=camera, coarse=coarse, fine=grown(face.fine))
    return replace(frame, image=image, face=face)


def panels(sheet: np.ndarray, count: int = 3) -> list[np.ndarray]:
    """The panels without their labels."""
    return np.split(sheet[: int(LABEL * len(sheet))].astype(int), count, axis=1)


@pytest.mark.parametrize(
    ("size", "panel"),
    [
        ((512, 512), (512, 512)),
        ((1920, 1080), (640, 360)),
        ((176, 144), (320, 262)),
        ((333, 401), (332, 400)),
    ],
)
def test_sizes(size, panel):
    assert overlay_size(*size) == (3 * panel[0], panel[1])
    assert overlay_size(*size, detail=False) == (2 * panel[0], panel[1])
    image = np.zeros((size[1], size[0], 3), np.uint8)
    none = TrackedFrame(0, 0.0, image, "none", None)
    assert overlay_frame(none).shape == (panel[1], 3 * panel[0], 3)
    assert overlay_frame(none, detail=False).shape == (panel[1], 2 * panel[0], 3)


def test_without_a_face_it_is_the_photo_and_says_so(frame):
    sheet = overlay_frame(replace(frame, face=None, state="none"))
    for panel in panels(sheet):
        np.testing.assert_array_equal(panel, frame.image[: len(panel)])
    labels = sheet[int(LABEL * len(sheet)) :]
    assert (labels != np.tile(frame.image[-len(labels) :], (1, 3, 1))).any()


def test_the_first_panel_is_the_photo_and_the_photo_stays(frame):
    before = frame.image.copy()
    photo, _, _ = panels(overlay_frame(frame))
    np.testing.assert_array_equal(photo, frame.image[: len(photo)])
    np.testing.assert_array_equal(frame.image, before)


def test_clay_is_where_the_face_is_and_nowhere_else(frame):
    photo, coarse, detail = panels(overlay_frame(frame))
    patch = frame.face.coarse
    there = np.zeros(frame.image.shape[:2], bool)
    rows, columns = patch.depth.shape
    there[patch.top : patch.top + rows, patch.left : patch.left + columns] = np.isfinite(patch.depth)
    inner = (cv2.erode(there.astype(np.uint8), np.ones((5, 5))) > 0)[: len(photo)]
    there = there[: len(photo)]
    for panel in (coarse, detail):
        np.testing.assert_array_equal(panel[~there], photo[~there])
        # clay is nearly grey, whatever the photo's colours
        assert np.ptp(panel[inner], axis=1).max() <= 10
    assert np.abs(coarse - detail)[inner].mean() > 2  # the ripples


def test_without_relief_the_coarse_surface_stands_in(frame):
    plain = replace(frame, face=replace(frame.face, fine=None))
    _, coarse, instead = panels(overlay_frame(plain))
    np.testing.assert_array_equal(coarse, instead)


def test_two_panels_without_detail(frame):
    two = panels(overlay_frame(frame, detail=False), 2)
    three = panels(overlay_frame(frame))
    for a, b in zip(two, three):
        np.testing.assert_array_equal(a, b)


def test_the_light_comes_from_the_upper_left(frame):
    def slope(left: float, up: float) -> float:
        """Brightness of a wall that faces a direction."""
        v, u = np.mgrid[:60, :60] / frame.face.camera.scale
        patch = DepthPatch((left * u + up * v).astype(np.float32), 100, 100)
        face = replace(frame.face, coarse=patch, fine=patch)
        _, coarse, _ = panels(overlay_frame(replace(frame, face=face)))
        return float(coarse[110:150, 110:150].mean())

    assert slope(0.5, 0.5) > slope(0, 0) > slope(-0.5, -0.5)


@pytest.mark.parametrize("times", [1, 6])
def test_the_clay_follows_the_panel_s_size(toy_reconstruction, times):
    """Small frames are enlarged, large ones made smaller; the face stays in its place."""
    frame = enlarged(TrackedFrame(0, 0.0, toy_reconstruction.image, "found", toy_reconstruction), times)
    height, width = frame.image.shape[:2]
    _, h = overlay_size(width, height)
    photo, coarse, _ = panels(overlay_frame(frame))
    zoom = h / height
    v, u = np.nonzero(np.abs(coarse - photo).max(axis=2) > 20)
    assert frame.face is not None
    patch = frame.face.coarse
    rows, columns = np.nonzero(np.isfinite(patch.depth))
    middle = np.array([patch.left + columns.mean() + 0.5, patch.top + rows.mean() + 0.5]) * zoom
    assert zoom != 1
    np.testing.assert_allclose([u.mean() + 0.5, v.mean() + 0.5], middle, atol=0.02 * h)


@pytest.mark.parametrize(("left", "top"), [(-60, -50), (250, 300), (-5000, 0), (0, 9000)])
def test_faces_may_leave_the_frame(frame, left, top):
    face = frame.face
    moved = replace(
        face,
        coarse=replace(face.coarse, left=left, top=top),
        fine=replace(face.fine, left=left, top=top),
    )
    sheet = overlay_frame(replace(frame, face=moved))
    assert sheet.shape == overlay_frame(frame).shape


def test_an_empty_patch_draws_nothing(frame):
    none = DepthPatch(np.full((0, 5), np.nan, np.float32), 3, 3)
    empty = DepthPatch(np.full((40, 40), np.nan, np.float32), 30, 30)
    sheet = overlay_frame(replace(frame, face=replace(frame.face, coarse=none, fine=empty)))
    photo, coarse, detail = panels(sheet)
    np.testing.assert_array_equal(coarse, photo)
    np.testing.assert_array_equal(detail, photo)
