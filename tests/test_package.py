"""The root of the package: what `import facerelief` promises."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import facerelief


def test_every_public_name_is_there():
    for name in facerelief.__all__:
        assert getattr(facerelief, name) is not None, name
    assert dir(facerelief) == sorted(facerelief.__all__)


def test_names_are_those_of_the_rooms():
    from facerelief import face, facefolder, io, morphable, pipeline

    assert facerelief.reconstruct is pipeline.reconstruct
    assert facerelief.Reconstruction is face.Reconstruction
    assert facerelief.read_image is io.read_image
    assert facerelief.save_reconstruction is facefolder.save_reconstruction
    assert facerelief.load_model is morphable.load_model


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'reconstuct'"):
        _ = facerelief.reconstuct  # pyright: ignore[reportAttributeAccessIssue]


def test_version_is_the_installed_one():
    assert facerelief.__version__ == metadata.version("facerelief")


def test_all_errors_are_of_one_family():
    from facerelief.facefolder.face_json import FaceFileError

    for error in (
        facerelief.ImageError,
        facerelief.ModelError,
        facerelief.NoFaceError,
        facerelief.OutputError,
        facerelief.VideoError,
        FaceFileError,
    ):
        assert issubclass(error, facerelief.FacereliefError)


@pytest.mark.parametrize("module", ["facerelief", "facerelief.cli.app", "facerelief.lab.benchmarks.stages"])
def test_import_is_quick(module):
    """No room is loaded before it is used; benchmarking needs numpy."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"scipy", "numba", "cv2", "openvino", "facerelief.pipeline", "facerelief.inverse"}
    heavy |= {"numpy"} if module != "facerelief.lab.benchmarks.stages" else set()
    assert not heavy & set(done.stdout.split())
