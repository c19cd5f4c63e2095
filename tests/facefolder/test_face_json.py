"""face.json: the numbers come back, the text is stable, and what is wrong is said in one line."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from importlib.resources import files

import numpy as np
import pytest

from facerelief.errors import OutputError
from facerelief.facefolder.face_json import (
    FaceFileError,
    FaceParameters,
    FitResiduals,
    decode_face_json,
    encode_face_json,
    read_face_json,
    write_face_json,
)
from facerelief.morphable.arkit import ARKIT_NAMES

ADDED = {("model", "sha256"), ("pose", "inverse_distance_per_mm")}
"""Keys that files of earlier versions lack."""
OPTIONAL = ("networks", "source_sha256", "fit", "expected_error_mm", "displacement_range_mm")
SCHEMA = json.loads((files("facerelief") / "data" / "face.schema.json").read_text("utf-8"))


@pytest.fixture
def face(toy_camera):
    rng = np.random.default_rng(0)
    return FaceParameters(
        camera=toy_camera,
        image_size=(120, 160),
        model_name="toy",
        model_version="1",
        method="fit",
        box=(10.25, 20.0, 100.0, 140.5),
        confidence=0.987654,
        identity=rng.normal(size=5).astype(np.float32),
        expression=dict(zip(ARKIT_NAMES, rng.uniform(0, 1, 52).tolist())),
        albedo=rng.normal(size=3).astype(np.float32),
        light=rng.normal(size=(9, 3)).astype(np.float32),
        landmarks68_mm=rng.normal(size=(68, 3)).astype(np.float32) * 50,
        landmarks68_px=rng.normal(size=(68, 2)).astype(np.float32) * 50,
        relief=True,
        timings_ms={"detect": 8.123456, "fit": 900},
        warnings=("the face is cut by the frame",),
        source="Käthe.jpg",
        source_sha256="0123456789abcdef" * 4,
        networks={"coarse.onnx": "01" * 32, "fine.onnx": "ab" * 32},
        model_sha256="cd" * 32,
        fit=FitResiduals(1.5, 0.75, 0.125, 0.0625),
        expected_error_mm=1.25,
        displacement_range_mm=0.7,
    )


def test_round_trip(tmp_path, face):
    write_face_json(tmp_path / "face.json", face)
    back = read_face_json(tmp_path / "face.json")
    np.testing.assert_allclose(back.camera.vector, face.camera.vector, atol=1e-5)
    for name, atol in [("identity", 1e-6), ("albedo", 1e-6), ("light", 1e-6)]:
        np.testing.assert_allclose(getattr(back, name), getattr(face, name), atol=atol)
    np.testing.assert_allclose(back.landmarks68_mm, face.landmarks68_mm, atol=1e-4)
    np.testing.assert_allclose(back.landmarks68_px, face.landmarks68_px, atol=1e-3)
    assert list(back.expression) == list(face.expression)
    assert back.expression == pytest.approx(face.expression, abs=1e-6)
    done = {"camera", "identity", "albedo", "light", "expression", "landmarks68_mm", "landmarks68_px"}
    for f in fields(FaceParameters):
        if f.name not in {*done, "confidence", "timings_ms"}:
            assert getattr(back, f.name) == getattr(face, f.name), f.name
    assert back.confidence == pytest.approx(face.confidence, abs=1e-4)
    assert back.timings_ms == pytest.approx(face.timings_ms, abs=1e-3)


def test_writing_what_was_read_is_the_same_text(face):
    text = encode_face_json(face)
    assert encode_face_json(decode_face_json(text)) == text


def test_matrix_and_angles_agree(face):
    pose = json.loads(encode_face_json(face))["pose"]
    np.testing.assert_allclose(pose["rotation_matrix"], face.camera.rotation, atol=1e-9)
    assert pose["yaw"] == 0.3


def test_keys_are_those_of_the_schema_in_its_order(face):
    document = json.loads(encode_face_json(face))
    assert list(document) == list(SCHEMA["properties"])
    assert [key for key in document if key not in OPTIONAL] == SCHEMA["required"]
    for key in ("tool", "model", "image_size", "pose", "fit"):
        found = [name for name in document[key] if (key, name) not in ADDED]
        assert found == SCHEMA["properties"][key]["required"]


def test_optional_keys_are_absent_where_there_is_nothing_to_say(face):
    text = encode_face_json(
        replace(
            face, source_sha256="", networks={}, fit=None, expected_error_mm=None, displacement_range_mm=None
        )
    )
    assert list(json.loads(text)) == SCHEMA["required"]
    back = decode_face_json(text)
    assert back.fit is None
    assert back.source_sha256 == ""


@pytest.mark.parametrize("landmarks", [True, False])
def test_schema_accepts_it(face, landmarks):
    jsonschema = pytest.importorskip("jsonschema")
    if not landmarks:
        face = replace(
            face,
            landmarks68_mm=None,
            landmarks68_px=None,
            fit=None,
            source_sha256="",
            expected_error_mm=None,
            displacement_range_mm=None,
        )
    validator = jsonschema.Draft202012Validator
    validator.check_schema(SCHEMA)
    validator(SCHEMA).validate(json.loads(encode_face_json(face)))
    assert list(validator(SCHEMA).iter_errors({"schema_version": 2}))


def test_without_landmarks_and_coefficients(face):
    bare = replace(
        face, landmarks68_mm=None, landmarks68_px=None, albedo=np.zeros(0, np.float32), timings_ms={}
    )
    back = decode_face_json(encode_face_json(bare))
    assert back.landmarks68_mm is None
    assert back.landmarks68_px is None
    assert back.albedo.shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_never_written(face, value):
    light = face.light.copy()
    light[3, 1] = value
    with pytest.raises(OutputError, match=r"light\.3\.1"):
        encode_face_json(replace(face, light=light))
    with pytest.raises(OutputError, match=r"timings_ms\.fit"):
        encode_face_json(replace(face, timings_ms={"fit": value}))


def test_one_landmark_a_line(face):
    lines = encode_face_json(face).splitlines()
    assert len(lines) < 330
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1, 2]", "no schema_version"),
        ("{}", "no schema_version"),
        ('{"schema_version": 2}', "version 2, this facerelief reads version 1"),
        ('{"schema_version": 1}', "'pose' is missing"),
    ],
)
def test_what_is_no_face_json(tmp_path, text, words):
    (tmp_path / "face.json").write_text(text)
    with pytest.raises(FaceFileError, match=words) as caught:
        read_face_json(tmp_path / "face.json")
    assert str(caught.value).startswith(str(tmp_path / "face.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("light", [[1, 2, 3]]),
        ("box_px", [1, 2]),
        ("identity", "many"),
        ("pose", None),
        ("expression", [0.5]),
        ("fit", [1]),
        ("confidence", float("nan")),
        ("confidence", "NaN"),
        ("timings_ms", {"fit": float("inf")}),
    ],
)
def test_damaged_values(face, key, value):
    document = json.loads(encode_face_json(face))
    document[key] = value
    with pytest.raises(FaceFileError, match="damaged") as caught:
        decode_face_json(json.dumps(document))
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(FaceFileError, match="no such file"):
        read_face_json(tmp_path / "face.json")


def test_the_distance_comes_back_and_old_files_have_none(face):
    near = replace(face, camera=replace(face.camera, inverse_distance=1 / 400))
    text = encode_face_json(near)
    assert decode_face_json(text).camera.inverse_distance == pytest.approx(1 / 400, abs=1e-9)
    document = json.loads(text)
    del document["pose"]["inverse_distance_per_mm"]
    assert decode_face_json(json.dumps(document)).camera.inverse_distance == 0
