"""Laws of the comparison on photos without a known shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.evaluation.compare import photos as compared_photos
from facerelief.lab.evaluation.compare.photos import (
    MEASURES,
    PhotoInput,
    compare_photos,
    photo_measures,
    photo_report,
    rerender_error,
)


@pytest.fixture(scope="module")
def drawn(toy_reconstruction) -> tuple[Any, FaceState]:
    r = toy_reconstruction
    return r.image, FaceState(r.camera, r.identity, r.expression)


class TestPhotos:
    def test_the_state_that_was_drawn_explains_the_picture_best(self, toy_model, drawn, face_of):
        image, state = drawn
        face = face_of(toy_model, state)
        moved = replace(state, camera=replace(state.camera, translation_u=state.camera.translation_u + 12))
        own, other = (rerender_error(toy_model, image, face, x) for x in (state, moved))
        assert 0 <= own < 0.05
        assert other > 1.5 * own

    def test_measures(self, toy_model, drawn, states, face_of):
        image, state = drawn
        face = face_of(toy_model, state)
        shifted = replace(state, identity=state.identity + np.float32(0.5))
        mean = replace(state, identity=np.zeros_like(state.identity))
        found = photo_measures(
            toy_model, image, face, {"net": state, "fit": state, "landmarks": shifted, "mean_face": mean}
        )
        assert set(found["net"]) == set(MEASURES)
        assert found["net"]["nme68"] == pytest.approx(0, abs=1e-3)
        assert found["net"] == pytest.approx(found["fit"])
        # fit is the same, landmarks is apart: half of landmarks' own, which is apart from both
        assert found["net"]["apart_mm"] == pytest.approx(found["landmarks"]["apart_mm"] / 2, rel=1e-2)
        assert found["mean_face"]["apart_mm"] > 0
        alone = photo_measures(toy_model, image, face, {"net": state, "mean_face": mean})
        assert np.isnan(alone["net"]["apart_mm"])

    def test_known_states_are_not_computed_again(self, toy_model, drawn, face_of):
        image, state = drawn

        def fail(image: Any, face: Any) -> FaceState:
            raise FacereliefError("asked")

        def photo(name: str, **known: FaceState) -> PhotoInput:
            return PhotoInput(name, name[0], "g", True, image, face_of(toy_model, state), known)

        methods = {"fit": fail, "net_fine": fail, "mean_face": lambda image, face: state}
        photos = [photo("a1", fit=state), photo("b1")]
        rows, left_out = compare_photos(toy_model, methods, photos)
        assert [row.name for row in rows] == ["a1"]
        assert left_out == {"b1": "asked"}
        assert list(rows[0].measures) == ["mean_face", "fit"]  # FineNet's shape is CoarseNet's

    def test_a_photo_that_cannot_be_measured_ends_nothing(self, toy_model, drawn, monkeypatch, face_of):
        image, state = drawn
        methods = {"mean_face": lambda image, face: state}
        photos = [PhotoInput(x, x, "g", True, image, face_of(toy_model, state)) for x in "ab"]
        measured = iter((ValueError("no pixel of it is seen"), {"mean_face": dict.fromkeys(MEASURES, 1.0)}))

        def measure(*_: Any) -> Any:
            found = next(measured)
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(compared_photos, "photo_measures", measure)
        done: list[int] = []
        rows, left_out = compare_photos(toy_model, methods, photos, done.append)
        assert [row.name for row in rows] == ["b"]
        assert left_out == {"a": "no pixel of it is seen"}
        assert done == [1, 2]

    def test_identity_by_collection_and_held_out(self, toy_model, drawn, face_of):
        image, state = drawn
        rng = np.random.default_rng(0)

        def method(image: Any, face: Any) -> FaceState:
            return replace(state, identity=face.identity)

        photos: list[PhotoInput] = []
        for k in range(6):
            own = rng.normal(0, 1, toy_model.n_identity).astype(np.float32)
            for number in range(2):
                face = face_of(toy_model, state)
                face.identity = own + rng.normal(0, 0.01, len(own)).astype(np.float32)
                photos.append(PhotoInput(f"{k}-{number}", str(k), "ab"[k % 2], k < 1, image, face))
        rows, _ = compare_photos(toy_model, {"net": method}, photos)
        report = photo_report(toy_model, rows)
        assert (report.photos, report.subjects, report.held_out_subjects) == (12, 6, 1)
        found = report.consistency["net"]
        assert set(found) == {"all", "a", "b"}  # one held-out person has nobody to be told from
        assert (found["all"].genuine, found["all"].impostor) == (6, 30)
        assert found["all"].auc.value == 1
        assert found["all"].same_over_different.value < 0.1
