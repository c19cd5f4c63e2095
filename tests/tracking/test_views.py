"""The frames that texture and relief of a track are made of."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from facerelief.geometry.camera import WeakPerspective
from facerelief.tracking.views import BestViews, merged_views, sharpness


def turned(face, yaw_deg: float, **changes):
    camera = WeakPerspective(0.1, np.radians(yaw_deg), 0, 60, 80, 0.6)
    return replace(face, camera=camera, **changes)


def test_sharp_frames_are_told_from_blurred_ones(toy_reconstruction):
    r = toy_reconstruction
    noisy = np.clip(r.image + np.random.default_rng(0).normal(0, 20, r.image.shape), 0, 255).astype(np.uint8)
    sharp = replace(r, image=noisy)
    blurred = replace(r, image=np.asarray(cv2.GaussianBlur(noisy, (0, 0), 2)))
    darker = replace(r, image=noisy // 2)
    assert sharpness(sharp) > 1.5 * sharpness(blurred)
    assert abs(sharpness(darker) / sharpness(sharp) - 1) < 0.1
    assert sharpness(replace(r, box=(-50.0, -50.0, -10.0, -10.0))) == 0


def test_every_side_is_kept_and_frames_lie_apart(toy_reconstruction):
    views, best = BestViews(), turned(toy_reconstruction, 0)
    for k in range(400):  # forty seconds of shaking the head
        views.add(turned(toy_reconstruction, 40 * np.sin(k / 7)), 0.1 * k, 1.0)
    kept = views.of(best)
    yaw = np.degrees([face.camera.yaw for face in kept])
    assert len(kept) == 6
    assert yaw.min() < -25
    assert yaw.max() > 25
    assert (np.abs(yaw) < 8).sum() == 2


def test_the_better_of_two_near_frames_stays(toy_reconstruction):
    for merits in ((1.0, 2.0), (2.0, 1.0)):
        views = BestViews()
        faces = [turned(toy_reconstruction, 0), turned(toy_reconstruction, 1)]
        for k, merit in enumerate(merits):
            views.add(faces[k], 0.1 * k, merit)
        assert views.of(toy_reconstruction) == [faces[int(np.argmax(merits))]]


def test_somebody_else_and_the_best_frame_itself_are_left_out(toy_reconstruction):
    best, views = turned(toy_reconstruction, 0), BestViews()
    other = turned(toy_reconstruction, 15, identity=toy_reconstruction.identity + 3)
    side = turned(toy_reconstruction, -15)
    for k, face in enumerate((best, other, side)):
        views.add(face, 2.0 * k, 1.0)
    assert views.of(best) == [side]


def test_frames_of_one_relief_keep_it(toy_reconstruction):
    r, views = toy_reconstruction, BestViews()
    views.add(replace(r), 3.0, 1.0)
    merged = merged_views(r, views)
    assert len(merged) == 2
    off = np.abs(merged[0].fine.depth - r.fine.depth)
    assert np.nanmean(off) < 0.02
