"""Groups: known tones, files of people in both layouts, ages."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.lab.evaluation.metrics.groups import (
    AGE,
    GENDER,
    TONE,
    TONES,
    Person,
    age_group,
    group_names,
    groups_of,
    read_people,
    skin_tone,
    tone_group,
    typology_angle,
)
from facerelief.morphable.landmark_sets import IBUG68_AMONG_MEDIAPIPE


class TestTone:
    def test_the_angle_of_known_colours(self):
        assert typology_angle(60, 10) == pytest.approx(45)
        assert typology_angle(40, 10) == pytest.approx(-45)
        assert typology_angle(50, 15) == 0
        assert typology_angle(80, -3) == 90  # no yellow: the limit

    def test_groups_meet_at_their_limits(self):
        for (name, least), (below, _) in itertools.pairwise(TONES):
            assert tone_group(least + 0.01) == name
            assert tone_group(least) == below
        assert tone_group(-90) == "dark"
        assert tone_group(float("nan")) == ""

    @pytest.mark.parametrize("colour", [(236, 196, 170), (190, 140, 100), (90, 60, 45)])
    def test_a_picture_of_one_colour(self, toy_model, toy_camera, colour):
        image = np.full((160, 120, 3), colour, np.uint8)
        marks = np.full((478, 2), np.nan)
        points = toy_camera.project(toy_model.landmarks["ibug68"].of(toy_model.mean))[:, :2]
        marks[list(IBUG68_AMONG_MEDIAPIPE)] = points
        lab = cv2.cvtColor(np.float32([[colour]]) / 255, cv2.COLOR_RGB2LAB)[0, 0]
        assert skin_tone(toy_model, image, marks) == pytest.approx(typology_angle(lab[0], lab[2]), abs=0.1)
        assert np.isnan(skin_tone(toy_model, image, marks + 1000))


class TestPeople:
    def test_our_own_columns(self, tmp_path):
        file = tmp_path / "people.csv"
        file.write_text("person,age,gender,note\nanna,31,Female,x\nben,,male,\nkim,7.5,,\n")
        people = read_people(file)
        assert people.find("anna", "a/1.jpg") == Person(31, "female")
        assert people.find("ben", "") == Person(None, "male")
        assert people.find("kim", "") == Person(7.5, "")
        assert people.find("zoe", "001_03.jpg") is None

    @pytest.mark.parametrize("column", ["face_sex", "face_gender"])
    def test_the_london_sets_columns(self, tmp_path, column):
        file = tmp_path / "london_faces_info.csv"
        file.write_text(f"face_id,face_age,{column},face_eth\nX001,24,female,white\nX031,,male,white\n")
        people = read_people(file)
        assert people.find("london001", "london/001_08.jpg") == Person(24, "female")
        assert people.find("whoever", "031_03.jpg") == Person(None, "male")
        assert people.find("london001", "001.jpg") is None
        assert people.find("x", "1001_03.jpg") is None

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("name,age\na,3\n", "expected the columns person and age or gender"),
            ("person,town\na,b\n", "found person, town"),
            ("", "found nothing"),
            ("person,age\na,old\n", "line 2: age 'old'"),
            ("person,age\na,30\nb,-4\n", "line 3: age '-4'"),
            ("person,age\na,30\na,31\n", "line 3: a a second time"),
            ("person,age\n,30\n", "line 2: no person"),
        ],
    )
    def test_other_files_end_in_one_line(self, tmp_path, text, told):
        file = tmp_path / "people.csv"
        file.write_text(text)
        with pytest.raises(FacereliefError, match=told) as caught:
            read_people(file)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_no_such_file(self, tmp_path):
        with pytest.raises(FacereliefError, match="cannot be read"):
            read_people(tmp_path / "none.csv")

    def test_age_groups(self):
        assert [age_group(x) for x in (None, 0, 24, 25, 34.9, 35, 49, 50, 99)] == [
            "",
            "under 25",
            "under 25",
            "25 to 34",
            "25 to 34",
            "35 to 49",
            "35 to 49",
            "50 and over",
            "50 and over",
        ]

    def test_groups_in_their_order(self):
        assert group_names(TONE, ["dark", "", "light", "dark"]) == ["light", "dark"]
        assert group_names(AGE, ["50 and over", "under 25"]) == ["under 25", "50 and over"]
        assert group_names(GENDER, ["male", "", "female"]) == ["female", "male"]


def test_groups_of_a_photo(tmp_path):
    file = tmp_path / "people.csv"
    file.write_text("person,age\nanna,31\n")
    people = read_people(file)
    assert groups_of(people, "anna", "x.jpg", 50) == {TONE: "light", AGE: "25 to 34", GENDER: ""}
    assert groups_of(people, "ben", "x.jpg", float("nan")) == {TONE: "", AGE: "", GENDER: ""}
