import math
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.lab.datasets.w300lp import W300LP, read_w300lp, write_w300lp

HEIGHT = 450


def some_label(seed: int = 0, points: int = 68) -> W300LP:
    rng = np.random.default_rng(seed)
    return W300LP(
        pose=np.array([*rng.uniform(-0.9, 0.9, 3), *rng.uniform(150, 300, 2), -70.0, 5e-4]),
        shape=rng.normal(0, 3e5, 199),
        expression=rng.normal(0, 1, 29),
        texture=rng.normal(0, 1, 199),
        color=rng.uniform(0, 1, 7),
        illumination=rng.uniform(0, 1, 10),
        pt2d=rng.uniform(0, 450, (2, points)),
        pt3d_68=rng.uniform(0, 450, (3, 68)),
        roi=np.array([1.0, 1, 450, 450]),
    )


def matlab_projection(points_um: np.ndarray, pose: np.ndarray, height: int) -> np.ndarray:
    """(N, 2) MATLAB pixels, y down, as the sets' own code computes them, matrix by matrix."""
    phi, gamma, theta, *t3d, f = pose
    rx = [[1, 0, 0], [0, math.cos(phi), math.sin(phi)], [0, -math.sin(phi), math.cos(phi)]]
    ry = [[math.cos(gamma), 0, -math.sin(gamma)], [0, 1, 0], [math.sin(gamma), 0, math.cos(gamma)]]
    rz = [[math.cos(theta), math.sin(theta), 0], [-math.sin(theta), math.cos(theta), 0], [0, 0, 1]]
    projected = f * (np.array(rx) @ ry @ rz) @ points_um.T + np.array(t3d)[:, None]
    projected[1] = height + 1 - projected[1]
    return projected[:2].T


@pytest.mark.parametrize("seed", range(20))
def test_the_camera_reproduces_the_matlab_formula(seed: int) -> None:
    label = some_label(seed)
    points = np.random.default_rng(seed + 50).uniform(-1e5, 1e5, (200, 3))
    pixels = matlab_projection(points, label.pose, HEIGHT)
    uv = label.camera(HEIGHT).project(points / 1000)[:, :2]
    # MATLAB's first pixel centre is (1, 1), ours (0.5, 0.5)
    assert np.abs(uv - (pixels - 0.5)).max() < 1e-6


@pytest.mark.parametrize("seed", range(10))
def test_poses_go_there_and_back(seed: int) -> None:
    label = some_label(seed)
    assert np.allclose(W300LP.pose_of(label.camera(HEIGHT), HEIGHT, -70.0), label.pose, rtol=1e-9, atol=1e-9)
    rng = np.random.default_rng(seed)
    camera = WeakPerspective(*rng.uniform(-0.9, 0.9, 3), *rng.uniform(50, 200, 2), 0.7)
    pose = W300LP.pose_of(camera, 224)
    again = W300LP(pose, np.zeros(199), np.zeros(29), np.zeros(199), np.zeros(7), np.zeros(10)).camera(224)
    assert np.allclose(again.vector, camera.vector)


@pytest.mark.parametrize("points", [68, 21])
def test_a_file_goes_there_and_back_exactly(tmp_path: Path, points: int) -> None:
    label = some_label(1, points)
    write_w300lp(tmp_path / "image00002.mat", label)
    again = read_w300lp(tmp_path / "image00002.mat")
    for name in ("pose", "shape", "expression", "texture", "color", "illumination", "pt2d", "pt3d_68", "roi"):
        assert np.array_equal(getattr(again, name), getattr(label, name)), name


def test_landmarks_in_our_pixels() -> None:
    label = some_label(2, 21)
    assert label.landmarks68 is not None
    assert np.allclose(label.landmarks68, label.pt3d_68[:2].T - 0.5)
    empty = W300LP(label.pose, label.shape, label.expression, label.texture, label.color, label.illumination)
    assert empty.landmarks68 is None


def test_points_may_be_absent_and_vectors_lie_either_way(tmp_path: Path) -> None:
    label = some_label(3)
    content = {
        "Pose_Para": label.pose[:, None].astype(np.float32),
        "Shape_Para": label.shape[None],
        "Exp_Para": label.expression[None],
        "Tex_Para": label.texture,
        "Color_Para": label.color,
        "Illum_Para": label.illumination,
        "something_else": np.zeros(4),
    }
    savemat(tmp_path / "a.mat", content)
    again = read_w300lp(tmp_path / "a.mat")
    assert np.array_equal(again.shape, label.shape)
    assert again.pt2d is None
    assert again.roi is None


def content_of(label: W300LP) -> dict[str, np.ndarray]:
    return {
        "Pose_Para": label.pose[None],
        "Shape_Para": label.shape[:, None],
        "Exp_Para": label.expression[:, None],
        "Tex_Para": label.texture[:, None],
        "Color_Para": label.color[None],
        "Illum_Para": label.illumination[None],
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"Exp_Para": np.zeros((79, 1))}, "Exp_Para has shape"),
        ({"Pose_Para": np.full((1, 7), np.nan)}, "not finite"),
        ({"Pose_Para": np.zeros((1, 7))}, "positive scale"),
        ({"pt2d": np.zeros((3, 68))}, "pt2d has shape"),
        ({"pt3d_68": np.zeros((3, 12))}, "pt3d_68 has shape"),
        ({"pt2d": np.zeros((2, 9000))}, "pt2d has shape"),
        ({"roi": np.zeros((2, 4))}, "roi has shape"),
        ({"Shape_Para": np.array("text")}, "Shape_Para has shape"),
        ({"Shape_Para": np.array([{"a": 1}], dtype=object)}, "Shape_Para has shape"),
    ],
)
def test_other_layouts_are_refused_in_one_line(tmp_path: Path, change: dict, told: str) -> None:
    file = tmp_path / "label.mat"
    savemat(file, content_of(some_label()) | change, do_compression=True)
    with pytest.raises(FacereliefError, match=told) as caught:
        read_w300lp(file)
    assert "label.mat" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "label.mat"
    write_w300lp(file, some_label())
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [
        b"",
        b"no matlab",
        whole[:100],
        whole[:-200],
        b"MATLAB 7.3 MAT-file" + bytes(600),
        bytes(2 << 20),
    ]
    for _ in range(60):
        bad = bytearray(whole)
        for at in rng.integers(0, len(bad), 8):
            bad[at] = rng.integers(256)
        damaged.append(bytes(bad))
    told: list[str] = []
    for data in damaged:
        file.write_bytes(data)
        try:
            read_w300lp(file)
        except FacereliefError as error:
            told.append(str(error))
    assert len(told) > 40
    assert not any("\n" in line for line in told)


def test_a_missing_name_and_a_missing_file(tmp_path: Path) -> None:
    content = content_of(some_label())
    del content["Exp_Para"]
    savemat(tmp_path / "label.mat", content)
    with pytest.raises(FacereliefError, match="no Exp_Para"):
        read_w300lp(tmp_path / "label.mat")
    with pytest.raises(FacereliefError, match="cannot be read"):
        read_w300lp(tmp_path / "none.mat")
