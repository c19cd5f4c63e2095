"""What was saved comes back, for the model it was made with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.export.face_json import FaceFileError, write_face_json
from facerelief.pipeline.load import load_face
from facerelief.pipeline.save import face_parameters


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
