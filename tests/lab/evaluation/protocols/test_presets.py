"""Known answers of every preset: moved copies, noise of known size, mirror images, wrong units."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.lab.evaluation.protocols.presets import PRESETS, preset
from facerelief.lab.evaluation.protocols.problems import EvaluationError

HALF_NORMAL = float(np.sqrt(2 / np.pi))
MEDIAN = 0.6745
ZERO = {"micc-genova": 0.05}
"""mm that count as nothing, 0.02 for the others: the back of an eyelid lies next to the scan, too."""

MAIN = {
    "now": "mean",
    "now-metrical": "mean",
    "micc-deep3d": "rmse",
    "micc-genova": "mean",
    "realy-like": "all",
    "bu3dfe-rmse": "rmse",
    "true-error": "mean",
}
"""The number of a case that its table is made of."""
SCALE_FREE = ("now", "micc-deep3d", "micc-genova", "realy-like")
METRIC = ("now-metrical", "bu3dfe-rmse", "true-error")


def value(report, name: str) -> float:
    assert not report.missing
    assert not report.refused, report.refused
    return float(np.mean([score.values[name] for score in report.scores]))


@pytest.mark.parametrize("name", MAIN)
def test_a_moved_copy_scores_zero(name, person, moves, run, tmp_path):
    scale = 1.2 if name in SCALE_FREE else 1.0
    data = person.data(name, tmp_path / "data")
    found = run(name, data, person.predict(name, tmp_path / "mine", moves["moved"](scale)))
    assert value(found, MAIN[name]) < ZERO.get(name, 0.02)
    assert found.asked == len(found.scores) > 0
    assert not found.warnings


@pytest.mark.parametrize("name", METRIC)
def test_without_scale_a_larger_copy_does_not(name, person, moves, run, tmp_path):
    data = person.data(name, tmp_path / "data")
    found = run(name, data, person.predict(name, tmp_path / "mine", moves["moved"](1.1)))
    assert value(found, MAIN[name]) > 0.5
    beside = {"bu3dfe-rmse": "rmse_with_scale", "true-error": "mean_with_scale"}.get(name)
    if beside is not None:
        assert value(found, beside) < 0.02


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("now", HALF_NORMAL),
        ("now-metrical", HALF_NORMAL),
        ("micc-deep3d", 1.0),
        ("bu3dfe-rmse", 1.0),
        ("true-error", HALF_NORMAL),
    ],
)
def test_one_millimetre_of_noise_scores_what_theory_says(name, expected, person, moves, run, tmp_path):
    scale = 1.2 if name in SCALE_FREE else 1.0
    data = person.data(name, tmp_path / "data", noise=1.0)
    found = run(name, data, person.predict(name, tmp_path / "mine", moves["moved"](scale)))
    assert value(found, MAIN[name]) == pytest.approx(expected, rel=0.04)
    if name == "now":
        assert found.summary.rows["all"]["median"] == pytest.approx(MEDIAN, rel=0.04)
        assert found.summary.rows["all"]["std"] == pytest.approx(np.sqrt(1 - 2 / np.pi), rel=0.05)


def test_noise_in_both_directions_and_by_regions(person, moves, run, tmp_path):
    """Of the two directions one is the half-normal mean; from a smooth surface to a rough one it is less."""
    found = run(
        "micc-genova",
        person.data("micc-genova", tmp_path / "a", 1.0),
        person.predict("micc-genova", tmp_path / "b"),
    )
    assert 0.75 * HALF_NORMAL < value(found, "mean") < HALF_NORMAL
    found = run(
        "realy-like",
        person.data("realy-like", tmp_path / "c", 1.0),
        person.predict("realy-like", tmp_path / "d"),
    )
    for region in ("nose", "mouth", "forehead", "cheek", "all"):
        assert value(found, region) == pytest.approx(HALF_NORMAL, rel=0.2)


@pytest.mark.parametrize("name", MAIN)
def test_a_mirrored_face_is_refused(name, person, moves, run, tmp_path):
    data = person.data(name, tmp_path / "data")
    found = run(name, data, person.predict(name, tmp_path / "mine", moves["mirrored"]()))
    assert not found.scores
    assert len(found.refused) == found.asked
    assert all("mirror" in why and "left-handed" in why and "\n" not in why for why in found.refused.values())


@pytest.mark.parametrize("name", SCALE_FREE)
def test_wrong_units_warn_where_scale_is_estimated(name, person, moves, run, tmp_path):
    data = person.data(name, tmp_path / "data")
    mine = person.predict(name, tmp_path / "mine", moves["moved"](0.1))
    found = run(name, data, mine)
    assert value(found, MAIN[name]) < ZERO.get(name, 0.02)
    assert any("looks like cm" in w and "--unit cm" in w for w in found.warnings)
    assert not run(name, data, mine, unit="cm").warnings


@pytest.mark.parametrize("name", METRIC)
def test_wrong_units_are_refused_where_scale_counts(name, person, run, tmp_path):
    data = person.data(name, tmp_path / "data")
    for unit, factor in (("cm", 0.1), ("m", 0.001))[: 1 + (name == "true-error")]:
        mine = person.predict(name, tmp_path / unit, lambda p, f=factor: p * f)
        found = run(name, data, mine)
        assert not found.scores
        assert all(f"--unit {unit}" in why for why in found.refused.values())
        assert value(run(name, data, mine, unit=unit), MAIN[name]) < ZERO.get(name, 0.02)


def test_scans_in_wrong_units_ask_too(person, run, tmp_path):
    data = person.data("now", tmp_path / "data", unit=0.1)
    mine = person.predict("now", tmp_path / "mine")
    assert all("--data-unit cm" in why for why in run("now", data, mine).refused.values())
    assert value(run("now", data, mine, data_unit="cm"), "mean") < 0.02


@pytest.mark.parametrize("name", ["now", "micc-deep3d", "micc-genova", "bu3dfe-rmse"])
def test_holes_in_the_scan_change_nothing(name, person, moves, run, tmp_path):
    near = np.linalg.norm(person.vertices - person.marks[[2, 14, 30]][:, None], axis=2).min(axis=0) < 12
    whole = person.skin & ~near
    data = person.data(name, tmp_path / "data", scan=person.scan(whole))
    found = run(name, data, person.predict(name, tmp_path / "mine", moves["moved"]()))
    assert value(found, MAIN[name]) < ZERO.get(name, 0.02)


def test_ply_and_obj_score_alike(person, moves, run, tmp_path):
    data = person.data("now", tmp_path / "data", noise=0.5)
    a, b = (
        run("now", data, person.predict("now", tmp_path / f"mine{ply}", moves["moved"](), ply=ply))
        for ply in (False, True)
    )
    assert value(a, "mean") == pytest.approx(value(b, "mean"), abs=1e-4)


def test_rows_and_the_curve_of_now(person, run, tmp_path):
    data = person.data("now", tmp_path / "data", noise=1.0)
    about = run("now", data, person.predict("now", tmp_path / "mine"))
    assert set(about.summary.rows) == {"multiview_neutral", "all"}
    curve = dict(about.summary.curve_mm_percent)
    assert next(iter(curve)) == 0
    assert list(curve)[-1] == 7
    assert curve[1.0] == pytest.approx(68.3, abs=3)
    assert curve[7.0] == pytest.approx(100)


def test_the_better_of_two_scans_counts_for_genova(person, run, tmp_path):
    from facerelief.io.obj import write_obj

    data = person.data("micc-genova", tmp_path / "data")
    write_obj(data / "subject_01/Model/frontal2/obj/1109.obj", person.scan(noise=2.0))
    found = run("micc-genova", data, person.predict("micc-genova", tmp_path / "mine"))
    for score in found.scores:
        assert score.values["mean"] == score.values["frontal1"] < score.values["frontal2"]


def test_a_mask_says_which_vertices_count(person, run, tmp_path):
    data = person.data("true-error", tmp_path / "data")
    nose = np.flatnonzero(person.regions["nose"])

    def bump(points: np.ndarray) -> np.ndarray:
        out = points.copy()
        out[~person.regions["nose"], 2] += 3.0
        return out

    mine = person.predict("true-error", tmp_path / "mine", bump)
    assert value(run("true-error", data, mine), "mean") > 0.1
    (data / "mask.txt").write_text(" ".join(map(str, nose)), "utf-8")
    assert value(run("true-error", data, mine), "mean") < 1e-3


def test_presets_are_named_and_told():
    assert {p.name for p in PRESETS} == set(MAIN) | {"aflw2000"}
    assert all(p.about and "\n" not in p.about for p in PRESETS)
    with pytest.raises(EvaluationError, match="no such preset"):
        preset("nope")
