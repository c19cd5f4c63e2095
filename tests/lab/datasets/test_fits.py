"""Laws of fits folders: what comes back is what was found, runs go on, bad photos are told and left out."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

import facerelief
from facerelief.errors import FacereliefError, ImageError
from facerelief.lab.datasets.fits import INDEX, WEAK_PERSPECTIVE, FitFolder, fit_photos
from facerelief.lab.datasets.photos import find_photos


def test_names_splits_and_failures(fits):
    assert fits.names == ["a/eileen", "b/nelliee"]
    eileen, other = (fits.load(name) for name in fits.names)
    assert (eileen.subject, eileen.family, eileen.group, eileen.split) == ("eileen", "family 1", "a", "train")
    assert other.split == "val"
    assert set(fits.failures()) == {"b/wall", "b/broken"}
    assert "no face" in fits.failures()["b/wall"]
    assert all("\n" not in reason for reason in fits.failures().values())


def test_a_fit_gives_the_reconstruction_back(fits, open_model):
    fit = fits.load("a/eileen")
    found = fits.reconstruction(fit, open_model)
    config = facerelief.ReconstructorConfig("fit", fit=WEAK_PERSPECTIVE)
    fresh = facerelief.reconstruct(fits.photos / fit.file, model=open_model, config=config)[0]
    np.testing.assert_array_equal(found.image, fresh.image)
    np.testing.assert_allclose(found.identity, fresh.identity, atol=1e-6)
    np.testing.assert_allclose(found.vertices, fresh.vertices, atol=1e-3)
    np.testing.assert_array_equal(found.coarse.depth, fresh.coarse.depth)
    np.testing.assert_allclose(found.fine.depth, fresh.fine.depth, atol=0.003)
    np.testing.assert_allclose(found.skin.color, fresh.skin.color, atol=0.01)
    assert found.box == pytest.approx(fresh.box)
    assert fit.landmarks.shape == (478, 2)


def test_a_run_goes_on_and_leaves_what_is_there(photo_folder, fits, tmp_path):
    out = tmp_path / "fits"
    shutil.copytree(fits.folder, out)
    kept, gone = (out / f"{name}.fit.npz" for name in fits.names)
    before = kept.stat().st_mtime_ns
    expected = gone.read_bytes()
    gone.unlink()
    (out / "b" / "broken.failed.json").unlink()
    seen = []
    families = {"eileen": "family 1", "nelliee": "family 0"}
    again = fit_photos(
        find_photos(photo_folder),
        photo_folder,
        out,
        families=families,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert again.names == fits.names
    assert kept.stat().st_mtime_ns == before
    with np.load(gone) as new, np.load(fits.folder / "b" / "nelliee.fit.npz") as old:
        for key in old:
            np.testing.assert_array_equal(new[key], old[key])
    assert len(expected) == gone.stat().st_size
    assert seen == [(2, 4), (3, 4), (4, 4)]
    assert set(again.failures()) == set(fits.failures())


def test_an_empty_family_leaves_a_person_out(photo_folder, tmp_path):
    photos = [p for p in find_photos(photo_folder) if p.subject == "eileen"]
    assert len(fit_photos(photos, photo_folder, tmp_path / "f", families={"eileen": ""})) == 0


def test_a_changed_photo_is_refused(photo_folder, fits, tmp_path):
    shutil.copytree(photo_folder, tmp_path / "p")
    moved = FitFolder(fits.folder, tmp_path / "p")
    fit = moved.load("a/eileen")
    assert moved.image(fit).shape == (200, 200, 3)
    assert cv2.imwrite(str(tmp_path / "p" / fit.file), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ImageError, match="has changed since it was fitted"):
        moved.image(fit)
    (tmp_path / "p" / fit.file).unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        moved.image(fit)


def test_what_is_no_fits_folder_is_told_in_one_line(fits, open_model, tmp_path):
    with pytest.raises(FacereliefError, match="give a folder that `facerelief fit` made"):
        FitFolder(tmp_path)
    out = tmp_path / "fits"
    shutil.copytree(fits.folder, out)
    (out / "a" / "eileen.fit.npz").write_bytes(b"PK nonsense")
    with pytest.raises(FacereliefError, match="damaged"):
        FitFolder(out).load("a/eileen")
    whole = (fits.folder / "a" / "eileen.fit.npz").read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 30):
        (out / "a" / "eileen.fit.npz").write_bytes(whole[:cut])
        with pytest.raises(FacereliefError, match="damaged"):
            FitFolder(out).load("a/eileen")
    about = json.loads((out / INDEX).read_text("utf-8"))
    (out / INDEX).write_text(json.dumps(about | {"model_version": "0"}), "utf-8")
    other = FitFolder(out)
    with pytest.raises(FacereliefError, match="fitted with model"):
        other.reconstruction(other.load("b/nelliee"), open_model)
    (out / INDEX).write_text(json.dumps(about | {"format": 99}), "utf-8")
    with pytest.raises(FacereliefError, match="format 99, expected"):
        FitFolder(out)
