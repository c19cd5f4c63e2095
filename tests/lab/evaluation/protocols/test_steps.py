"""The steps that protocols are made of: crops, alignments, correspondence, distances, statistics."""

from __future__ import annotations

import numpy as np
import pytest

from facerelief.geometry import Mesh, Similarity, matrix_from_euler, procrustes
from facerelief.lab.evaluation.protocols.files.landmark_files import MEAN_ANCHORS, SEVEN, Landmarks
from facerelief.lab.evaluation.protocols.problems import EvaluationError
from facerelief.lab.evaluation.protocols.steps import statistics as st
from facerelief.lab.evaluation.protocols.steps.alignment import (
    Surface,
    deviation_scale,
    keypoint_icp,
    scan_to_surface,
    similarity_icp,
)
from facerelief.lab.evaluation.protocols.steps.checks import (
    check_extent,
    check_face_order,
    check_handedness,
    check_size,
    check_surface,
    guess_unit,
)
from facerelief.lab.evaluation.protocols.steps.crops import (
    FaceFrame,
    below_forehead,
    cropped,
    nose_crop,
    nose_tip,
    now_crop,
    now_sphere,
)
from facerelief.lab.evaluation.protocols.steps.distances import (
    on_rim,
    point_to_plane,
    point_to_surface,
    symmetric_mean,
)
from facerelief.lab.evaluation.protocols.steps.nonrigid import NonRigidConfig, deform

MOTION = Similarity(1.3, matrix_from_euler(0.1, 0.4, -0.3), np.array([5.0, -8.0, 30.0]))
IDS = [36, 39, 42, 45, 33, 48, 54]


def wavy(n: int = 25, size: float = 40.0) -> Mesh:
    """A square with hills, mm, seen from +z."""
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(-size, size, n), np.linspace(-size, size, n)))
    z = 6 * np.sin(x / 9) + 5 * np.cos(y / 7) + 0.004 * (x - 5) ** 2
    a = np.arange(n * n).reshape(n, n)
    quads = [a[:-1, :-1], a[:-1, 1:], a[1:, 1:], a[1:, :-1]]
    p, q, r, s = (part.ravel() for part in quads)
    return Mesh(
        np.stack([x, y, z], 1).astype(np.float32),
        np.vstack([np.c_[p, q, r], np.c_[p, r, s]]).astype(np.int32),
    )


# ---------------------------------------------------------------- crops


def test_the_sphere_of_now():
    seven = np.array(
        [[-45, 0, 0], [-15, 0, 0], [15, 0, 0], [45, 0, 0], [0, -50, 0], [-25, -70, 0], [25, -70, 0]], float
    )
    center, radius = now_sphere(seven)
    assert np.allclose(
        center, [0, -35, 0]
    )  # a third of the way... 0.3 from the bottom of the nose to the bridge
    assert radius == pytest.approx(1.4 * (90 + 50) / 2)
    points = center + radius * np.array([[0.999, 0, 0], [1.001, 0, 0], [0, 0, -0.999]])
    assert now_crop(points, seven).tolist() == [True, False, True]


def test_crops_move_with_the_face(person):
    marks = Landmarks(person.marks, "a")
    other = Landmarks(MOTION.apply(person.marks), "b")
    v = person.vertices
    moved = MOTION.apply(v)
    assert (now_crop(v, marks.seven) == now_crop(moved, other.seven)).all()
    assert (below_forehead(v, marks, 40) == below_forehead(moved, other, 40 * MOTION.scale)).all()
    assert (nose_crop(v, person.marks[30], 95) == nose_crop(moved, other.points[30], 95 * MOTION.scale)).all()


def test_the_frame_of_a_face(person):
    frame = FaceFrame.of(Landmarks(person.marks, "a"))
    assert frame.left[0] > 0.99
    assert frame.up[1] > 0.9
    assert frame.front[2] > 0.9


