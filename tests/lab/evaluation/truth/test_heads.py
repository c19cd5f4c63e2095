"""Laws of the benchmark on ICT-FaceKit heads: no error for what is right, a known one for the rest; same
seed, same images; intervals that hold their mean. Needs no ICT-FaceKit but for the last test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ict_layout
import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.geometry.alignment import Similarity, procrustes, rotation_from_vector
from facerelief.geometry.camera import WeakPerspective
from facerelief.inverse.landmark_fit import FaceState
from facerelief.lab.evaluation.metrics.face_errors import expression_groups
from facerelief.lab.evaluation.truth import heads as head_truth
from facerelief.lab.evaluation.truth.heads import METHODS, HeadBenchmark, evaluate_heads, find_face
from facerelief.lab.evaluation.truth.heads_draw import (
    GROUPS,
    HEAD_YAW_BINS,
    HEAD_YAW_NAMES,
    HeadTruthConfig,
    render_case,
    sampled_expression,
)
from facerelief.lab.evaluation.truth.heads_errors import (
    MEASURES,
    head_errors,
    nearest_identity,
    nearest_shape,
)
from facerelief.lab.evaluation.truth.heads_ict import (
    in_model_heads,
    known_distance,
    person_coefficients,
    read_heads,
)
from facerelief.lab.evaluation.truth.heads_match import Heads, spread_out
from facerelief.lab.evaluation.truth.heads_report import NEAREST
from facerelief.morphable import open_model, save_model
from facerelief.rendering.rasterizer import rasterize

SHARED = Path(__file__).parents[5] / "shared" / "data" / "ict"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return ict_layout.write_ict_layout(tmp_path_factory.mktemp("heads") / "ict")


@pytest.fixture(scope="module")
def heads(folder) -> Heads:
    return in_model_heads(folder, open_model())


@pytest.fixture(scope="module")
def case(heads):
    return render_case(heads, 3, 2)


def true_shape(heads: Heads, case) -> np.ndarray:
    """The open model's shape that is the case's: the stand-in's components are its own."""
    weights = dict(zip(heads.model.expression_names, case.expression.tolist()))
    return heads.ours.shape(case.identity, heads.ours.expression_weights(weights)).astype(np.float64)


class TestReading:
    def test_file_and_folder_are_the_same(self, folder):
        one, other = read_heads(folder), read_heads(folder / "ict_facekit_light.npz")
        np.testing.assert_array_equal(one.mean, other.mean)
        assert one.regions["narrow_face"].sum() == 6706

    def test_what_is_no_ict_facekit_is_told_in_a_line(self, tmp_path):
        with pytest.raises(ModelError, match="neither generic_neutral_mesh") as caught:
            read_heads(tmp_path)
        assert str(tmp_path) in str(caught.value)
        save_model(open_model().truncated(identity=2, albedo=0), tmp_path / "own.npz")
        with pytest.raises(ModelError, match="not ICT-FaceKit"):
            read_heads(tmp_path / "own.npz")
        with pytest.raises(ModelError, match="cannot be read"):
            read_heads(tmp_path / "absent.npz")


class TestCorrespondence:
    def test_of_the_same_skin_it_is_exact(self, heads):
        assert heads.match.distance_mm.max() < 0.01
        assert heads.match.reliable.mean() > 0.95
        carried, mean = heads.match.carried(heads.ours.mean), heads.model.mean[: heads.skin_count]
        np.testing.assert_allclose(procrustes(mean, carried).apply(mean), carried, atol=0.01)
        assert len(heads.region) > 6500

    def test_points_are_spread_over_the_region(self, heads):
        assert len(heads.points) == 1500
        assert set(heads.points) <= set(heads.region)

        def gap(ids):
            points = heads.model.mean[ids]
            apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e3 * np.eye(len(ids))
            return apart.min(axis=1)

        first = heads.region[:1500]
        assert gap(heads.points).min() > 2 * gap(first).min()

    def test_spread_out_of_few_is_all(self):
        points = np.random.default_rng(0).normal(size=(5, 3))
        assert spread_out(points, 9).tolist() == [0, 1, 2, 3, 4]
        line = np.array([[0.0, 0, 0], [1, 0, 0], [9, 0, 0], [4, 0, 0]])
        assert spread_out(line, 3).tolist() == [0, 2, 3]


