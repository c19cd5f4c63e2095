"""FineData: the same samples for the same seed, the photo itself first, nothing across splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.geometry import WeakPerspective
from facerelief.inverse.detail import coarse_depth
from facerelief.io.digest import file_digest
from facerelief.lab.datasets.fine import FineConfig, FineMaker
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.datasets.splits import split_of
from facerelief.morphable import FaceModel, open_model
from facerelief.rendering import directional_light
from facerelief.rendering.rasterizer import interpolate, rasterize
from facerelief.synthesis.transfer import ReliefView

PEOPLE = [
    *[f"train{k}" for k in range(40) if split_of(f"train{k}") == "train"][:3],
    next(f"held{k}" for k in range(200) if split_of(f"held{k}") == "test"),
]


def add_fit(model: FaceModel, root: Path, person: str, number: int, scale: float = 1.6) -> None:
    """A photo of a drawn face, and what a fit would have found."""
    import cv2

    size = int(220 * scale)
    camera = WeakPerspective(0.0, 0.1 * number, 0.0, size / 2, 0.4 * size, scale)
    rng = np.random.default_rng(number)
    identity = rng.normal(size=model.n_identity).astype(np.float32) * 0.5
    vertices = model.shape(identity)
    drawn = rasterize(camera.project(vertices), model.triangles, size, size, cull_backfaces=True)
    image = np.where(drawn.mask[..., None], interpolate(drawn, model.triangles, model.albedo_mean), 0.4)
    file = root / "photos" / "g" / f"{person}.png"
    cv2.imwrite(str(file), (255 * np.clip(image, 0, 1)).astype(np.uint8)[..., ::-1])
    depth = coarse_depth(model, vertices, camera, image.shape)
    rows = np.arange(depth.depth.shape[0])[:, None]
    relief = np.rint(40 * np.sin(rows / (2 + number)) + 0 * np.nan_to_num(depth.depth))
    relief[np.isnan(depth.depth)] = np.iinfo(np.int16).min
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
        identity=identity,
        expression=np.zeros(model.n_expression, np.float32),
        albedo=np.zeros(model.n_albedo, np.float32),
        light=directional_light((0.3 * number, 0.5, 0.8), color=0.6, ambient=0.3).astype(np.float32),
        landmarks=np.zeros((478, 2), np.float32),
        relief=relief.astype(np.int16),
        corner=np.array([depth.left, depth.top]),
    )


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return open_model()


@pytest.fixture(scope="module")
def fits(model: FaceModel, tmp_path_factory: pytest.TempPathFactory) -> FitFolder:
    root = tmp_path_factory.mktemp("fine")
    for folder in ("photos/g", "fits/g"):
        (root / folder).mkdir(parents=True)
    about = {"format": 1, "photos": str(root / "photos"), "model": model.name, "model_version": model.version}
    (root / "fits" / "fits.json").write_text(json.dumps(about))
    for number, person in enumerate(PEOPLE):
        add_fit(model, root, person, number)
    return FitFolder(root / "fits")


@pytest.fixture(scope="module")
def maker(fits: FitFolder, model: FaceModel) -> FineMaker:
    return FineMaker(fits, model, FineConfig(source_seen=0.1))


def test_sources_are_of_the_same_split(maker: FineMaker, fits: FitFolder) -> None:
    assert {s.name for s in maker.pool("train")} == {f"g/{p}" for p in PEOPLE[:3]}
    assert {s.name for s in maker.pool("test")} == {f"g/{PEOPLE[3]}"}
    assert maker.pool("val") == ()
    strengths = [s.strength for s in maker.pool("train")]
    assert strengths == sorted(strengths, reverse=True)
    for sample in maker(fits.load(f"g/{PEOPLE[0]}"), 6, 0):
        assert sample.about.get("relief_from") in {None, *(f"g/{p}" for p in PEOPLE[1:3])}


def test_a_person_alone_in_a_split_keeps_the_own_relief(maker: FineMaker, fits: FitFolder) -> None:
    for sample in maker(fits.load(f"g/{PEOPLE[3]}"), 2, 0):
        assert "relief_from" not in sample.about
        assert not sample.labels["gains"][:3].any()


def test_samples_depend_on_seed_name_and_number_alone(
    maker: FineMaker, fits: FitFolder, model: FaceModel
) -> None:
    fit = fits.load(f"g/{PEOPLE[1]}")
    many = list(maker(fit, 4, 7))
    fresh = FineMaker(fits, model, FineConfig(source_seen=0.1))
    few = list(fresh(fit, 3, 7))
    for a, b in zip(many, few):
        assert a.key == b.key
        assert a.about == b.about
        assert np.array_equal(a.image, b.image)
        assert all(np.array_equal(a.labels[k], b.labels[k]) for k in a.labels)
    other = list(maker(fit, 2, 8))[1]
    assert not np.array_equal(other.image, many[1].image)


def test_sample_0_is_the_photo_with_its_own_relief(maker: FineMaker, fits: FitFolder) -> None:
    fit = fits.load(f"g/{PEOPLE[0]}")
    first = next(maker(fit, 1, 3))
    photo = maker._photo(fit)
    view = ReliefView(photo, photo.crop)
    assert np.array_equal(first.image, view.image)
    assert np.allclose(first.labels["displacement"], view.own, atol=1e-3)
    assert np.allclose(first.labels["light"], fit.light, atol=1e-6)
    assert first.labels["gains"].tolist() == [0, 0, 0, 1, 1, 1]


def test_labels(maker: FineMaker, fits: FitFolder, model: FaceModel) -> None:
    fit = fits.load(f"g/{PEOPLE[2]}")
    for sample in maker(fit, 4, 1):
        labels, size = sample.labels, 256
        assert sample.image.shape == (size, size, 3)
        off = labels["mask"] == 0
        for name in ("displacement", "depth_coarse"):
            assert labels[name].shape == (size, size)
            assert np.isfinite(labels[name]).all()
            assert not labels[name][off].any()
        assert abs(np.median(labels["depth_coarse"][~off])) < 0.01
        camera = WeakPerspective.from_vector(labels["camera"])
        uvz = camera.project(model.shape(labels["identity"], labels["expression"]))
        assert np.allclose(model.landmarks["ibug68"].of(uvz), labels["landmarks68"], atol=0.01)
        drawn = rasterize(uvz, model.triangles, size, size, cull_backfaces=True)
        eyes = model.regions["eyeballs"][model.triangles].all(axis=1)
        assert not labels["mask"][drawn.mask & eyes[drawn.triangle]].any()
        depth = labels["depth_coarse"] + labels["depth_offset"]
        assert np.median(np.abs(depth - drawn.depth)[~off]) < 0.1
        assert sample.about["split"] == "train"


def test_comparisons_move_no_relief_or_move_it_whole(
    maker: FineMaker, fits: FitFolder, model: FaceModel
) -> None:
    fit = fits.load(f"g/{PEOPLE[0]}")
    none = FineMaker(fits, model, FineConfig(source_seen=0.1, transfer=False))
    for sample in none(fit, 4, 1):
        assert "relief_from" not in sample.about
        assert sample.labels["gains"].tolist() == [0, 0, 0, 1, 1, 1]
    whole = FineMaker(fits, model, FineConfig(source_seen=0.1, bands=1))
    for one, three in list(zip(whole(fit, 4, 1), maker(fit, 4, 1), strict=True))[1:]:
        assert one.about == three.about
        np.testing.assert_array_equal(one.labels["gains"][:3], three.labels["gains"][0])
        assert len(set(three.labels["gains"][:3].tolist())) == 3
        np.testing.assert_array_equal(one.labels["gains"][3:], three.labels["gains"][3:])


def test_small_faces_are_refused(maker: FineMaker, fits: FitFolder, model: FaceModel) -> None:
    strict = FineMaker(fits, model, FineConfig(least_face_px=1000.0))
    with pytest.raises(FacereliefError, match="expected at least 1000"):
        next(strict(fits.load(f"g/{PEOPLE[0]}"), 1, 0))


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="gains"):
        FineConfig(gains=(1.0, 0.5))
