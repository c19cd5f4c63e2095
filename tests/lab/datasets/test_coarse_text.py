import math
from pathlib import Path

import numpy as np
import pytest

from facerelief.errors import FacereliefError
from facerelief.geometry.camera import WeakPerspective
from facerelief.lab.datasets.coarse_text import (
    CoarseText,
    read_coarse_text,
    reversed_euler,
    reversed_rotation,
    write_coarse_text,
)

HEIGHT = 450
SCALE = 0.00118714
"""px/um, of the published sample."""


def authors_matrices(a: float, b: float, c: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rx, Ry, Rz as the set's sample code writes them."""
    rx = [[1, 0, 0], [0, math.cos(a), math.sin(a)], [0, -math.sin(a), math.cos(a)]]
    ry = [[math.cos(b), 0, -math.sin(b)], [0, 1, 0], [math.sin(b), 0, math.cos(b)]]
    rz = [[math.cos(c), math.sin(c), 0], [-math.sin(c), math.cos(c), 0], [0, 0, 1]]
    return np.array(rx), np.array(ry), np.array(rz)


def authors_projection(points_um: np.ndarray, label: CoarseText) -> np.ndarray:
    """(N, 2) px from the bottom-left corner, y up."""
    rx, ry, rz = authors_matrices(*label.euler)
    return label.scale * (points_um @ (rx @ ry @ rz).T)[:, :2] + label.translation


def some_label(seed: int = 0, euler: tuple[float, float, float] | None = None) -> CoarseText:
    rng = np.random.default_rng(seed)
    return CoarseText(
        rng.normal(0, 3e5, 100),
        rng.normal(0, 1e5, 79),
        np.array(euler) if euler else rng.uniform(-0.9, 0.9, 3),
        rng.uniform(150, 300, 2),
        float(rng.uniform(0.0008, 0.0014)),
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_camera_reproduces_the_authors_formula(seed: int) -> None:
    label = some_label(seed)
    points = np.random.default_rng(seed + 100).uniform(-1e5, 1e5, (200, 3))
    expected = authors_projection(points, label)
    uvz = label.camera(HEIGHT).project(points / 1000)
    assert np.abs(uvz[:, 0] - expected[:, 0]).max() < 1e-6
    assert np.abs(uvz[:, 1] - (HEIGHT - expected[:, 1])).max() < 1e-6


def test_the_published_sample() -> None:
    """Scale, translation and yaw of the sample; its face turns to the image's left, 277.6 px down."""
    label = CoarseText(np.zeros(100), np.zeros(79), np.array([0, 0.54, 0]), np.array([225.0, 172.4]), SCALE)
    camera = label.camera(HEIGHT)
    origin, front = camera.project(np.array([[0, 0, 0], [0, 0, 60.0]]))
    assert origin[1] == pytest.approx(277.6)
    assert front[0] < origin[0]
    assert camera.scale == pytest.approx(1.18714)
    assert camera.yaw == pytest.approx(-0.54)
    # model space is ours: a higher point is nearer to the top
    assert camera.project([0, 50.0, 0])[1] < origin[1]


def test_order_and_sense_of_the_rotations_matter() -> None:
    euler = (0.2, 0.54, -0.1)
    rx, ry, rz = authors_matrices(*euler)
    ours = reversed_rotation(euler)
    assert np.abs(ours - rx @ ry @ rz).max() < 1e-12
    assert np.abs(ours - (rx @ ry @ rz).T).max() > 0.1
    assert np.abs(ours - rz @ ry @ rx).max() > 0.05


@pytest.mark.parametrize("seed", range(10))
def test_angles_and_cameras_go_there_and_back(seed: int) -> None:
    label = some_label(seed)
    assert np.allclose(reversed_euler(reversed_rotation(label.euler)), label.euler, atol=1e-12)
    again = CoarseText.from_camera(label.identity, label.expression, label.camera(HEIGHT), HEIGHT)
    assert np.allclose(again.euler, label.euler, atol=1e-12)
    assert np.allclose(again.translation, label.translation)
    assert again.scale == pytest.approx(label.scale, rel=1e-12)
    camera = WeakPerspective(0.3, -0.8, 0.2, 100, 90, 1.3)
    there = CoarseText.from_camera(label.identity, label.expression, camera, 224).camera(224)
    assert np.allclose(there.vector, camera.vector)


def test_a_file_goes_there_and_back_exactly(tmp_path: Path) -> None:
    label = some_label(3)
    write_coarse_text(tmp_path / "a_aug_1.txt", label)
    lines = (tmp_path / "a_aug_1.txt").read_text().splitlines()
    assert [len(line.split()) for line in lines] == [100, 79, 6]
    again = read_coarse_text(tmp_path / "a_aug_1.txt")
    for name in ("identity", "expression", "euler", "translation"):
        assert np.array_equal(getattr(again, name), getattr(label, name))
    assert again.scale == label.scale


def test_coefficients_in_deviations() -> None:
    label = some_label(4)
    identity, expression = label.in_deviations(np.full(199, 2e5), np.full(79, 5e4))
    assert np.allclose(identity * 2e5, label.identity)
    assert np.allclose(expression * 5e4, label.expression)
    with pytest.raises(ValueError, match="50 identity deviations"):
        label.in_deviations(np.ones(50), np.ones(79))


def numbers(count: int) -> str:
    return " ".join(["1.5"] * count)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hello",
        f"{numbers(100)}\n{numbers(79)}\n{numbers(5)}",
        f"{numbers(79)}\n{numbers(100)}\n{numbers(6)}",
        f"{numbers(100)}\n{numbers(79)}\n{numbers(5)} nan",
        f"{numbers(100)}\n{numbers(79)}\n{numbers(5)} -1",
        f"{numbers(100)}\n{numbers(79)}\n{numbers(6)}\n{numbers(6)}",
        "\xff\x00",
        "1 " * 40_000,
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "label.txt"
    file.write_text(content, "latin-1")
    with pytest.raises(FacereliefError) as caught:
        read_coarse_text(file)
    assert "label.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FacereliefError, match="cannot be read"):
        read_coarse_text(tmp_path / "none.txt")


def test_vectors_of_another_length() -> None:
    with pytest.raises(ValueError, match="identity has shape"):
        CoarseText(np.zeros(99), np.zeros(79), np.zeros(3), np.zeros(2), 1.0)
