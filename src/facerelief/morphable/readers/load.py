"""Face model files of all formats: the content decides which reader gets a file.

| format                 | file                                              | reader        |
|------------------------|---------------------------------------------------|---------------|
| facerelief             | .npz                                              | `storage`     |
| Basel Face Model 2009  | 01_MorphableModel.mat (+ expression files)        | `basel2009`   |
| Basel 2017, 2019       | .h5                                               | `basel2017`   |
| FLAME 2019, 2020, 2023 | .pkl or .npz (+ landmark tables)                  | `flame`       |
| ICT-FaceKit            | folder of .obj, or the packed .npz (+ landmarks)  | `ict`         |

Each reader's docstring says which parts of the file are taken, their units, and which files lie beside it.
The result is always a `FaceModel` in mm, x to the person's left, y up, z to the front,
arrays float32 and int32.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from facerelief.errors import ModelError
from facerelief.morphable.model import FaceModel
from facerelief.morphable.readers._assembly import DAMAGED
from facerelief.morphable.readers.basel2009 import load_basel2009
from facerelief.morphable.readers.basel2017 import load_basel2017
from facerelief.morphable.readers.flame import load_flame
from facerelief.morphable.readers.ict import is_ict_folder, load_ict_folder, load_ict_npz
from facerelief.morphable.storage import load_own_model

EXPECTED = (
    "expected a facerelief .npz, Basel .mat or .h5, FLAME .pkl or .npz, or ICT-FaceKit's folder or .npz"
)


def load_model(source: str | Path) -> FaceModel:
    """The face model in a file or folder, whatever its format.

    Raises ModelError, one line naming the file, what was expected and what to do, for anything else: no
    such file, an unknown format, a damaged file, a part missing, a pickle that asks for code to be run.
    """
    path = Path(source)
    try:
        return _load(path)
    except ModelError:
        raise
    except DAMAGED as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:160]
        raise ModelError(f"{path}: damaged model file ({reason}); download or convert it again") from error


def _load(path: Path) -> FaceModel:
    if path.is_dir():
        if is_ict_folder(path):
            return load_ict_folder(path)
        raise ModelError(f"{path}: a folder without generic_neutral_mesh.obj; {EXPECTED}")
    try:
        with open(path, "rb") as handle:
            head = handle.read(520)
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    if not head:
        raise ModelError(f"{path}: empty file; {EXPECTED}")
    if head.startswith(b"PK\x03\x04"):
        return _load_npz(path)
    if head.startswith(b"MATLAB 5.0 MAT-file"):
        return load_basel2009(path)
    if head.startswith(b"MATLAB 7.3 MAT-file"):
        raise ModelError(
            f"{path}: MATLAB 7.3 file; give the original 01_MorphableModel.mat, or save it with -v7"
        )
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return load_basel2017(path)
    # protocol 2 and later say so; earlier ones of a dictionary begin with a mark
    if head.startswith((b"\x80", b"(d", b"(i", b"}")) or path.suffix.lower() in (".pkl", ".pickle"):
        return load_flame(path)
    raise ModelError(f"{path}: not a known face model; {EXPECTED}")


def _load_npz(path: Path) -> FaceModel:
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy") for name in archive.namelist()}
    if "meta" in members:
        return load_own_model(path)
    if {"mean_cm", "identity_scale_cm"} <= members:
        return load_ict_npz(path)
    if {"v_template", "shapedirs"} <= members:
        return load_flame(path)
    raise ModelError(f"{path}: a zip or .npz of something else; {EXPECTED}")
