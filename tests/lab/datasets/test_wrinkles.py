"""Drawn wrinkles in photos: exact labels, the photo itself without them, confounders in the image alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.geometry import WeakPerspective
from facerelief.inverse.detail import coarse_depth
from facerelief.io.digest import file_digest
from facerelief.lab.datasets.engine import synthesize
from facerelief.lab.datasets.fits import Fit, FitFolder
from facerelief.lab.datasets.kinds import KINDS
from facerelief.lab.datasets.manifest import Recipe
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.datasets.wrinkle_lines import Line, anatomy, heights
from facerelief.lab.datasets.wrinkle_marks import skin_marks
from facerelief.lab.datasets.wrinkle_skin import SkinBase, bare_skin
from facerelief.lab.datasets.wrinkles import WrinkleConfig, WrinkleMaker
from facerelief.morphable import FaceModel, open_model
from facerelief.rendering import directional_light, shade
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.synthesis.relief_photo import ReliefPhoto
from facerelief.synthesis.transfer import ReliefView

PLAIN = WrinkleConfig(size=128, marks=0.0, camera=0.0, smooth=0.0, age=(0.9, 1.0), relit=0.0)


def add_fit(model: FaceModel, root: Path, person: str, yaw: float = 0.0) -> None:
    """A rendered face as a photo, and what a fit would have found."""
    import cv2

    from facerelief.geometry.normals import vertex_normals

    size, scale = 320, 1.5
    camera = WeakPerspective(0.0, yaw, 0.0, size / 2, 0.45 * size, scale)
    vertices = model.shape(np.zeros(model.n_identity, np.float32))
    light = directional_light((0.4, 0.5, 0.8), color=0.5, ambient=0.35).astype(np.float32)
    drawn = rasterize(camera.project(vertices), model.triangles, size, size, cull_backfaces=True)
    skin = model.skin(np.zeros(model.n_albedo, np.float32))
    colors = skin * shade(vertex_normals(camera.to_camera(vertices), model.triangles), light)
    image = np.where(drawn.mask[..., None], interpolate(drawn, model.triangles, colors), 0.4)
    for folder in ("photos/g", "fits/g"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    file = root / "photos" / "g" / f"{person}.png"
    cv2.imwrite(str(file), (255 * np.clip(image, 0, 1)).astype(np.uint8)[..., ::-1])
    depth = coarse_depth(model, vertices, camera, image.shape)
    relief = np.where(np.isnan(depth.depth), np.iinfo(np.int16).min, 0).astype(np.int16)
    about = {
        "file": f"g/{person}.png",
        "sha256": file_digest(file),
        "person": person,
        "family": person,
        "group": "g",
        "licence": "none needed",
        "box": [0.0, 0.0, 1.0, 1.0],
        "confidence": 0.95,
        "warnings": [],
    }
    np.savez(
        root / "fits" / "g" / f"{person}.fit.npz",
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        camera=camera.vector,
        identity=np.zeros(model.n_identity, np.float32),
        expression=np.zeros(model.n_expression, np.float32),
        albedo=np.zeros(model.n_albedo, np.float32),
        light=light,
        landmarks=np.zeros((478, 2), np.float32),
        relief=relief,
        corner=np.array([depth.left, depth.top]),
    )


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return open_model("open2")


@pytest.fixture(scope="module")
def fits(model: FaceModel, tmp_path_factory: pytest.TempPathFactory) -> FitFolder:
    root = tmp_path_factory.mktemp("wrinkles")
    for number, person in enumerate(("one", "two", "three")):
        add_fit(model, root, person, 0.15 * number)
    index = {
        "format": 1,
        "photos": str(root / "photos"),
        "model": model.name,
        "model_version": str(model.version),
    }
    (root / "fits" / "fits.json").write_text(json.dumps(index))
    return FitFolder(root / "fits")


@pytest.fixture(scope="module")
def fit(fits: FitFolder) -> Fit:
    return fits.load("g/one")


@pytest.fixture(scope="module")
def base(fits: FitFolder, fit: Fit, model: FaceModel) -> SkinBase:
    return SkinBase(view_of(fits, fit, model))


def view_of(fits: FitFolder, fit: Fit, model: FaceModel) -> ReliefView:
    photo = ReliefPhoto(
        model,
        fits.image(fit),
        fit.camera,
        fit.identity,
        fit.expression,
        fit.albedo,
        fit.light,
        fit.relief,
    )
    return ReliefView(photo, photo.crop)


def only(config: WrinkleConfig, fits: FitFolder, fit: Fit, model: FaceModel, seed: int = 0) -> Sample:
    return next(iter(WrinkleMaker(fits, model, config)(fit, 1, seed)))


def test_no_displacement_gives_the_photo_back(base):
    place = anatomy(base.view.photo.model)
    drawn = base.drawn(np.zeros(place.shape, np.float32), None, 0.5, None)
    assert not drawn.displacement.any()
    assert np.array_equal(base.view.multiplied(drawn.factor), base.view.image)


def test_a_line_across_the_forehead_has_its_depth_in_the_label(base):
    place = anatomy(base.view.photo.model)
    points = np.column_stack([np.linspace(-30, 30, 40), np.full(40, place.marks[24, 1] + 15)])
    height = heights([Line(points, np.full(40, 0.6), 3.0, 2.0, shoulder=0.0)], place)
    drawn = base.drawn(height, None, 0.5, None)
    inside = base.known > 0.95
    # displacement is along camera z, depth along the normal, which is slanted there
    found = drawn.displacement * base.view.normals[..., 2]
    assert found[inside].min() == pytest.approx(-0.6, abs=0.06)
    assert found[inside].max() < 0.02
    grey = drawn.factor.mean(axis=2)
    assert grey[inside].min() < 0.93
    assert grey[inside].max() > 1.02  # one wall faces the light


def test_marks_change_the_image_and_not_the_heights(base):
    place = anatomy(base.view.photo.model)
    height = heights([Line(np.array([(-20.0, -40.0), (20, -40)]), np.full(2, 0.3), 2.0)], place)
    marks = skin_marks(place, 0.5, np.random.default_rng(3), 2.0)
    with_, without = (base.drawn(height, None, 0.5, m) for m in (marks, None))
    assert np.array_equal(with_.displacement, without.displacement)
    assert not np.allclose(with_.factor, without.factor)


def test_confounders_leave_the_labels_heights_unchanged(fits, fit, model):
    marked = WrinkleConfig(**(PLAIN.__dict__ | {"marks": 3.0, "camera": 1.0}))
    one, other = only(PLAIN, fits, fit, model), only(marked, fits, fit, model)
    for name in ("displacement", "depth_coarse", "mask", "known"):
        assert np.array_equal(one.labels[name], other.labels[name]), name
    assert not np.array_equal(one.image, other.image)
    assert other.labels["trust"].mean() < one.labels["trust"].mean()


def test_the_same_seed_gives_the_same_samples_however_many_are_made(fits, fit, model):
    config = WrinkleConfig(size=96)
    few = list(WrinkleMaker(fits, model, config)(fit, 1, 5))
    many = list(WrinkleMaker(fits, model, config)(fit, 2, 5))
    assert np.array_equal(few[0].image, many[0].image)
    for name, value in few[0].labels.items():
        assert np.array_equal(value, many[0].labels[name]), name
    other = next(iter(WrinkleMaker(fits, model, config)(fit, 1, 6)))
    assert not np.array_equal(other.image, few[0].image)


def test_shards_are_the_same_after_a_stop_and_hold_what_fine_net_reads(fits, tmp_path):
    recipe = Recipe(
        KINDS["wrinkles"],
        WrinkleConfig(size=96),
        per_photo=1,
        splits=("train", "val", "test"),
        photos_per_shard=1,
    )
    whole = synthesize(fits, tmp_path / "a", recipe)
    shard = whole["shards"][0]["file"]
    synthesize(fits, tmp_path / "b", recipe)
    (tmp_path / "b" / shard).unlink()
    (tmp_path / "b" / "manifest.json").unlink()
    again = synthesize(fits, tmp_path / "b", recipe)
    assert [s["sha256"] for s in whole["shards"]] == [s["sha256"] for s in again["shards"]]
    assert sum(row["samples"] for row in whole["counts"].values()) == 3


def test_smooth_samples_have_no_relief_and_old_ones_have(fits, fit, model):
    still = only(WrinkleConfig(**(PLAIN.__dict__ | {"smooth": 1.0})), fits, fit, model)
    assert not still.labels["displacement"].any()
    assert still.labels["age"] == 0
    old = only(PLAIN, fits, fit, model)
    assert old.labels["displacement"].astype(np.float32).min() < -0.1
    assert np.abs(old.labels["displacement"][old.labels["mask"] == 0]).max() == 0


def test_heights_stay_within_human_bounds(fits, model):
    maker = WrinkleMaker(fits, model, WrinkleConfig(strength=(3.0, 3.0)))
    for seed in range(3):
        found = maker.height(1.15, {"mouthSmileLeft": 1.0, "browInnerUp": 1.0}, np.random.default_rng(seed))
        assert -1.3 <= found.min() < -0.5
        assert 0.5 < found.max() <= 2.2


def test_a_new_light_changes_the_image_alone(fits, fit, model):
    one, other = (
        only(WrinkleConfig(**(PLAIN.__dict__ | {"relit": share})), fits, fit, model) for share in (0.0, 1.0)
    )
    assert np.array_equal(one.labels["displacement"], other.labels["displacement"])
    assert not np.allclose(one.labels["light"], other.labels["light"])
    assert np.abs(one.image.astype(int) - other.image).max() > 20


def test_rough_small_and_hidden_faces_are_refused_in_one_line(fits, fit, model):
    for change, text in (
        ({"roughest": 0.0}, "smoother skin"),
        ({"least_face_px": 500.0}, "larger photo"),
        ({"least_skin": 1.01}, "bare"),
    ):
        maker = WrinkleMaker(fits, model, WrinkleConfig(**(PLAIN.__dict__ | change)))
        with pytest.raises(FacereliefError, match=rf"^g/one: [^\n]*{text}"):
            next(iter(maker(fit, 1, 0)))


def test_wrong_ranges_are_refused():
    for change in ({"size": 8}, {"strength": (1.0, 0.5)}, {"pores": (-1.0, 0.0)}):
        with pytest.raises(ValueError, match="expected"):
            WrinkleConfig(**change)


def test_bare_skin_leaves_out_eyes_lips_and_nostrils(model):
    found = bare_skin(model)
    marks = model.landmarks["ibug68"].of(model.mean)

    def at(point):
        return found[np.linalg.norm(model.mean - point, axis=1).argmin()]

    assert at(marks[27]) == pytest.approx(1, abs=0.01)
    assert at(marks[51]) < 0.2
    assert at(marks[37]) < 0.2
