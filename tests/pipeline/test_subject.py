"""Several photos of one subject: what is used, what is left out, what is saved."""

from __future__ import annotations

import cv2
import numpy as np
import PIL.Image
import pytest

import facerelief
from facerelief.errors import NoFaceError
from facerelief.examples import astronaut_path
from facerelief.inverse.fit import FitConfig
from facerelief.inverse.photometric import PhotometricConfig
from facerelief.pipeline import subject as rooms
from facerelief.pipeline.reconstructor import ReconstructorConfig
from facerelief.runtime.threads import thread_limit

CONFIG = ReconstructorConfig(
    fit=FitConfig(photometric=PhotometricConfig(levels=(64,), steps=(2,), points=800))
)


@pytest.fixture(scope="module")
def model():
    return facerelief.open_model().truncated(identity=20)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(200, 200, 3) uint8: the astronaut's face."""
    return np.ascontiguousarray(facerelief.read_image(astronaut_path())[30:230, 110:310])


@pytest.fixture(scope="module")
def subject(model, photo, tmp_path_factory):
    """The same face in four photos: as it is, darker, without a face, unreadable."""
    folder = tmp_path_factory.mktemp("photos")
    cv2.imwrite(str(folder / "a.png"), photo[:, :, ::-1])
    cv2.imwrite(str(folder / "b.png"), (0.7 * photo[:, ::-1, ::-1]).astype(np.uint8))
    cv2.imwrite(str(folder / "wall.png"), np.full((120, 120, 3), 128, np.uint8))
    (folder / "text.jpg").write_text("no image")
    files = [folder / name for name in ("a.png", "wall.png", "text.jpg", "b.png")]
    with thread_limit(1):
        return rooms.reconstruct_subject(files, model=model, config=CONFIG)


def test_usable_photos_share_one_identity(subject):
    assert list(subject.faces) == [0, 3]
    for face in subject.faces.values():
        np.testing.assert_array_equal(face.identity, subject.identity)
        assert face.method == "fit"
        assert face.fine is not None
        assert face.trust is not None


def test_other_photos_are_left_out_with_a_line_that_names_them(subject):
    assert list(subject.left_out) == [1, 2]
    assert "wall.png: no face found" in subject.left_out[1]
    assert "text.jpg" in subject.left_out[2]


def test_every_photo_gets_a_folder_with_one_texture(subject, tmp_path):
    folders = {0: tmp_path / "a", 3: tmp_path / "b"}
    written = rooms.save_subject(subject, folders, texture_size=128)
    assert written == [tmp_path / "a" / "face0", tmp_path / "b" / "face0"]
    loaded = [facerelief.load_reconstruction(folder, model=subject.faces[0].model) for folder in written]
    np.testing.assert_allclose(loaded[0].identity, loaded[1].identity, atol=1e-4)
    own, other = (facerelief.read_image(folder / "texture.png").astype(float) for folder in written)
    # one skin seen in two photos: the textures differ by their tone at most
    assert np.corrcoef(own.ravel(), other.ravel())[0, 1] > 0.9


def with_focal_length(photo: np.ndarray, file, focal_mm: int) -> str:
    """The file, a photo whose EXIF has this 35 mm equivalent."""
    exif = PIL.Image.Exif()
    exif.get_ifd(34665)[41989] = focal_mm
    PIL.Image.fromarray(photo).save(file, exif=exif.tobytes())
    return str(file)


def test_each_photo_is_seen_through_its_own_lens(model, photo, tmp_path):
    """85 mm put the camera where the face's size says; an absurd focal length counts as none."""
    near = with_focal_length(photo, tmp_path / "near.png", 85)
    absurd = with_focal_length(photo, tmp_path / "absurd.png", 30_000)
    none = str(tmp_path / "none.png")
    PIL.Image.fromarray(photo).save(none)
    with thread_limit(1):
        both = rooms.reconstruct_subject([near, absurd], model=model, config=CONFIG).faces
        plain = rooms.reconstruct_subject([near, none], model=model, config=CONFIG).faces
    focal_px = 85 * np.hypot(200, 200) / 43.27
    assert both[0].camera.focal_length_px == pytest.approx(focal_px, rel=0.15)
    assert not 0.85 < both[1].camera.focal_length_px / focal_px < 1.15
    np.testing.assert_array_equal(both[1].camera.vector, plain[1].camera.vector)


def test_photos_without_any_face_are_refused(model):
    with pytest.raises(NoFaceError, match="photo 1: no face found"):
        rooms.reconstruct_subject([np.zeros((90, 90, 3), np.uint8)], model=model, config=CONFIG)


def test_no_photo_is_refused(model):
    with pytest.raises(ValueError, match="at least one"):
        rooms.reconstruct_subject([], model=model)