class TestErrors:
    def test_the_true_shape_has_none(self, heads, case):
        errors = head_errors(heads, case, true_shape(heads, case))
        assert errors.keys() == set(MEASURES)
        assert max(errors.values()) < 0.02

    def test_motion_and_size_do_not_count_but_for_rigid(self, heads, case):
        shape = heads.ours.shape(np.array([0, 1.0, -1.0, 0.5]))
        before = head_errors(heads, case, shape)
        turn = rotation_from_vector([0.4, -1.1, 0.3])
        moved = head_errors(heads, case, Similarity(1.0, turn, np.array([40.0, -9, 7])).apply(shape))
        assert moved == pytest.approx(before, abs=2e-3)
        grown = head_errors(heads, case, Similarity(1.3, turn, np.array([40.0, -9, 7])).apply(shape))
        assert grown["mean_mm"] == pytest.approx(before["mean_mm"], abs=2e-3)
        assert grown["match_mm"] == pytest.approx(before["match_mm"], abs=2e-3)
        assert grown["rigid_mm"] > 2 * before["rigid_mm"]

    def test_errors_grow_with_noise_as_they_should(self, heads, case):
        rng = np.random.default_rng(0)
        shape, noise = true_shape(heads, case), rng.normal(size=heads.ours.mean.shape)
        found = [head_errors(heads, case, shape + sigma * noise) for sigma in (0.0, 0.2, 0.4, 0.8)]
        for name in MEASURES:
            values = [errors[name] for errors in found]
            assert values == sorted(values)
        # of corresponding points: the mean length of a normal vector, sigma sqrt(8 / pi)
        assert found[1]["match_mm"] == pytest.approx(0.2 * np.sqrt(8 / np.pi), rel=0.05)
        assert found[1]["mean_mm"] < found[1]["match_mm"]

    def test_what_is_no_shape_is_refused(self, heads, case):
        with pytest.raises(ValueError, match="finite"):
            head_errors(heads, case, np.full_like(heads.ours.mean, np.nan))
        with pytest.raises(ValueError, match="shape"):
            head_errors(heads, case, heads.ours.mean[:9])


class TestNearest:
    def test_it_finds_what_the_open_model_can_show(self, heads, case):
        floor = head_errors(heads, case, heads.ours.mean)
        found = head_errors(heads, case, nearest_shape(heads, case, spread_mm=0.01))
        assert found["match_mm"] < 0.05 < floor["match_mm"]
        assert found["mean_mm"] < 0.05 < floor["mean_mm"]

    def test_the_identity_of_a_neutral_head_is_found(self, heads, case):
        found = nearest_identity(heads, heads.model.shape(case.identity).astype(np.float64), spread_mm=0.01)
        np.testing.assert_allclose(found[: len(case.identity)], case.identity, atol=0.1)

    def test_it_is_measured_with_the_methods(self, heads, monkeypatch):
        monkeypatch.setattr(head_truth, "find_face", lambda case: None)
        row = HeadBenchmark(heads, {}, HeadTruthConfig(size=64, face_px=36), nearest=True).measure((0, 1, 0))
        assert row.errors[NEAREST]["mean_mm"] < 0.5 * row.errors["mean_face"]["mean_mm"]


class TestPictures:
    def test_same_seed_same_picture(self, heads, case):
        again = render_case(heads, 3, 2, HeadTruthConfig(persons=99))
        np.testing.assert_array_equal(case.image, again.image)
        np.testing.assert_array_equal(case.vertices, again.vertices)
        other = render_case(heads, 3, 2, HeadTruthConfig(seed=1))
        assert (other.identity != case.identity).any()
        assert (other.image != case.image).any()

    def test_bins_groups_and_persons(self, heads):
        small = HeadTruthConfig(size=64, face_px=36)
        cases = [render_case(heads, person, number, small) for person in range(5) for number in range(5)]
        for c in cases:
            low, high = HEAD_YAW_BINS[HEAD_YAW_NAMES.index(c.yaw_bin)]
            assert low <= abs(np.degrees(c.camera.yaw)) <= high
            wanted = () if c.group == "other" else (c.group,)
            assert expression_groups(heads.model, c.expression) == wanted
            np.testing.assert_array_equal(c.identity, person_coefficients(0, c.person, 4))
        assert len({(c.yaw_bin, c.group) for c in cases}) == len(HEAD_YAW_NAMES) * len(GROUPS)
        for person in range(5):
            assert {c.group for c in cases if c.person == person} == set(GROUPS)
        signs = [np.sign(c.camera.yaw) for c in cases]
        assert {-1, 1} == set(signs)

    @pytest.mark.parametrize("group", GROUPS)
    def test_groups_of_all_arkit_units(self, group):
        ours = open_model()
        for seed in range(40):
            weights = sampled_expression(ours.expression_names, group, np.random.default_rng(seed))
            assert 0 <= weights.min() <= weights.max() <= 1
            assert expression_groups(ours, weights) == (() if group == "other" else (group,))

    def test_the_picture_shows_the_true_shape(self, heads):
        plain = HeadTruthConfig(size=160, face_px=100, noise=0.0)
        grey = [np.full((40, 40, 3), 255, np.uint8)]
        case = render_case(heads, 1, 1, plain, grey)
        uvz = case.camera.project(heads.model.shape(case.identity, case.expression))
        np.testing.assert_allclose(
            case.vertices, case.camera.to_camera(heads.model.shape(case.identity, case.expression)), atol=1e-3
        )
        mask = rasterize(uvz, heads.model.triangles, 160, 160).mask
        white = (case.image > 250).all(axis=2)
        above = np.arange(160) < case.box[3]  # no shoulders there
        assert (white & mask)[above].sum() < 0.02 * mask[above].sum()
        assert case.box[:2].min() >= 0
        assert case.box[2:].max() <= 160

    def test_backgrounds_are_used(self, heads):
        small = HeadTruthConfig(size=64, face_px=36)
        red = render_case(heads, 0, 0, small, [np.full((30, 50, 3), (255, 0, 0), np.uint8)])
        named = render_case(
            heads, 0, 0, small, ["a"], lambda name: np.full((30, 50, 3), (255, 0, 0), np.uint8)
        )
        np.testing.assert_array_equal(red.image, named.image)
        corner = red.image[:8, :8].astype(int)
        assert (corner[..., 0] > 200).all()
        assert (corner[..., 1] < 50).all()

    def test_the_detector_finds_them(self, heads, case):
        face = find_face(case)
        assert face is not None
        assert find_face(replace(case, image=np.full_like(case.image, 99))) is None

    def test_an_unknown_group(self):
        with pytest.raises(ValueError, match="angry"):
            sampled_expression(("jawOpen",), "angry", np.random.default_rng(0))


