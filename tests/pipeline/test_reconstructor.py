"""From an image to reconstructions: inputs of every kind, one face or many, and what is said about them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import facerelief
from facerelief.errors import ImageError, ModelError, NoFaceError
from facerelief.examples import astronaut_path
from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig
from facerelief.runtime.threads import thread_limit

PORTRAIT = (slice(30, 230), slice(110, 310))
"""The astronaut's face with some room around it, 200 x 200 px."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with thread_limit(1):
        yield


@pytest.fixture(scope="module")
def reconstructor() -> Reconstructor:
    return Reconstructor(facerelief.open_model().truncated(identity=30))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(200, 200, 3) uint8."""
    return np.ascontiguousarray(facerelief.read_image(astronaut_path())[PORTRAIT])


@pytest.fixture(scope="module")
def face(reconstructor, photo):
    """The reconstruction of `photo`, the only one in it."""
    (found,) = reconstructor(photo)
    return found


def angles(face):
    return np.degrees([face.camera.pitch, face.camera.yaw, face.camera.roll])


def test_the_astronaut(face, photo):
    assert face.image.shape == photo.shape
    assert face.method == "fit"
    assert 0.7 < face.confidence <= 1
    assert face.warnings == ()
    assert set(face.timings_ms) == {
        "read",
        "detect",
        "fit_landmarks",
        "fit_photometric",
        "conditions",
        "relief",
        "albedo",
        "depth",
    }
    assert face.source == face.source_sha256 == ""
    left, top, right, bottom = face.box
    inside = (face.landmarks68_px > (left - 15, top - 15)) & (face.landmarks68_px < (right + 15, bottom + 15))
    assert inside.all()
    assert np.abs(angles(face)).max() < 15
    # she smiles
    weights = dict(zip(face.model.expression_names, face.expression))
    assert weights["mouthSmileLeft"] + weights["mouthSmileRight"] > 0.3


def test_residuals(face):
    r = face.residuals
    assert r.landmark_rms_mm == pytest.approx(r.landmark_rms_px / face.camera.scale)
    assert 0 < r.landmark_rms_mm < 3
    assert 0 < r.photometric_rms_after <= r.photometric_rms_before < 0.3


def test_depth_covers_the_face_and_agrees_with_the_model(face):
    depth = face.coarse.depth
    assert depth.dtype == np.float32
    assert 0.5 < np.isfinite(depth).mean() < 1
    tip = face.landmarks68_mm[30]  # of the nose: nothing hides it
    u, v, z = face.camera.project(tip)
    at = depth[int(v) - face.coarse.top, int(u) - face.coarse.left]
    assert at == pytest.approx(z, abs=1.5)


def test_vertices_are_computed_once(face):
    assert face.vertices is face.vertices
    np.testing.assert_array_equal(face.vertices, face.model.shape(face.identity, face.expression))
    np.testing.assert_array_equal(face.neutral, face.model.shape(face.identity))


def test_the_same_image_gives_the_same_face(reconstructor, photo, face):
    (again,) = reconstructor(photo)
    np.testing.assert_array_equal(again.identity, face.identity)
    np.testing.assert_array_equal(again.expression, face.expression)
    assert again.camera == face.camera


@pytest.mark.parametrize("kind", ["alpha", "16 bit", "float"])
def test_other_sample_types_give_the_same_face(reconstructor, photo, face, kind):
    if kind == "alpha":
        other = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    elif kind == "16 bit":
        other = photo.astype(np.uint16) * 257
    else:
        other = photo.astype(np.float32) / 255
    (found,) = reconstructor(other)
    np.testing.assert_array_equal(found.identity, face.identity)
    assert found.camera == face.camera


def test_grey_gives_nearly_the_same_face(reconstructor, photo, face):
    (found,) = reconstructor(np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)))
    assert np.abs(angles(found) - angles(face)).max() < 3
    apart = np.linalg.norm(found.neutral - face.neutral, axis=1)[face.model.face_vertices]
    assert np.median(apart) < 1.5  # mm


@pytest.mark.parametrize("kind", ["grey.png", "alpha.png", "deep.png", "photo.jpg"])
def test_files_of_every_kind(reconstructor, photo, face, tmp_path, kind):
    bgr = photo[..., ::-1]
    content = {
        "grey.png": cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY),
        "alpha.png": np.dstack([bgr, np.full(photo.shape[:2], 255, np.uint8)]),
        "deep.png": bgr.astype(np.uint16) * 257,
        "photo.jpg": bgr,
    }[kind]
    path = tmp_path / kind
    assert cv2.imwrite(str(path), np.asarray(content))
    (found,) = reconstructor(path)
    assert found.source == str(path)
    assert found.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert np.abs(angles(found) - angles(face)).max() < 3
    if kind in ("alpha.png", "deep.png"):
        np.testing.assert_array_equal(found.identity, face.identity)


def test_an_image_of_several_faces(reconstructor, photo):
    tile = np.asarray(cv2.resize(photo, (150, 150), interpolation=cv2.INTER_AREA))
    montage = np.tile(tile, (2, 3, 1))
    found = reconstructor(montage)
    assert len(found) == 6
    cells = {(int(f.box[0] // 150), int(f.box[1] // 150)) for f in found}
    assert len(cells) == 6
    heights = [f.camera.scale for f in found]
    assert max(heights) / min(heights) < 1.15
    few = Reconstructor(reconstructor.model, ReconstructorConfig(max_faces=2))
    assert [f.box for f in few(montage)] == [f.box for f in found[:2]]


def test_a_face_cut_by_the_frame_comes_with_a_warning(reconstructor):
    image = facerelief.read_image(astronaut_path())
    (found,) = reconstructor(np.ascontiguousarray(image[30:230, 205:405]))
    assert any("frame cuts the face" in w for w in found.warnings)
    assert found.coarse.left == 0
    whole = found.image.shape
    assert found.coarse.depth.shape[0] <= whole[0]
    assert found.coarse.depth.shape[1] <= whole[1]


def test_a_small_face_comes_with_a_warning(reconstructor, photo):
    small = np.asarray(cv2.resize(photo, (90, 90), interpolation=cv2.INTER_AREA))
    (found,) = reconstructor(small)
    assert any("the face is small" in w for w in found.warnings)


def test_no_face(reconstructor, tmp_path):
    with pytest.raises(NoFaceError, match=r"^image: no face found; give an image with a visible face$"):
        reconstructor(np.full((200, 200, 3), 128, np.uint8))
    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), np.full((64, 64, 3), 128, np.uint8))
    with pytest.raises(NoFaceError, match=r"wall\.png: no face found"):
        reconstructor(path)


@pytest.mark.parametrize("image", [np.zeros((1, 1, 3), np.uint8), np.zeros(7), np.zeros((64, 64, 9)), None])
def test_what_is_no_image(reconstructor, image):
    with pytest.raises(ImageError):
        reconstructor(image)


@pytest.mark.parametrize("name", ["", "nothing.jpg"])
def test_no_file(reconstructor, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError):
        reconstructor(name)


@pytest.mark.parametrize(
    "settings", [{"max_faces": 0}, {"min_confidence": 0.0}, {"min_confidence": 1.5}, {"method": "magic"}]
)
def test_settings_out_of_range(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name} is .*: expected"):
        ReconstructorConfig(**settings)


def test_a_model_file(reconstructor, photo, face, tmp_path):
    path = tmp_path / "small.npz"
    facerelief.save_model(reconstructor.model, path)
    (found,) = facerelief.reconstruct(photo, model=path)
    assert found.identity.shape == (30,)
    assert np.median(np.linalg.norm(found.neutral - face.neutral, axis=1)) < 0.5


def test_a_model_with_ibug_landmarks_only(reconstructor, photo, face):
    model = reconstructor.model
    bare = replace(model, landmarks={"ibug68": model.landmarks["ibug68"]}, contours={})
    (found,) = Reconstructor(bare)(photo)
    assert np.abs(angles(found) - angles(face)).max() < 8


def test_a_model_without_landmarks(reconstructor, photo):
    bare = replace(reconstructor.model, landmarks={}, contours={})
    with pytest.raises(ModelError, match="landmarks"):
        Reconstructor(bare)(photo)


def test_model_files_that_are_none(tmp_path):
    path = Path(tmp_path, "model.npz")
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.npz: empty file"):
        Reconstructor(path)


def test_a_large_photo_costs_no_more_than_its_pixels(reconstructor, photo, tmp_path):
    """24 megapixels: the maps are as large as the photo, everything else as the face."""
    large = np.full((4000, 6000, 3), 90, np.uint8)
    large[1000:1800, 2000:2800] = cv2.resize(photo, (800, 800), interpolation=cv2.INTER_CUBIC)
    (found,) = reconstructor(large)
    assert found.image is large  # not copied
    assert found.coarse.depth.size < 1e6
    folder = found.save(tmp_path / "face0", texture_size=64)
    assert np.load(folder / "depth.npy", mmap_mode="r").shape == (4000, 6000)
    assert (folder / "normals.png").stat().st_size < 4e6
