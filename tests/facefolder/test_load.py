"""A saved face is read back, for the model it was made with."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from facerelief.facefolder.face_json import FaceFileError, write_face_json
from facerelief.facefolder.load import load_face, load_reconstruction
from facerelief.facefolder.save import face_parameters
from facerelief.inverse.detail import photo_albedo
from facerelief.io.write_images import write_png


@pytest.fixture
def folder(tmp_path, toy_reconstruction):
    write_face_json(tmp_path / "face.json", face_parameters(toy_reconstruction))
    return tmp_path


def test_shape_and_pose_come_back(folder, toy_reconstruction):
    model = toy_reconstruction.model
    for path in (folder, folder / "face.json"):
        face = load_face(path, model)
        shape = model.shape(face.identity, model.expression_weights(face.expression))
        np.testing.assert_allclose(shape, toy_reconstruction.vertices, atol=1e-3)
        np.testing.assert_allclose(face.camera.vector, toy_reconstruction.camera.vector, atol=1e-5)
    assert load_face(folder).model_name == "toy"


def test_another_model_is_refused(folder, toy_model):
    with pytest.raises(FaceFileError, match="made with model 'toy' version 1, not 'toy' version 2"):
        load_face(folder, replace(toy_model, version="2"))
    with pytest.raises(FaceFileError, match="not 'other' version 1"):
        load_face(folder, replace(toy_model, name="other"))
    with pytest.raises(FaceFileError, match="more coefficients"):
        load_face(folder, toy_model.truncated(identity=2))
    fewer = replace(
        toy_model, expression=toy_model.expression[:, :, :3], expression_names=toy_model.expression_names[:3]
    )
    with pytest.raises(FaceFileError, match="expression"):
        load_face(folder, fewer)


def test_no_file(tmp_path):
    with pytest.raises(FaceFileError, match=r"face\.json: no such file"):
        load_face(tmp_path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, toy_reconstruction):
    return toy_reconstruction.save(tmp_path_factory.mktemp("out") / "face0", texture_size=64)


def test_a_whole_reconstruction_comes_back(saved, toy_reconstruction):
    r = toy_reconstruction
    for path in (saved, str(saved / "face.json")):
        back = load_reconstruction(path, r.model)
        assert np.abs(back.image.astype(int) - r.image).mean() < 1
        np.testing.assert_allclose(back.vertices, r.vertices, atol=1e-3)
        np.testing.assert_allclose(back.light, r.light, atol=1e-5)
        np.testing.assert_allclose(back.camera.vector, r.camera.vector, atol=1e-5)
        for name in ("box", "method", "warnings", "timings_ms", "residuals"):
            assert getattr(back, name) == getattr(r, name)
        for patch, own in ((back.coarse, r.coarse), (back.fine, r.fine)):
            whole, expected = (on_photo(p, r.image) for p in (patch, own))
            np.testing.assert_array_equal(whole, expected)
        assert back.skin is not None
        skin = photo_albedo(
            r.model, back.image, back.vertices, back.camera, back.albedo, back.light, back.fine
        )
        np.testing.assert_array_equal(back.skin.color, skin.color)
        assert back.skin.color.shape == (*back.fine.depth.shape, 3)
        assert (back.skin.left, back.skin.top) == (back.fine.left, back.fine.top)


def on_photo(patch, image):
    whole = np.full(image.shape[:2], np.nan, np.float32)
    h, w = patch.depth.shape
    whole[patch.top : patch.top + h, patch.left : patch.left + w] = patch.depth
    return whole


def test_without_relief(tmp_path, toy_reconstruction):
    folder = replace(toy_reconstruction, fine=None).save(tmp_path / "face0", texture_size=64)
    back = load_reconstruction(folder, toy_reconstruction.model)
    assert back.fine is None
    assert back.skin is None


def test_what_is_missing_is_named(saved, tmp_path, toy_model):
    copy = tmp_path / "photo" / "face0"
    shutil.copytree(saved, copy)
    with pytest.raises(
        FaceFileError, match=r"photo: holds one folder per face; name one of them, such as .*face0"
    ):
        load_reconstruction(copy.parent, toy_model)
    with pytest.raises(FaceFileError, match=r"made with model 'toy' version 1, not 'facerelief"):
        load_reconstruction(copy)
    with pytest.raises(FaceFileError, match=r"nowhere/face\.json: no such file"):
        load_reconstruction(tmp_path / "nowhere", toy_model)
    write_png(copy / "photo.jpg", np.zeros((48, 49, 3), np.uint8))
    with pytest.raises(FaceFileError, match=r"is 49 x 48 px, expected 120 x 160 as face\.json says"):
        load_reconstruction(copy, toy_model)
    (copy / "photo.jpg").write_bytes(b"no image")
    with pytest.raises(FaceFileError, match=r"photo\.jpg.*reconstruct the photo again"):
        load_reconstruction(copy, toy_model)
    (copy / "photo.jpg").unlink()
    with pytest.raises(
        FaceFileError, match=r"photo\.jpg: no such file \(made by an older version\?\); reconstruct"
    ):
        load_reconstruction(copy, toy_model)


@pytest.mark.parametrize("damage", ["gone", "short", "shape", "pickle"])
def test_damaged_depth_is_refused(saved, tmp_path, toy_model, damage):
    copy = tmp_path / "face0"
    shutil.copytree(saved, copy)
    file = copy / "depth.npy"
    if damage == "gone":
        file.unlink()
    elif damage == "short":
        file.write_bytes(file.read_bytes()[:500])
    elif damage == "shape":
        np.save(file, np.zeros((3, 4), np.float32))
    else:
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FaceFileError, match=r"depth\.npy.*reconstruct the photo again"):
        load_reconstruction(copy, toy_model)