class TestPersons:
    def test_those_the_open_model_was_made_from_are_known(self):
        from facerelief.lab.building.population import PopulationConfig

        config = PopulationConfig()
        draws = np.random.default_rng(config.seed).standard_normal((config.persons, 100))
        assert known_distance(draws[[5, -1]].astype(np.float32), config.persons, config.seed) < 1e-3
        assert known_distance(draws[-1:].astype(np.float32)) < 1e-3  # the defaults are the builder's

    def test_ours_are_others(self):
        for seed in (0, 1, 2):
            people = np.stack([person_coefficients(seed, person, 100) for person in range(60)])
            assert known_distance(people) > 7


def test_what_fails_or_sees_nothing_has_the_mean_faces_error(heads, monkeypatch):
    def broken(image, face):
        raise ModelError("no shape today")

    def still(image, face):
        camera = WeakPerspective(0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        return FaceState(camera, np.zeros(2, np.float32), np.zeros(3, np.float32))

    row = HeadBenchmark(heads, {"net": broken, "fit": still}, HeadTruthConfig()).measure((0, 0, 1))
    assert row.found
    assert row.failed == {"net": "no shape today"}
    assert row.errors["net"] == row.errors["mean_face"]
    assert row.errors["fit"] == pytest.approx(row.errors["mean_face"])
    monkeypatch.setattr(head_truth, "find_face", lambda case: None)
    row = HeadBenchmark(heads, {"fit": broken}, HeadTruthConfig()).measure((0, 0, 1))
    assert not row.found
    assert row.failed == {}
    assert row.errors["fit"] == row.errors["mean_face"]


class TestRun:
    def test_landmarks_beat_nothing_but_are_measured(self, heads):
        done = []
        about = evaluate_heads(
            heads, ["landmarks"], HeadTruthConfig(persons=2), progress=lambda n, of: done.append((n, of))
        )
        assert done == [(k, 10) for k in range(1, 11)]
        assert list(about.report.mean_mm) == ["mean_face", "landmarks"]
        assert 0.1 < about.report.mean_mm["landmarks"] < 4
        assert about.report.found.whole.found >= 8
        assert about.not_measured == {}
        assert about.heads.model == "ict-facekit"

    def test_a_missing_network_is_told(self, heads, tmp_path, monkeypatch):
        monkeypatch.setattr(head_truth, "find_face", lambda case: None)
        about = evaluate_heads(heads, ["e2far", NEAREST], HeadTruthConfig(persons=2), nets=tmp_path)
        assert about.report.mean_mm[NEAREST] < about.report.mean_mm["mean_face"]
        assert "e2far" in about.not_measured
        assert np.isnan(about.report.mean_mm["e2far"])
        with pytest.raises(ModelError, match=r"coarse\.onnx"):
            evaluate_heads(heads, ["net"], HeadTruthConfig(persons=2), nets=tmp_path)

    def test_wrong_settings(self, heads):
        with pytest.raises(ValueError, match="magic"):
            evaluate_heads(heads, ["magic"])
        with pytest.raises(ValueError, match="persons"):
            evaluate_heads(heads, config=HeadTruthConfig(persons=1))

    @pytest.mark.slow
    def test_workers_change_nothing(self, heads):
        one, two = (
            evaluate_heads(heads, ["landmarks", "net"], HeadTruthConfig(persons=2), workers=n) for n in (1, 2)
        )
        assert one.report.methods == two.report.methods


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the developers' shared data folder is absent")
def test_the_real_heads() -> None:
    both = in_model_heads(SHARED, open_model())
    assert len(both.region) > 6400
    assert both.match.distance_mm[both.region].mean() < 0.15
    about = evaluate_heads(both, METHODS, HeadTruthConfig(persons=4))
    assert about.report.found.whole.found >= 18
    values = about.report.mean_mm
    assert values["fit"] < values["landmarks"] < values["mean_face"] < 3
