"""Merged relief: nearer to the truth than any photo's, by trust, and one photo's own where there is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.face.reconstruction import DepthPatch, Reconstruction
from facerelief.facefolder.relief_merge import MergeConfig, merged_relief, texel_mm, with_merged_relief
from facerelief.facefolder.relief_uv import relief_in_uv
from facerelief.geometry.camera import WeakPerspective
from facerelief.morphable.model import FaceModel
from facerelief.rendering.registration import blurred

SIZE, SIDE = 200, 240
INNER = np.s_[16:-16, 16:-16]
FIXED = MergeConfig(registration=None)


def wrinkles(shift_mm: float = 0.0) -> np.ndarray:
    """(SIDE, SIDE) mm, on pixels of half a millimetre: lines 8 mm apart on a smooth hill."""
    row, column = (np.indices((SIDE, SIDE)) + 0.5) / 2
    lines = -0.3 * np.exp(-((((row - shift_mm + 2 * np.sin(column / 20)) % 8) - 4) ** 2))
    return (lines + 0.5 * np.exp(-((row - 60) ** 2 + (column - 60) ** 2) / 800)).astype(np.float32)


@pytest.fixture(scope="module")
def plane() -> FaceModel:
    """A square of 120 mm that faces the viewer, uv over all of it."""
    x = np.linspace(-60, 60, 11)
    grid = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    ids = np.arange(121).reshape(11, 11)
    a, b, c, d = ids[:-1, :-1].ravel(), ids[:-1, 1:].ravel(), ids[1:, 1:].ravel(), ids[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    return FaceModel(
        name="plane",
        mean=np.column_stack([grid, np.zeros(121)]).astype(np.float32),
        identity=np.zeros((121, 3, 0), np.float32),
        expression=np.zeros((121, 3, 0), np.float32),
        expression_names=(),
        triangles=triangles,
        albedo_mean=np.full((121, 3), 0.5, np.float32),
        albedo=np.zeros((121, 3, 0), np.float32),
        uv=(grid / 120 + 0.5).astype(np.float32),
        uv_triangles=triangles,
    )


def photo(model, relief: np.ndarray, trust: np.ndarray | None = None, image: np.ndarray | None = None):
    """A face on the plane: 2 px/mm, with this relief (SIDE, SIDE) and trust."""
    none = np.zeros(0, np.float32)
    flat = DepthPatch(np.zeros((SIDE, SIDE), np.float32), 0, 0)
    return Reconstruction(
        image=np.full((SIDE, SIDE, 3), 128, np.uint8) if image is None else image,
        model=model,
        camera=WeakPerspective(0, 0, 0, SIDE / 2, SIDE / 2, 2.0),
        identity=none,
        expression=none,
        albedo=none,
        light=np.zeros((9, 3), np.float32),
        box=(0, 0, SIDE, SIDE),
        confidence=1.0,
        method="fit",
        coarse=flat,
        fine=DepthPatch(relief.astype(np.float32), 0, 0),
        trust=DepthPatch(np.full((SIDE, SIDE), 1.0 if trust is None else trust, np.float32), 0, 0),
    )


def noise(seed: int) -> np.ndarray:
    """(SIDE, SIDE) mm, as noise of shape from shading: 0.1 mm, 1 mm wide."""
    made = blurred(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), 2.0)
    return 0.1 * made / made.std()


def error(height: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(((height - truth)[INNER] ** 2).mean()))


def test_one_photo_gives_itself(plane):
    face = photo(plane, wrinkles())
    for found, own in zip(merged_relief([face], SIZE), relief_in_uv(face, SIZE)):
        np.testing.assert_array_equal(found, own)
    assert with_merged_relief([face])[0] is face


def test_two_photos_of_one_relief_are_nearer_to_it_than_either(plane):
    truth, _ = relief_in_uv(photo(plane, wrinkles()), SIZE)
    faces = [photo(plane, wrinkles() + noise(seed)) for seed in (1, 2)]
    merged, weight = merged_relief(faces, SIZE, config=FIXED)
    own = [error(relief_in_uv(face, SIZE)[0], truth) for face in faces]
    assert error(merged, truth) < 0.8 * min(own)
    np.testing.assert_allclose(weight[INNER], 1, atol=1e-5)
    seen = with_merged_relief(faces, SIZE, FIXED)
    for before, after in zip(faces, seen):
        inner = np.s_[20:-20, 20:-20]
        off = [np.square((face.fine.depth - wrinkles())[inner]).mean() for face in (before, after)]
        assert off[1] < 0.75 * off[0]


def test_the_same_photo_twice_changes_nothing(plane):
    face = photo(plane, wrinkles())
    merged, _ = merged_relief([face, face], SIZE)
    np.testing.assert_allclose(merged[INNER], relief_in_uv(face, SIZE)[0][INNER], atol=2e-3)
    for after in with_merged_relief([face, face], SIZE):
        np.testing.assert_allclose(after.fine.depth, face.fine.depth, atol=4e-3)


def test_a_photo_without_trust_changes_nothing(plane):
    faces = [photo(plane, wrinkles() + noise(seed)) for seed in (1, 2)]
    spoilt = photo(plane, 5 * noise(3), trust=np.zeros((SIDE, SIDE)))
    expected = merged_relief(faces, SIZE, config=FIXED)
    for found, wanted in zip(merged_relief([*faces, spoilt], SIZE, config=FIXED), expected):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    first, _ = merged_relief([spoilt, *faces], SIZE, config=FIXED)
    np.testing.assert_allclose(first[INNER], expected[0][INNER], atol=1e-3)


def test_more_trust_counts_more(plane):
    truth, _ = relief_in_uv(photo(plane, wrinkles()), SIZE)
    good, bad = photo(plane, wrinkles()), photo(plane, wrinkles() + noise(1), np.full((SIDE, SIDE), 0.2))
    assert error(merged_relief([good, bad], SIZE, config=FIXED)[0], truth) < 0.25 * 0.1


def test_a_shadow_edge_in_one_of_three_photos_is_left_out(plane):
    truth, _ = relief_in_uv(photo(plane, wrinkles()), SIZE)
    edge = np.zeros((SIDE, SIDE), np.float32)
    edge[:, 100:108] = 0.8
    faces = [photo(plane, wrinkles() + extra) for extra in (edge, 0, 0)]
    assert error(merged_relief(faces, SIZE, config=FIXED)[0], truth) < 0.2 * error(
        relief_in_uv(faces[0], SIZE)[0], truth
    )


def test_fits_that_differ_by_a_millimetre_are_registered(plane):
    """The second fit lies 1 mm lower on the same skin: lines, texture and all."""
    marks = blurred(np.random.default_rng(5).normal(size=(SIDE + 2, SIDE)), 4.0)
    coded = np.clip(128 + 30 * marks / marks.std(), 0, 255).astype(np.uint8)
    upper, lower = (np.repeat(coded[k : k + SIDE, :, None], 3, axis=2) for k in (2, 0))
    faces = [photo(plane, wrinkles(), image=upper), photo(plane, wrinkles(1.0), image=lower)]
    truth, _ = relief_in_uv(faces[0], SIZE)
    off, held = (error(merged_relief(faces, SIZE, config=c)[0], truth) for c in (FIXED, MergeConfig()))
    assert held < 0.5 * off


def test_a_distinct_wrinkle_of_one_photo_stays_its_own(plane):
    """As a frown: on the other photo's face it does not appear as strong."""
    frown = np.zeros((SIDE, SIDE), np.float32)
    frown[100:140, 118:123] = -0.6
    faces = [photo(plane, wrinkles() + frown + noise(1) / 4)]
    faces += [photo(plane, wrinkles() + noise(seed) / 4) for seed in (2, 3)]
    own, other, _ = with_merged_relief(faces, SIZE, FIXED)
    at = np.s_[105:135, 119:122]
    assert (own.fine.depth - wrinkles())[at].mean() < -0.35
    assert (other.fine.depth - wrinkles())[at].mean() > -0.1


def test_what_one_photo_does_not_show_comes_from_the_other(plane):
    left, right = wrinkles(), wrinkles()
    left[:, 130:], right[:, :110] = np.nan, np.nan
    truth, whole = relief_in_uv(photo(plane, wrinkles()), SIZE)
    faces = [photo(plane, part) for part in (left, right)]
    merged, weight = merged_relief(faces, SIZE, config=FIXED)
    assert error(merged, truth) < 0.02
    assert (weight[INNER] > 0.5).all()
    assert (weight <= whole + 1e-5).all()


def test_faces_without_relief_stay_as_they_are(plane):
    face = photo(plane, wrinkles())
    bare = replace(face, fine=None, trust=None)
    assert with_merged_relief([face, bare]) == [face, bare]
    with pytest.raises(ValueError, match="at least one"):
        merged_relief([])


def test_the_side_of_a_texel_is_that_of_the_plane(plane):
    assert texel_mm(plane, SIZE) == pytest.approx(120 / SIZE, rel=1e-3)
