"""From photos to skin: who is who, what is left out and said, what is kept; fits are stand-ins here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.geometry.normals import vertex_normals
from facerelief.lab.building import albedo_photos as room
from facerelief.lab.building.albedo import AlbedoConfig, Skin
from facerelief.lab.building.albedo_photos import (
    PhotoConfig,
    albedo_report,
    albedo_sheet,
    build_albedo,
    observe_photos,
    write_albedo_report,
)
from facerelief.lab.datasets.photos import Photo
from facerelief.rendering.spherical_harmonics import sh_basis

LEARNING = AlbedoConfig(components=5, rounds=1, imputations=2)
PERSONS = 24
LIGHT = LEARNING.prior.mean().reshape(3, 9).T


class Stage:
    """Stands in for detection and fit: pixel (0, 0) of a photo is the number of its person."""

    def __init__(self, model) -> None:
        self.fits: list[int] = []
        self.off_mm: dict[int, float] = {}
        self.faceless: set[int] = set()
        self.face = np.flatnonzero(model.face_vertices)
        self.normal = vertex_normals(model.mean, model.triangles)[self.face]
        x, y, _ = model.mean[self.face].T / 50
        self.parts = np.stack([np.ones_like(x), y, y * y - 0.5, np.abs(x) - 0.5, x], axis=1)
        self.sizes = np.random.default_rng(0).normal(size=(PERSONS + 1, 5)) * [0.09, 0.03, 0.02, 0.02, 0.02]

    def detect(self, image, *, max_faces):
        assert max_faces == 1
        number = int(image[0, 0, 0])
        face = SimpleNamespace(box=(0, 0, 4, 4), landmarks=np.zeros((478, 2)))
        return [] if number in self.faceless else [face]

    def fit(self, model, image, box, landmarks):
        number = int(image[0, 0, 0])
        self.fits.append(number)
        state = SimpleNamespace(camera=SimpleNamespace(scale=2.0))
        return SimpleNamespace(state=state, spread_mm=self.off_mm.get(number, 1.0))

    def skin(self, model, image, box, state, person, studio):
        number = int(image[0, 0, 0])
        albedo = np.array([0.6, 0.47, 0.4]) * (1 + self.parts @ self.sizes[number])[:, None]
        color = albedo * (sh_basis(self.normal.astype(float)) @ LIGHT)
        weight = np.clip(self.normal[:, 2], 0, 1)
        return Skin(person, studio, *(a.astype(np.float16) for a in (color, self.normal, weight)))


@pytest.fixture
def stage(monkeypatch, toy_model) -> Stage:
    stage = Stage(toy_model)
    monkeypatch.setattr("facerelief.detection.detect_faces", stage.detect)
    monkeypatch.setattr(room, "fit_face", stage.fit)
    monkeypatch.setattr(room, "observe_skin", stage.skin)
    return stage


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Photo]:
    """One photo of each person; odd persons are of group b."""
    folder = tmp_path_factory.mktemp("photos")
    out = []
    for number in range(PERSONS):
        file = folder / f"{number:02}.png"
        assert cv2.imwrite(str(file), np.full((64, 64, 3), number, np.uint8))
        out.append(Photo(file, f"person {number:02}", "ab"[number % 2]))
    return out


def observe(model, photos, *, state=None, **settings) -> tuple[list[Skin], list[str]]:
    """The skins and the notes."""
    notes: list[str] = []
    return observe_photos(model, photos, PhotoConfig(**settings), state, progress=notes.append), notes


class TestObserving:
    def test_every_photo_in_its_order_with_its_person(self, stage, toy_model, photos):
        seen, notes = observe(toy_model, photos)
        assert [skin.person for skin in seen] == [photo.subject for photo in photos]
        assert stage.fits == list(range(PERSONS))
        assert notes == []

    def test_only_groups_named_as_studios_share_their_light(self, stage, toy_model, photos):
        seen, _ = observe(toy_model, photos, studios=("b", "c"))
        assert [skin.studio for skin in seen] == ["", "b"] * (PERSONS // 2)

    def test_bad_photos_are_left_out_with_a_line(self, stage, toy_model, photos, tmp_path):
        broken, absent = tmp_path / "broken.jpg", tmp_path / "absent.jpg"
        broken.write_bytes(b"no picture")
        stage.faceless, stage.off_mm = {2}, {3: 4.5}
        several = [photos[0], Photo(broken, "x", "a"), *photos[1:4], Photo(absent, "y", "a"), photos[4]]
        seen, notes = observe(toy_model, several)
        assert [skin.person for skin in seen] == ["person 00", "person 01", "person 04"]
        assert len(notes) == 4
        for note, file in zip(notes, (broken, photos[2].file, photos[3].file, absent)):
            assert note.startswith(f"left out: {file}: ")
            assert "\n" not in note
        assert "no face found" in notes[1]
        assert "4.5 mm" in notes[2]

    def test_the_limit_on_landmarks_is_a_setting(self, stage, toy_model, photos):
        stage.off_mm = {1: 3.0, 2: 9.0}
        assert len(observe(toy_model, photos[:4], landmark_mm=2.0)[0]) == 2
        assert len(observe(toy_model, photos[:4], landmark_mm=10.0)[0]) == 4


class TestState:
    def test_what_was_seen_is_not_fitted_again(self, stage, toy_model, photos, tmp_path):
        first, _ = observe(toy_model, photos[:3], state=tmp_path / "state")
        again, _ = observe(toy_model, photos[:5], state=tmp_path / "state", studios=("a",))
        assert stage.fits == [0, 1, 2, 3, 4]
        assert [skin.studio for skin in again] == ["a", "", "a", "", "a"]
        for one, two in zip(first, again):
            assert one.person == two.person
            for name in ("color", "normal", "weight"):
                np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert not [file for file in (tmp_path / "state").rglob("*") if "tmp" in file.name]

    def test_bad_landmarks_are_remembered_too(self, stage, toy_model, photos, tmp_path):
        stage.off_mm = {1: 6.0}
        notes = [observe(toy_model, photos[:3], state=tmp_path)[1] for _ in range(2)]
        assert notes[0] == notes[1]
        assert len(observe(toy_model, photos[:3], state=tmp_path, landmark_mm=7.0)[0]) == 3
        assert stage.fits == [0, 1, 2]

    def test_another_model_sees_anew(self, stage, toy_model, photos, tmp_path):
        observe(toy_model, photos[:2], state=tmp_path)
        redder = replace(toy_model, albedo_mean=toy_model.albedo_mean * np.float32([1.01, 1, 1]))
        observe(redder, photos[:2], state=tmp_path)
        renamed = replace(redder, version="other")
        observe(renamed, photos[:2], state=tmp_path)
        assert stage.fits == [0, 1, 0, 1]


class TestBuilding:
    def build(self, model, photos, **settings):
        config = PhotoConfig(**{"fits": 1, "hold_out": 4, "learning": LEARNING, **settings})
        return build_albedo(model, photos, config)

    def test_every_fourth_person_is_held_out(self, stage, toy_model, photos):
        build = self.build(toy_model, photos)
        held_out = {skin.person for skin in build.held_out}
        assert held_out == {f"person {k:02}" for k in range(0, PERSONS, 4)}
        assert held_out.isdisjoint(build.learner.persons)
        assert build.statistics.persons == len(build.learner.persons) == PERSONS - len(held_out)
        assert build.groups == {photo.subject: photo.group for photo in photos}

    def test_all_photos_are_fitted_as_often_as_asked(self, stage, toy_model, photos):
        self.build(toy_model, photos, fits=2)
        assert stage.fits == 2 * list(range(PERSONS))
        with pytest.raises(ModelError, match="at least one"):
            self.build(toy_model, photos, fits=0)

    def test_the_model_gets_the_skin_and_keeps_the_rest(self, stage, toy_model, photos):
        model = self.build(toy_model, photos).model
        assert model.n_albedo == LEARNING.components
        assert model.identity is toy_model.identity
        assert (model.version, model.licence) == (toy_model.version, toy_model.licence)

    def test_version_and_credit_are_written_once(self, stage, toy_model, photos):
        first = self.build(toy_model, photos, version="9", credit="our photos (CC0)").model
        assert first.version == "9"
        assert first.licence == "none needed; skin learned from our photos (CC0)"
        again = self.build(first, photos, credit="our photos (CC0)").model
        assert (again.version, again.licence) == ("9", first.licence)

    def test_too_few_persons(self, stage, toy_model, photos):
        with pytest.raises(ModelError, match="2 persons are too few for 5 albedo components"):
            self.build(toy_model, photos[:3])


class TestReport:
    @pytest.fixture
    def build(self, stage, toy_model, photos):
        config = PhotoConfig(("b",), fits=1, hold_out=4, learning=LEARNING)
        return build_albedo(toy_model, [*photos[:8], *photos], config)

    def test_persons_held_out_are_explained_better_by_components(self, build):
        before = build.learner.statistics
        about = albedo_report(build)
        assert about["persons"] == 18
        assert about["held_out_persons"] == 6
        assert about["held_out_photos"] == 8  # persons 0 and 4 are there twice
        none, all_ = about["residual"]
        assert (none["components"], all_["components"]) == (0, 5)
        assert 0 < all_["all"] < 0.9 * none["all"]
        assert none.keys() == {"components", "all", "a"}  # those held out are of that group alone
        assert build.learner.statistics is before

    def test_tone_of_a_studio(self, build):
        tone = albedo_report(build)["tone"]
        assert tone.keys() == {"b"}
        rows = tone["b"]["rows"]
        assert sum(row["photos"] for row in rows) == 16
        brightness = [row["brightness"] for row in rows]
        assert brightness == sorted(brightness)
        # all are lit alike, and far more tones than lights are expected
        assert abs(tone["b"]["light_share"]) < 0.5
        for row in rows:
            assert row["albedo"] * row["light"] == pytest.approx(row["brightness"], rel=0.05)

    def test_nobody_held_out_nothing_to_compare(self, stage, toy_model, photos):
        config = PhotoConfig(fits=1, hold_out=0, learning=LEARNING)
        about = albedo_report(build_albedo(toy_model, photos, config))
        assert about["persons"] == PERSONS
        assert about["residual"] == []

    def test_files(self, build, tmp_path):
        folder = tmp_path / "new" / "report"
        about = write_albedo_report(build, folder)
        assert json.loads(Path(folder / "albedo_report.json").read_text("utf-8")) == about
        sheet = cv2.imread(str(folder / "albedo_model.jpg"))
        assert sheet is not None
        assert sheet.std() > 10


def test_sheet_of_a_model_without_components(toy_model):
    few, none = (albedo_sheet(toy_model.truncated(albedo=k), 60) for k in (2, 0))
    assert few.dtype == none.dtype == np.uint8
    assert few.shape[0] >= none.shape[0]