def test_the_nose_tip_is_found_without_a_landmark(person):
    mesh = person.scan()
    seven = Landmarks(person.marks[IDS], "a")
    assert np.linalg.norm(nose_tip(mesh, seven) - person.marks[30]) < 5
    with pytest.raises(EvaluationError, match="no surface near"):
        nose_tip(Mesh(mesh.vertices + 500, mesh.triangles), seven)


def test_an_empty_crop_is_an_error():
    with pytest.raises(EvaluationError, match="only 1 of 40"):
        cropped(np.zeros((40, 3)), np.arange(40) < 1, "s.obj")


# ---------------------------------------------------------------- alignment


def test_realys_scale_is_the_ratio_of_deviations():
    points = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2.0]])
    found = deviation_scale(points, MOTION.apply(points))
    assert found.scale == pytest.approx(MOTION.scale)
    assert np.allclose(found.apply(points), MOTION.apply(points))
    # not the scale of least squares: one coordinate that is off counts by its size, not its square
    target = points.copy()
    target[1, 0] = 4
    turned = (points - points.mean(0)) @ procrustes(points, target, with_scale=False).rotation.T
    expected = np.abs(target - target.mean(0)).sum() / np.abs(turned).sum()
    assert deviation_scale(points, target).scale == pytest.approx(expected)
    assert expected != pytest.approx(procrustes(points, target).scale)


@pytest.mark.parametrize("with_scale", [True, False])
def test_scan_to_surface_undoes_a_motion(with_scale):
    mesh = wavy()
    inner = mesh.vertices[np.abs(mesh.vertices[:, :2]).max(axis=1) < 30].astype(np.float64)
    motion = MOTION if with_scale else Similarity(1.0, MOTION.rotation, MOTION.translation)
    moved = Mesh(motion.apply(mesh.vertices), mesh.triangles)
    off = Similarity(
        1.03 if with_scale else 1.0, matrix_from_euler(0.03, -0.04, 0.02), np.array([0.8, -0.5, 1.0])
    )
    surface = Surface.of(moved)
    pose = scan_to_surface(inner, surface, off.after(motion.inverse()), with_scale=with_scale)
    assert point_to_surface(inner, surface, pose).max() < 1e-3
    assert pose.scale == pytest.approx(1 / motion.scale, abs=1e-4)


def test_shrinking_the_prediction_gains_nothing():
    """Distances count on the scan: a flat prediction is not scaled away."""
    mesh = wavy()
    points = mesh.vertices.astype(np.float64)
    flat = Mesh((mesh.vertices * [1, 1, 0]).astype(np.float32), mesh.triangles)
    pose = scan_to_surface(points, Surface.of(flat), Similarity.identity(), with_scale=True)
    assert 0.5 < pose.scale < 2


def test_icp_with_a_similarity_in_each_round():
    mesh = wavy()
    inner = mesh.vertices[np.abs(mesh.vertices[:, :2]).max(axis=1) < 25].astype(np.float64)
    off = Similarity(1.02, matrix_from_euler(0.02, 0.01, -0.02), np.array([0.3, 0.4, 0.5]))
    motion, nearest = similarity_icp(
        off.apply(inner), Surface.of(mesh), Similarity.identity(), tolerance=1e-6
    )
    assert nearest.distance.mean() < 0.02
    assert motion.scale == pytest.approx(1 / 1.02, abs=0.005)


