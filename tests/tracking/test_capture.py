"""A capture keeps the numbers of each frame, and animates one head with them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pygltflib import GLTF2

from facerelief.geometry.camera import WeakPerspective
from facerelief.morphable.arkit import ARKIT_NAMES
from facerelief.tracking.capture import FaceCapture, write_capture_glb
from facerelief.tracking.frame import TrackedFrame
from facerelief.tracking.track_file import load_track

LOST = {3, 4, 8}


@pytest.fixture(scope="module")
def frames(toy_reconstruction) -> list[TrackedFrame]:
    """Ten frames, every second frame of a film; the first two with another shape, three without a face."""
    r, made = toy_reconstruction, []
    rng = np.random.default_rng(1)
    for i in range(10):
        camera = WeakPerspective(0.1, 0.5 - 0.1 * i, 0.02 * i, 60 + i, 80 - 2 * i, 0.6)
        face = replace(
            r,
            camera=camera,
            expression=rng.uniform(0, 1, r.model.n_expression).astype(np.float32),
            identity=r.identity + (i < 2),
            confidence=0.9 if i != 7 else 1.0,
            light=r.light * (1 + 0.01 * i),
        )
        state = "none" if i in LOST else "found" if i in (0, 5, 9) else "tracked"
        made.append(TrackedFrame(2 * i, 0.07 * i, r.image, state, None if i in LOST else face))
    return made


@pytest.fixture(scope="module")
def capture(frames) -> FaceCapture:
    collected = FaceCapture(fps=25.0, source="clip.mp4")
    for frame in frames:
        collected.add(frame)
    return collected


def test_every_number_is_that_of_its_frame(capture, frames):
    track = capture.track()
    assert len(capture) == len(frames) == len(track.time)
    assert capture.faces == track.faces.sum() == 7
    np.testing.assert_array_equal(track.frame, [f.index for f in frames])
    np.testing.assert_array_equal(track.time, [f.time for f in frames])
    assert track.state.tolist() == [f.state for f in frames]
    for i, frame in enumerate(frames):
        if frame.face is None:
            for name in ("camera", "rotation", "expression", "light", "box", "confidence", "landmarks68_px"):
                assert np.isnan(getattr(track, name)[i]).all(), name
            assert track.person[i] == -1
            continue
        np.testing.assert_allclose(track.camera[i], frame.face.camera.vector, rtol=1e-6)
        np.testing.assert_allclose(track.rotation[i], frame.face.camera.rotation, atol=1e-6)
        np.testing.assert_array_equal(track.expression[i], frame.face.expression)
        np.testing.assert_allclose(track.light[i], frame.face.light, rtol=1e-6)
        np.testing.assert_allclose(track.box[i], frame.face.box)
        np.testing.assert_allclose(track.landmarks68_px[i], frame.face.landmarks68_px, atol=1e-4)
        np.testing.assert_array_equal(track.identity[track.person[i]], frame.face.identity)
        np.testing.assert_array_equal(track.albedo[track.person[i]], frame.face.albedo)
    assert len(track.identity) == 2
    assert track.image_size == (120, 160)
    assert [(g.first, g.last) for g in track.gaps] == [(6, 8), (16, 16)]
    np.testing.assert_allclose([(g.start, g.end) for g in track.gaps], [(0.21, 0.28), (0.56, 0.56)])


def test_the_best_frame_is_the_most_frontal_and_surest(capture, frames):
    facing = [0 if f.face is None else f.face.camera.rotation[2, 2] ** 2 * f.face.confidence for f in frames]
    assert capture.best is frames[int(np.argmax(facing))].face


def test_a_face_half_out_of_the_image_is_not_the_best(frames):
    whole = next(f for f in frames if f.face is not None)
    assert whole.face is not None
    left, top, right, bottom = whole.face.box
    gone = replace(whole.face, box=(left - 100, top, right - 100, bottom), confidence=1.0)
    collected = FaceCapture()
    collected.add(whole)
    collected.add(replace(whole, face=gone))
    assert collected.best is whole.face


def test_only_numbers_are_kept(frames):
    collected = FaceCapture()
    for _ in range(50):
        for frame in frames:
            collected.add(frame)
    kept = sum(row.nbytes for *_, row in collected._frames if row is not None)
    assert kept < 1200 * len(collected)
    assert len(collected._identities) == 2


def test_all_faces_have_one_model(capture, frames, toy_model):
    face = replace(frames[0].face, model=replace(toy_model, name="other"))
    with pytest.raises(ValueError, match="same model"):
        capture.add(replace(frames[0], face=face))


# ---------------------------------------------------------------- the GLB


def values(gltf: GLTF2, accessor: int) -> np.ndarray:
    a = gltf.accessors[accessor]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[a.type]
    view = gltf.bufferViews[a.bufferView]
    data = gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    return np.frombuffer(data, np.float32).reshape(a.count if width > 1 else -1, width)


@pytest.fixture(scope="module")
def saved(capture, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    capture.save(folder, texture_size=64)
    return folder


@pytest.fixture(scope="module")
def glb(saved) -> GLTF2:
    return GLTF2().load(str(saved / "performance.glb"))


def test_the_folder_has_three_files(saved):
    assert sorted(p.name for p in saved.iterdir()) == ["performance.glb", "track.csv", "track.npz"]


def test_tracks_are_the_parameters(glb, frames):
    seen = [f for f in frames if f.face is not None]
    clip = glb.animations[0]
    tracks = {channel.target.path: clip.samplers[channel.sampler] for channel in clip.channels}
    assert set(tracks) == {"weights", "rotation", "translation"}
    for track in tracks.values():
        np.testing.assert_allclose(values(glb, track.input).ravel(), [f.time for f in seen], atol=1e-6)
    weights = values(glb, tracks["weights"].output).reshape(len(seen), 52)
    np.testing.assert_array_equal(weights, [f.face.expression for f in seen])
    for q, frame in zip(values(glb, tracks["rotation"].output), seen, strict=True):
        x, y, z, w = q.astype(float)
        third = [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]
        np.testing.assert_allclose(third, frame.face.camera.rotation[:, 2], atol=1e-5)
    # of the root joint, which stands at c at rest: t = place - R c
    c = 1000 * np.array(glb.nodes[1].translation)
    turns = np.stack([camera.rotation for camera in cameras(seen)])
    moved = values(glb, tracks["translation"].output) * 1000 - turns @ c
    expected = [
        ((c.translation_u - 60) / c.scale, (80 - c.translation_v) / c.scale, 0) for c in cameras(seen)
    ]
    np.testing.assert_allclose(moved, expected, atol=1e-3)


def cameras(frames) -> list[WeakPerspective]:
    return [f.face.camera for f in frames]


def test_the_head_stands_where_the_image_shows_it(glb, frames):
    """Points of the scene, in mm from the image's middle, times the scale are the image's points."""
    face = frames[6].face
    tip = face.landmarks68_mm[30]
    clip = glb.animations[0]
    key = [f.index for f in frames if f.face is not None].index(frames[6].index)
    by_path = {channel.target.path: clip.samplers[channel.sampler].output for channel in clip.channels}
    place = values(glb, by_path["translation"])[key] * 1000
    rest = 1000 * np.array(glb.nodes[1].translation)
    x, y, _ = face.camera.rotation @ (tip - rest) + place
    u, v = 60 + face.camera.scale * x, 80 - face.camera.scale * y
    np.testing.assert_allclose((u, v), face.landmarks68_px[30], atol=1e-3)


def test_the_shape_is_the_frozen_one_without_expression(glb, capture, toy_model):
    mesh = glb.meshes[0]
    assert mesh.extras["targetNames"] == list(ARKIT_NAMES)
    assert mesh.weights == [0.0] * 52
    positions = values(glb, mesh.primitives[0].attributes.POSITION)[: toy_model.n_vertices] * 1000
    frozen = capture.track().identity[1]  # five of the seven frames have it
    np.testing.assert_allclose(positions, toy_model.shape(frozen), atol=1e-3)
    assert len(glb.images) == 2  # texture and normal map


def test_times_equal_in_glTF_are_one_key(frames, capture, tmp_path):  # noqa: N802
    track = capture.track()
    squeezed = replace(track, time=3600 + 1e-5 * np.arange(len(track.time)))
    write_capture_glb(tmp_path / "a.glb", squeezed, frames[0].face, texture_size=64)
    glb = GLTF2().load(str(tmp_path / "a.glb"))
    times = values(glb, glb.animations[0].samplers[0].input).ravel()
    assert 1 <= len(times) < 7
    assert np.all(np.diff(times) > 0)


def test_without_a_face_there_is_no_head(frames, tmp_path):
    collected = FaceCapture()
    collected.add(frames[3])
    collected.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["track.csv", "track.npz"]
    track = load_track(tmp_path / "track.npz")
    assert len(track.time) == 1
    assert not track.faces.any()
    with pytest.raises(ValueError, match="no face"):
        write_capture_glb(tmp_path / "a.glb", track, frames[0].face)


def test_a_model_without_texture_coordinates_gets_colours(frames, toy_model, tmp_path):
    bare = replace(toy_model, uv=np.zeros((0, 2), np.float32), uv_triangles=np.zeros((0, 3), np.int32))
    collected = FaceCapture()
    for frame in frames:
        face = None if frame.face is None else replace(frame.face, model=bare)
        collected.add(replace(frame, face=face))
    collected.save(tmp_path)
    glb = GLTF2().load(str(tmp_path / "performance.glb"))
    assert not glb.images
    assert glb.meshes[0].primitives[0].attributes.COLOR_0 is not None


def test_the_file_says_what_it_is(saved):
    with np.load(saved / "track.npz", allow_pickle=False) as archive:
        meta = json.loads(archive["meta"].tobytes())
    assert meta == {
        "format": "facerelief-track",
        "format_version": 1,
        "model": "toy",
        "model_version": "1",
        "expression_kind": "blendshape",
        "image_size": [120, 160],
        "fps": 25.0,
        "source": "clip.mp4",
    }
