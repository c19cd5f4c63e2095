"""Readers of the benchmarks' folders as their owners give them out: each lists the cases of one.

They read only names and lists, so that a folder with a few scans missing is still scored; a missing scan is
an error of its own cases. docs/evaluation.md shows each folder.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError
from facerelief.io.images import IMAGE_SUFFIXES
from facerelief.io.meshes import MESH_SUFFIXES
from facerelief.lab.evaluation.protocols.cases import Case, Scan
from facerelief.lab.evaluation.protocols.files.landmark_files import LANDMARK_SUFFIXES, landmarks_beside
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.morphable.readers.safe_pickle import load_npy

MICC_SETTINGS = ("Indoor-Cooperative", "PTZ-Indoor", "PTZ-Outdoor")
MICC_FRAMES = 5
"""Images of a setting that our own methods average over."""
REALY_REGIONS = ("nose", "mouth", "forehead", "cheek")
ANNOTATIONS = {"original": "AFLW2000-3D.pts68.npy", "reannotated": "AFLW2000-3D-Reannotated.pts68.npy"}


def read_now(folder: Path) -> list[Case]:
    """NoW: the image list, scans/SUBJECT/*.obj and scans_lmks_onlypp/SUBJECT/*.pp.

    Lines of the list end in SUBJECT/CHALLENGE/IMAGE. The group is the challenge.
    """
    _folder(folder)
    lists = sorted(f for f in folder.glob("*.txt") if "path" in f.name.lower())
    if not lists:
        raise _layout(
            folder, "NoW", "imagepathsvalidation.txt (or ...test.txt), scans/ and scans_lmks_onlypp/"
        )
    if len(lists) > 1:
        names = ", ".join(f.name for f in lists)
        raise EvaluationError(f"{folder}: several image lists ({names}); keep the one that is to be scored")
    marks = next(
        (folder / n for n in ("scans_lmks_onlypp", "scans_lmks") if (folder / n).is_dir()), folder / "scans"
    )
    cases: list[Case] = []
    scans: dict[str, Scan] = {}
    for line in lists[0].read_text("utf-8", "replace").splitlines():
        parts = line.strip().replace("\\", "/").split("/")
        if len(parts) < 3:
            if line.strip():
                raise EvaluationError(f"{lists[0]}: line {line.strip()!r}; expected SUBJECT/CHALLENGE/IMAGE")
            continue
        subject, challenge, image = parts[-3:]
        if subject not in scans:
            mesh = _first(folder / "scans" / subject, MESH_SUFFIXES)
            points = _first(marks / subject, LANDMARK_SUFFIXES)
            scans[subject] = Scan(mesh or folder / "scans" / subject / "*.obj", points)
        stem = image.rsplit(".", 1)[0]
        shown = next(
            (p for p in (folder / r / subject / challenge / image for r in _NOW_IMAGES) if p.is_file()),
            None,
        )
        name = f"{subject}/{challenge}/{stem}"
        cases.append(Case(name, challenge, subject, (scans[subject],), (shown,) if shown else ()))
    return _some(cases, folder, "the image list is empty")


_NOW_IMAGES = (
    "NoW_Dataset/final_release_version/iphone_pictures",
    "final_release_version/iphone_pictures",
    "iphone_pictures",
    "NoW_Dataset",
    ".",
)


def read_micc(folder: Path) -> list[Case]:
    """MICC Florence: subject_NN/Model/frontal{1,2}/obj/*.obj, with landmarks beside or in MICC_landmarks.

    One case for each subject and setting; images of a setting are subject_NN/SETTING/*, frames of its
    video.
    """
    _folder(folder)
    cases: list[Case] = []
    for place in sorted(p for p in folder.glob("subject_*") if p.is_dir()):
        scans: list[Scan] = []
        for take in ("frontal1", "frontal2"):
            mesh = _first(place / "Model" / take / "obj", MESH_SUFFIXES) or _first(
                place / "Model" / take, MESH_SUFFIXES
            )
            if mesh is not None:
                other = folder / "MICC_landmarks" / mesh.parent.relative_to(folder)
                scans.append(Scan(mesh, landmarks_beside(mesh) or _first(other, LANDMARK_SUFFIXES), take))
        for setting in MICC_SETTINGS if scans else ():
            frames = _images(place / setting)
            chosen = [frames[int(k)] for k in np.linspace(0, len(frames) - 1, min(MICC_FRAMES, len(frames)))]
            name = f"{place.name}/{setting}"
            cases.append(Case(name, setting, place.name, tuple(scans), tuple(chosen)))
    if not cases:
        raise _layout(
            folder, "MICC", "subject_01/Model/frontal1/obj/*.obj and MICC_landmarks/ of the same shape"
        )
    return cases


def read_realy(folder: Path) -> list[Case]:
    """REALY: REALY_scan_region/ID/{nose,mouth,forehead,cheek}.obj, REALY_HIFI3D_keypoints/ID.obj (85
    vertices) and metrical_scale.txt (mm per unit, a line for each ID from 1).

    Cases are the images in `images/` (or `REALY_image/`) named ID or ID_VIEW, else one frontal case for
    each ID.
    """
    _folder(folder)
    regions, marks = folder / "REALY_scan_region", folder / "REALY_HIFI3D_keypoints"
    scale_file = folder / "metrical_scale.txt"
    if not (regions.is_dir() and marks.is_dir() and scale_file.is_file()):
        raise _layout(folder, "REALY", "REALY_scan_region/, REALY_HIFI3D_keypoints/ and metrical_scale.txt")
    try:
        scale = [float(x) for x in scale_file.read_text("utf-8").split()]
    except ValueError as error:
        raise EvaluationError(f"{scale_file}: not a list of numbers ({error}); copy it again") from error
    people = {int(p.name): p for p in regions.iterdir() if p.is_dir() and p.name.isdecimal()}
    found = [f for n in ("images", "REALY_image") for f in _images(folder / n)]
    named = {f.stem: f for f in found if re.fullmatch(r"\d+(_\d+)?", f.stem)}
    cases: list[Case] = []
    for name in sorted(named, key=_numbers) or [str(i) for i in sorted(people)]:
        identity = int(name.split("_")[0])
        if identity not in people:
            continue
        if not 1 <= identity <= len(scale):
            raise EvaluationError(
                f"{scale_file}: {len(scale)} lines, none for scan {identity}; copy it again"
            )
        scans = _realy_scans(people[identity], marks)
        group = "side" if "_" in name else "frontal"
        image = (named[name],) if name in named else ()
        cases.append(Case(name, group, str(identity), scans, image, scale_mm=scale[identity - 1]))
    return _some(cases, folder, "no scan has a numbered folder in REALY_scan_region/")


def _realy_scans(place: Path, marks: Path) -> tuple[Scan, ...]:
    """The regions of one of REALY's scans, with its keypoints."""
    keypoints = _first_named(marks, str(int(place.name)), MESH_SUFFIXES + LANDMARK_SUFFIXES)
    return tuple(
        Scan(_first_named(place, region, MESH_SUFFIXES) or place / f"{region}.obj", keypoints, region)
        for region in REALY_REGIONS
    )


def read_bu3dfe(folder: Path) -> list[Case]:
    """BU-3DFE: F0001/F0001_AN01WH_F3D.wrl with ..._F3D.bnd beside it, or the scan converted to .obj or .ply.

    The name of a case is that of the scan without _F3D; the group is the expression (NE, AN, DI, FE, HA, SA,
    SU).
    """
    _folder(folder)
    cases: list[Case] = []
    seen: set[str] = set()
    for mesh in sorted(f for s in MESH_SUFFIXES for f in folder.rglob(f"*_F3D{s}")):
        match = re.fullmatch(r"([FM]\d{4})_([A-Z]{2})\d{2}[A-Z]{2}_F3D", mesh.stem)
        if match is None or mesh.stem in seen:
            continue
        seen.add(mesh.stem)
        stem = mesh.stem.removesuffix("_F3D")
        images = [p for p in _images(mesh.parent) if p.stem == f"{stem}_F2D"]
        scan = Scan(mesh, landmarks_beside(mesh))
        cases.append(Case(stem, match[2], match[1], (scan,), tuple(images[:1])))
    if not cases:
        raise _layout(folder, "BU-3DFE", "F0001/F0001_NE00WH_F3D.wrl and ..._F3D.bnd")
    return sorted(cases, key=lambda c: c.name)


def read_true(folder: Path) -> list[Case]:
    """Meshes of known shape, one topology: any .obj or .ply in any subfolder, the image of the same name
    beside.

    The group is the subfolder. mask.txt or mask.npy in the folder names the vertices that are measured.
    """
    _folder(folder)
    mask = _among([folder], "mask.txt") or _among([folder], "mask.npy")
    meshes = sorted(f for s in MESH_SUFFIXES for f in folder.rglob(f"*{s}"))
    cases = []
    for mesh in meshes:
        inside = mesh.relative_to(folder).with_suffix("")
        image = [p for p in (mesh.with_suffix(s) for s in IMAGE_SUFFIXES) if p.is_file()][:1]
        group = inside.parent.as_posix()
        name = "all" if group == "." else group
        cases.append(Case(inside.as_posix(), name, "", (Scan(mesh),), tuple(image), mask=mask))
    return _some(cases, folder, "no .obj or .ply of true shapes")


def read_aflw2000(folder: Path, annotations: str = "original") -> list[Case]:
    """AFLW2000-3D: either the arrays of the 3DDFA benchmark or the set's own .mat files.

    Arrays, in the folder, its test.configs/ or eval/: AFLW2000-3D.pts68.npy (N, 2 or 3, 68), or
    AFLW2000-3D-Reannotated.pts68.npy for the second set, and AFLW2000-3D.pose.npy (N,) yaws in degrees; names
    of the images come from AFLW2000-3D_crop.list, else from the images of the folder in order, else are
    numbers. Own files: image00002.jpg and image00002.mat with pt3d_68 and Pose_Para: the original annotations
    only.
    """
    _folder(folder)
    if annotations not in ANNOTATIONS:
        raise EvaluationError(f"--annotations {annotations}: expected {' or '.join(ANNOTATIONS)}")
    places = [folder, folder / "test.configs", folder / "eval", folder / "test.data"]
    points_file = _among(places, ANNOTATIONS[annotations])
    if points_file is None:
        if annotations == "original" and any(folder.rglob("image*.mat")):
            return _aflw_mats(folder)
        expected = f"{ANNOTATIONS[annotations]} and AFLW2000-3D.pose.npy"
        raise _layout(
            folder, "AFLW2000-3D", expected + (", or image00002.mat" if annotations == "original" else "")
        )
    pose_file = _among(places, "AFLW2000-3D.pose.npy")
    if pose_file is None:
        raise _layout(folder, "AFLW2000-3D", "AFLW2000-3D.pose.npy with the yaws")
    points, yaws = read_array(points_file), read_array(pose_file).reshape(-1)
    if points.ndim == 3 and points.shape[2] in (2, 3) and points.shape[1] == 68:
        points = points.transpose(0, 2, 1)
    if points.ndim != 3 or points.shape[1] not in (2, 3) or points.shape[2] != 68 or len(yaws) != len(points):
        raise EvaluationError(
            f"{points_file}: shape {points.shape} with {len(yaws)} yaws; expected (N, 2 or 3, 68) and N"
        )
    images = {p.name: p for p in _images(folder, deep=True)}
    listed = _among(places, "AFLW2000-3D_crop.list")
    names = listed.read_text("utf-8").split() if listed else sorted(images)
    if len(names) != len(points):
        if listed:
            raise EvaluationError(
                f"{listed}: {len(names)} names for {len(points)} annotations; copy it again"
            )
        names = [f"{k:05d}" for k in range(len(points))]
    return [
        Case(
            Path(name).stem,
            annotations,
            images=(images[name],) if name in images else (),
            points=np.ascontiguousarray(points[k, :2].T),
            yaw=float(yaws[k]),
        )
        for k, name in enumerate(names)
    ]


def _aflw_mats(folder: Path) -> list[Case]:
    from scipy.io import loadmat

    cases = []
    for file in sorted(folder.rglob("image*.mat")):
        try:
            found = loadmat(file, variable_names=["pt3d_68", "Pose_Para"])
            points = np.asarray(found["pt3d_68"], np.float64)[:2].T
            yaw = float(np.degrees(np.asarray(found["Pose_Para"], np.float64).reshape(-1)[1]))
        except Exception as error:  # SciPy raises a dozen kinds on damaged files
            raise EvaluationError(
                f"{file}: no readable pt3d_68 and Pose_Para ({error}); copy it again"
            ) from error
        if points.shape != (68, 2):
            raise EvaluationError(
                f"{file}: pt3d_68 holds {points.shape[0]} points, expected 68; copy it again"
            )
        image = next((p for p in (file.with_suffix(s) for s in (".jpg", ".png")) if p.is_file()), None)
        name = file.relative_to(folder).with_suffix("").as_posix()
        cases.append(Case(name, "original", images=(image,) if image else (), points=points, yaw=yaw))
    return cases


def read_array(file: Path) -> NDArray[np.float64]:
    """The numbers of an .npy file; EvaluationError."""
    try:
        return np.asarray(load_npy(file), np.float64)
    except (ModelError, ValueError, TypeError) as error:
        raise EvaluationError(f"{file}: no readable array ({error}); copy it again") from error


def _folder(folder: Path) -> None:
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: no such folder; name the folder of the data set")
    if not any(folder.iterdir()):
        raise EvaluationError(f"{folder}: an empty folder; name the folder of the data set")


def _layout(folder: Path, name: str, expected: str) -> EvaluationError:
    return EvaluationError(f"{folder}: not laid out as {name}: expected {expected}")


def _some(cases: list[Case], folder: Path, why: str) -> list[Case]:
    if not cases:
        raise EvaluationError(f"{folder}: nothing to score: {why}")
    return cases


def _among(places: list[Path], name: str) -> Path | None:
    return next((p / name for p in places if (p / name).is_file()), None)


def _first(folder: Path, suffixes: tuple[str, ...]) -> Path | None:
    """The first file by name with the first of the suffixes that there is."""
    if not folder.is_dir():
        return None
    files = sorted(f for f in folder.iterdir() if f.is_file() and f.name[0] != ".")
    return next((f for s in suffixes for f in files if f.suffix.lower() == s), None)


def _first_named(folder: Path, stem: str, suffixes: tuple[str, ...]) -> Path | None:
    return next((folder / f"{stem}{s}" for s in suffixes if (folder / f"{stem}{s}").is_file()), None)


def _images(folder: Path, deep: bool = False) -> list[Path]:
    if not folder.is_dir():
        return []
    files = folder.rglob("*") if deep else folder.iterdir()
    return sorted(f for f in files if f.suffix.lower() in IMAGE_SUFFIXES and f.name[0] != "." and f.is_file())


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(x) for x in name.split("_"))