def test_keypoints_hold_what_a_plane_leaves_free():
    """On a plane every shift fits the points; the keypoints alone say which is right."""
    n = 15
    mesh = Mesh((wavy(n).vertices * [1, 1, 0]).astype(np.float32), wavy(n).triangles)
    points = mesh.vertices[np.abs(mesh.vertices[:, :2]).max(axis=1) < 20].astype(np.float64)
    keypoints = np.array([[-10, 0, 0], [10, 0, 0], [0, 10, 0.0]])
    off = Similarity(1.0, np.eye(3), np.array([3.0, -2.0, 0.0]))
    pose = keypoint_icp(points, Surface.of(mesh), off, keypoints, keypoints, repeat=len(points) // 3)
    assert np.abs(pose.apply(keypoints) - keypoints).max() < 0.1


def test_nonrigid_leaves_a_match_and_follows_a_bulge():
    mesh = wavy(15)
    v = mesh.vertices.astype(np.float64) / 9
    assert np.abs(deform(v, mesh.triangles, v) - v).max() < 1e-6
    goal = v + np.exp(-np.sum(v[:, :2] ** 2, axis=1) / 4)[:, None] * [0, 0, 0.8]
    ids = np.array([0, 112, 224])
    left = [0.8]  # at the middle of the bulge; the softer the sheet, the closer it comes
    for stiffness in (50.0, 10.0, 1.0):
        moved = deform(v, mesh.triangles, goal, ids, goal[ids], NonRigidConfig(stiffness=stiffness))
        left.append(float(np.linalg.norm(moved[112] - goal[112])))
    assert left == sorted(left, reverse=True)
    assert left[1] < 0.6
    assert left[-1] < 0.1


# ---------------------------------------------------------------- distances


def test_distances_to_a_plane_and_its_rim():
    mesh = Mesh(np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0]], np.float32), np.array([[0, 1, 2]], np.int32))
    surface, still = Surface.of(mesh), Similarity.identity()
    points = np.array([[2, 2, 3], [-4, 2, 3.0]])
    assert np.allclose(point_to_surface(points, surface, still), [3, 5])
    assert np.allclose(point_to_plane(points, surface, still), [3, 3])
    assert on_rim(surface, surface.nearest(points, still)).tolist() == [False, True]
    twice = Similarity(2.0, np.eye(3), np.zeros(3))
    assert np.allclose(point_to_surface(points, surface, twice), [3, 5])


def test_the_symmetric_distance_is_symmetric():
    a, b = np.array([1.0, 2.0]), np.array([5.0, 5.0, 5.0, 5.0])
    assert symmetric_mean(a, b) == symmetric_mean(b, a) == 3.25


# ---------------------------------------------------------------- statistics


def test_now_counts_vertices_not_scans():
    row = st.concatenated([np.array([1.0, 1.0, 1.0]), np.array([5.0])])
    assert row == {"median": 1.0, "mean": 2.0, "std": pytest.approx(np.sqrt(3)), "vertices": 4}
    curve = dict(st.cumulative_curve([np.array([0.0, 1.0, 1.05, 9.0])]))
    assert (curve[0.0], curve[0.9], curve[1.0], curve[1.1], curve[7.0]) == (25, 25, 50, 75, 75)
    assert len(curve) == 71


def test_micc_counts_meshes():
    assert st.over_meshes([1.0, 3.0, 8.0]) == {
        "mean": 4.0,
        "std": pytest.approx(np.std([1, 3, 8])),
        "median": 3.0,
        "meshes": 3,
    }
    assert st.rmse([3.0, 4.0]) == pytest.approx(np.sqrt(12.5))


def test_realy_means_of_regions():
    table = st.over_regions({"nose": [1.0, 3.0], "cheek": [4.0, 4.0]})
    assert table["nose"] == {"mean": 2.0, "median": 2.0, "std": pytest.approx(np.sqrt(2)), "meshes": 2}
    assert table["all"] == {"mean": 3.0}
    assert st.over_regions({"nose": [1.0]})["nose"]["std"] == 0


def test_aflw_weighs_bins_not_pictures():
    yaws = [0, -30, 30.5, 60, -61, 99]
    assert [st.yaw_bin(y) for y in yaws] == ["0-30", "0-30", "30-60", "30-60", "60-90", "60-90"]
    table = st.over_yaw_bins([1.0, 1.0, 1.0, 4.0, 9.0], [0, 5, -10, 45, 80])
    assert table["0-30"] == {"mean": 1.0, "std": 0.0, "pictures": 3}
    assert table["all"]["mean"] == pytest.approx(14 / 3)
    assert table["all"]["std"] == pytest.approx(np.std([1, 4, 9]))
    assert set(st.over_yaw_bins([2.0], [0])) == {"0-30", "all"}


def test_nme_on_points_made_by_hand():
    truth = np.zeros((68, 2))
    truth[0], truth[1] = [0, 0], [100, 25]  # box of 100 x 25: size 50
    assert st.normalized_mean_error(truth + [3, 4], truth) == pytest.approx(10.0)
    moved = truth.copy()
    moved[5] += [0, 34]
    assert st.normalized_mean_error(moved, truth) == pytest.approx(1.0)
    # the truth's box, not the prediction's
    assert st.normalized_mean_error(truth, truth * 2) != st.normalized_mean_error(truth * 2, truth)


# ---------------------------------------------------------------- checks


@pytest.mark.parametrize(("size", "unit"), [(160, "mm"), (16, "cm"), (0.16, "m"), (1.6, None), (1.6e5, None)])
def test_a_face_of_a_size_has_a_unit(size, unit):
    assert guess_unit(160 / size) == unit


def seven(scale: float = 1.0) -> Landmarks:
    return Landmarks(scale * np.array([MEAN_ANCHORS[name] for name in SEVEN]), "a.npy")


def test_sizes():
    assert check_size(seven(), matters=True, option="--unit") == []
    with pytest.raises(EvaluationError, match="looks like cm; give --unit cm"):
        check_size(seven(0.1), matters=True, option="--unit")
    assert "looks like m;" in check_size(seven(0.001), matters=False, option="--unit")[0]
    # taken as cm by the user: a face of 1600 mm
    with pytest.raises(EvaluationError, match=r"as cm the face would be 10 times.* looks like mm"):
        check_size(seven(10), matters=True, option="--unit", unit="cm")
    with pytest.raises(EvaluationError, match="no such size"):
        check_size(seven(0.01), matters=True, option="--unit")
    with pytest.raises(EvaluationError, match="--unit m "):
        check_extent(
            Mesh(np.array([[0, 0, 0], [0.2, 0, 0]], np.float32), np.zeros((0, 3), np.int32)),
            "a",
            option="--unit",
        )


def test_mirror_images_and_orders(person):
    check_face_order(Landmarks(MOTION.apply(person.marks), "a"))
    for flipped in (person.marks * [-1, 1, 1], person.marks * [1, 1, -1], -person.marks):
        with pytest.raises(EvaluationError, match="mirror"):
            check_face_order(Landmarks(flipped, "a"))
        with pytest.raises(EvaluationError, match="mirror"):
            check_handedness(MOTION.apply(flipped), person.marks, "a")
    with pytest.raises(EvaluationError, match="order"):
        check_face_order(Landmarks(np.roll(person.marks, 20, axis=0), "a"))


def test_mirror_images_in_the_plane(person):
    flat = person.marks[:, :2]
    turned = flat @ matrix_from_euler(0, 0, 1.0)[:2, :2].T * 3 + 7
    check_handedness(turned, flat, "a")
    with pytest.raises(EvaluationError, match="mirror"):
        check_handedness(turned * [1, -1], flat, "a")


def test_surfaces():
    mesh = wavy(5)
    assert check_surface(mesh, "a") == []
    with pytest.raises(EvaluationError, match="points without triangles"):
        check_surface(Mesh(mesh.vertices, np.zeros((0, 3), np.int32)), "a")
    folded = Mesh(mesh.vertices, np.vstack([mesh.triangles, [[0, 6, 3]], [[0, 6, 4]]]).astype(np.int32))
    assert "1 edge belongs to more than two" in check_surface(folded, "a")[0]
