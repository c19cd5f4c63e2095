"""Laws of the open face model that the package ships: what everything else takes for granted about it.

Lengths are mm; left is the person's, x > 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from facerelief.geometry.camera import WeakPerspective
from facerelief.geometry.closest import ClosestPoint
from facerelief.geometry.normals import face_normals
from facerelief.lab.building.surface import IBUG_MIRROR, inside, mediapipe_mirror
from facerelief.morphable import OPEN_MODEL_PATH, FaceModel, load_model, open_model
from facerelief.morphable.arkit import ARKIT_NAMES, mirrored
from facerelief.morphable.landmark_sets import OUTLINES
from facerelief.rendering.rasterizer import rasterize

SIDES = pytest.mark.parametrize(("side", "suffix"), [(-1, "Right"), (1, "Left")])


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return open_model()


@pytest.fixture(scope="module")
def mean(model) -> np.ndarray:
    return model.mean.astype(np.float64)


def openings(triangles: np.ndarray) -> list[np.ndarray]:
    """Closed chains of vertices where the surface ends."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).tolist()
    known = {(a, b) for a, b in sides}
    following = {a: b for a, b in sides if (b, a) not in known}
    loops = []
    while following:
        start, here = following.popitem()
        chain = [start]
        while here != start:
            chain.append(here)
            here = following.pop(here)
        loops.append(np.array(chain))
    return loops


def lids(model: FaceModel, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the upper and the lower lid's rim, corners in both, by x on the mean face."""
    mean = model.mean
    eyes = [loop for loop in openings(model.triangles) if abs(mean[loop, 1].mean()) < 10]
    rim = next(loop for loop in eyes if np.sign(mean[loop, 0].mean()) == side)
    first, last = sorted((int(mean[rim, 0].argmin()), int(mean[rim, 0].argmax())))
    halves = rim[first : last + 1], np.concatenate([rim[last:], rim[: first + 1]])
    lower, upper = sorted(halves, key=lambda half: mean[half, 1].mean())
    return upper[np.argsort(mean[upper, 0])], lower[np.argsort(mean[lower, 0])]


def lid_gap(vertices: np.ndarray, rims: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """mm from each inner vertex of the upper rim down to the lower rim."""
    upper, lower = vertices[rims[0]], vertices[rims[1]]
    order = np.argsort(lower[:, 0])
    return (upper[:, 1] - np.interp(upper[:, 0], lower[order, 0], lower[order, 1]))[1:-1]


def depth_in_eyeball(model: FaceModel, vertices: np.ndarray, points: np.ndarray, side: int) -> np.ndarray:
    """mm by which points lie within the eyeball; negative outside."""
    ball = model.regions["eyeballs"] & (np.sign(model.mean[:, 0]) == side)
    surface = ClosestPoint(vertices, model.triangles[ball[model.triangles].all(axis=1)]).query(points)
    centre = (vertices[ball].min(axis=0) + vertices[ball].max(axis=0)) / 2
    within = np.linalg.norm(points - centre, axis=1) < np.linalg.norm(surface.point - centre, axis=1)
    return np.where(within, surface.distance, -surface.distance)


class TestFile:
    def test_at_most_12_mb(self):
        assert OPEN_MODEL_PATH.stat().st_size <= 12e6

    def test_it_is_found_and_shared(self, model):
        assert open_model() is model
        again = load_model(OPEN_MODEL_PATH)
        np.testing.assert_array_equal(again.identity, model.identity)
        assert again.name == "facerelief-open"

    def test_its_terms_name_what_it_is_built_on(self, model):
        for word in ("Apache-2.0", "MakeHuman", "CC0", "ICT-FaceKit", "MIT"):
            assert word in model.licence


class TestTopology:
    def test_size(self, model):
        assert 8_000 <= model.n_vertices <= 20_000
        assert model.n_identity == 100
        assert model.expression_names == ARKIT_NAMES
        assert model.expression_kind == "blendshape"
        assert model.n_albedo > 0

    def test_every_vertex_is_used_and_every_edge_has_one_neighbour_at_most(self, model):
        assert len(np.unique(model.triangles)) == model.n_vertices
        t = model.triangles
        sides = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
        assert len(np.unique(sides, axis=0)) == len(sides)

    def test_openings_are_eyes_mouth_and_neck(self, model, mean):
        centres = sorted((mean[loop].mean(axis=0) for loop in openings(model.triangles)), key=lambda c: c[1])
        assert len(centres) == 4
        neck, mouth, *eyes = centres
        assert neck[1] < -100
        assert abs(mouth[0]) < 0.1
        assert -80 < mouth[1] < -55
        assert sorted(np.sign(e[0]) for e in eyes) == [-1, 1]

    def test_triangles_have_area_and_face_outward(self, model, mean):
        corners = mean[model.triangles]
        area = 0.5 * np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        assert area.min() > 1e-3
        # the volume that each part encloses is positive, so (winding being consistent) normals point outward
        ball = model.regions["eyeballs"]
        for part in (~ball, ball & (mean[:, 0] < 0), ball & (mean[:, 0] > 0)):
            chosen = corners[part[model.triangles].all(axis=1)] - mean[part].mean(axis=0)
            assert np.linalg.det(chosen).sum() > 0
        seen = face_normals(mean, model.triangles)[:, 2]
        front = model.regions["nose"][model.triangles].all(axis=1)
        assert (seen[front] > 0).mean() > 0.8

    def test_texture_coordinates(self, model):
        assert model.uv.min() >= 0
        assert model.uv.max() <= 1
        assert len(model.uv_triangles) == len(model.triangles)
        # one texture vertex belongs to one vertex, and no triangle is flat or turned over
        owner = np.zeros(len(model.uv), np.int64)
        owner[model.uv_triangles.reshape(-1)] = model.triangles.reshape(-1)
        np.testing.assert_array_equal(owner[model.uv_triangles], model.triangles)
        a, b = (
            model.uv[model.uv_triangles[:, k]].astype(float) - model.uv[model.uv_triangles[:, 0]]
            for k in (1, 2)
        )
        assert (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).min() > 0


class TestSymmetry:
    def test_the_map_is_an_involution_that_mirrors_the_mean(self, model, mean):
        mirror = model.symmetry
        np.testing.assert_array_equal(mirror[mirror], np.arange(model.n_vertices))
        assert np.abs(mean[mirror] * [-1, 1, 1] - mean).max() < 0.1

    def test_regions_are_symmetric(self, model):
        for name, mask in model.regions.items():
            assert (mask[model.symmetry] == mask).mean() > 0.998, name

    def test_components_are_symmetric_or_change_sign(self, model):
        flipped = model.identity[model.symmetry] * np.array([-1, 1, 1], np.float32)[:, None]
        same = np.abs(flipped - model.identity).max(axis=(0, 1))
        opposite = np.abs(flipped + model.identity).max(axis=(0, 1))
        assert np.minimum(same, opposite).max() < 0.05
        assert (same < opposite).sum() > 50

    def test_left_units_are_right_units_mirrored(self, model):
        """As far as the face units that they come from are: their lips' midline moves a little sideways."""
        partner = [ARKIT_NAMES.index(mirrored(name)) for name in ARKIT_NAMES]
        flipped = model.expression[model.symmetry] * np.array([-1, 1, 1], np.float32)[:, None]
        apart = np.linalg.norm(flipped - model.expression[:, :, partner], axis=1)
        assert apart.max() < 2.5
        assert np.sqrt((apart**2).mean(axis=0)).max() < 0.2
        assert np.median(apart.max(axis=0)) < 0.1

    @SIDES
    def test_each_side_moves_its_own_side(self, model, mean, side, suffix):
        for name in ("eyeBlink", "mouthSmile", "browOuterUp", "cheekSquint", "noseSneer"):
            moved = np.linalg.norm(model.expression[:, :, ARKIT_NAMES.index(name + suffix)], axis=1)
            assert moved[np.sign(mean[:, 0]) == side].sum() > 0.6 * moved.sum()


class TestEyes:
    @SIDES
    def test_lids_meet_when_the_eye_blinks(self, model, mean, side, suffix):
        rims = lids(model, side)
        middle = slice(len(rims[0]) // 6, -len(rims[0]) // 6)
        assert lid_gap(mean, rims)[middle].min() > 2
        closed = model.shape(None, model.expression_weights({f"eyeBlink{suffix}": 1.0})).astype(float)
        assert np.abs(lid_gap(closed, rims)[middle]).max() < 0.3
        other = lids(model, -side)
        np.testing.assert_allclose(lid_gap(closed, other), lid_gap(mean, other), atol=0.05)

    @SIDES
    def test_no_lid_cuts_into_the_eyeball(self, model, mean, side, suffix):
        near = ~model.regions["eyeballs"] & (np.abs(mean[:, 1]) < 20) & (np.sign(mean[:, 0]) == side)
        for weight in (0.0, 0.5, 1.0):
            shape = model.shape(None, model.expression_weights({f"eyeBlink{suffix}": weight})).astype(float)
            assert depth_in_eyeball(model, shape, shape[near], side).max() < 0.1

    @SIDES
    def test_eyeballs_fill_the_opening(self, model, mean, side, suffix):
        """Seen from the front, nothing but eyeball shows between the lids."""
        rims = lids(model, side)
        outline = np.concatenate([rims[0], rims[1][::-1]])
        camera = WeakPerspective(0, 0, 0, 100 - 4 * mean[outline, 0].mean(), 100, 4.0)
        uvz = camera.project(mean)
        drawn = rasterize(uvz, model.triangles, 200, 200, cull_backfaces=True)
        i, j = np.mgrid[:200, :200] + 0.5
        within = inside(np.stack([j.ravel(), i.ravel()], axis=1), uvz[outline, :2]).reshape(200, 200)
        eyeball = model.regions["eyeballs"][model.triangles[drawn.triangle]].all(axis=-1) & drawn.mask
        assert within.sum() > 1000
        assert eyeball[within].mean() > 0.9
        assert drawn.mask[within].mean() > 0.995

    @SIDES
    def test_pupils_lie_at_the_front_of_the_eyeballs(self, model, mean, side, suffix):
        ball = mean[model.regions["eyeballs"] & (np.sign(mean[:, 0]) == side)]
        centre = (ball.min(axis=0) + ball.max(axis=0)) / 2
        radius = np.ptp(ball, axis=0)[:2].mean() / 2
        assert 10 < radius < 16
        iris = model.landmarks["mediapipe478"].of(mean)[slice(468, 473) if side < 0 else slice(473, 478)]
        np.testing.assert_allclose(iris[0, :2], centre[:2], atol=0.3)
        assert iris[0, 2] == pytest.approx(ball[:, 2].max(), abs=0.3)
        np.testing.assert_allclose(np.linalg.norm(iris[1:, :2] - iris[0, :2], axis=1), 5.9, atol=0.8)
        color = model.landmarks["mediapipe478"].of(model.albedo_mean)[468 if side < 0 else 473]
        assert color.max() < 0.2

    @SIDES
    def test_looking_turns_the_eyeball_and_leaves_its_size(self, model, mean, side, suffix):
        chosen = model.regions["eyeballs"] & (np.sign(mean[:, 0]) == side)
        pupil = 468 if side < 0 else 473
        rest = model.landmarks["mediapipe478"].of(mean)[pupil]
        for name, axis, sign in (
            ("eyeLookUp", 1, 1),
            ("eyeLookDown", 1, -1),
            ("eyeLookOut", 0, side),
            ("eyeLookIn", 0, -side),
        ):
            shape = model.shape(None, model.expression_weights({name + suffix: 1.0})).astype(float)
            moved = model.landmarks["mediapipe478"].of(shape)[pupil] - rest
            assert sign * moved[axis] > 3, name
            assert np.abs(moved[1 - axis]) < 0.5 * np.abs(moved[axis]), name
            size = np.linalg.norm(np.ptp(shape[chosen], axis=0))
            assert size == pytest.approx(np.linalg.norm(np.ptp(mean[chosen], axis=0)), rel=0.05)


class TestMouth:
    @staticmethod
    def hole(model: FaceModel, vertices: np.ndarray) -> tuple[float, float]:
        """Seen from the front: height in mm of what is open between the lips, and its share of them."""
        zoom = 4.0
        camera = WeakPerspective(0, 0, 0, 200, 160 - zoom * 65, zoom)
        uvz = camera.project(vertices.astype(float))
        drawn = rasterize(uvz, model.triangles, 400, 400, cull_backfaces=True)
        i, j = np.mgrid[:400, :400] + 0.5
        outline = camera.project(model.landmarks["ibug68"].of(vertices.astype(float))[48:60])[:, :2]
        lips = inside(np.stack([j.ravel(), i.ravel()], axis=1), outline).reshape(400, 400)
        empty = lips & ~drawn.mask
        return empty.sum(axis=0).max() / zoom, empty.sum() / lips.sum()

    def test_lips_meet_at_rest(self, model):
        height, share = self.hole(model, model.mean)
        assert height < 1.0
        assert share < 0.03

    def test_the_jaw_opens_them_and_mouth_close_shuts_them(self, model):
        height, _ = self.hole(model, model.shape(None, model.expression_weights({"jawOpen": 1.0})))
        assert height > 20
        both = model.expression_weights({"jawOpen": 1.0, "mouthClose": 1.0})
        height, _ = self.hole(model, model.shape(None, both))
        assert height < 3

    def test_smiles_pull_the_corners_outward_and_up(self, model, mean):
        both = model.expression_weights({"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0})
        marks = model.landmarks["ibug68"]
        moved = marks.of(model.shape(None, both))[[48, 54]] - marks.of(model.mean)[[48, 54]]
        assert moved[0, 0] < -2
        assert moved[1, 0] > 2
        assert (moved[:, 1] > 2).all()


class TestLandmarks:
    def test_both_sets_lie_on_the_surface(self, model):
        assert {name: len(points) for name, points in model.landmarks.items()} == {
            "ibug68": 68,
            "mediapipe478": 478,
        }
        triangles = {tuple(t) for t in np.sort(model.triangles, axis=1).tolist()}
        for points in model.landmarks.values():
            np.testing.assert_allclose(points.weights.sum(axis=1), 1, atol=1e-5)
            assert points.weights.min() > -1e-6
            for corners in np.sort(points.vertices, axis=1).tolist():
                assert tuple(corners) in triangles or len(set(corners)) == 1

    def test_they_are_symmetric(self, model, mean):
        for name, points in model.landmarks.items():
            at = points.of(mean)
            partner = IBUG_MIRROR if name == "ibug68" else mediapipe_mirror(at)
            np.testing.assert_array_equal(partner[partner], np.arange(len(at)))
            assert np.abs(at[partner] * [-1, 1, 1] - at).max() < 2.5

    def test_they_are_where_their_names_say(self, model, mean):
        p = model.landmarks["ibug68"].of(mean)
        assert (np.diff(p[:17, 0]) > 0).all()  # jaw from the person's right to the left
        assert p[8, 1] == p[:17, 1].min()  # chin
        assert p[30, 2] == p.max(axis=0)[2]  # nose tip
        assert (p[17:27, 1] > p[36:48, 1].max()).all()  # brows above eyes
        assert p[36:42, 0].max() < 0 < p[42:48, 0].min()
        assert p[33, 1] > p[51, 1] > p[62, 1] > p[66, 1] > p[57, 1] > p[8, 1]
        assert 55 < p[45, 0] - p[36, 0] < 110  # outer eye corners, mm
        dense = model.landmarks["mediapipe478"].of(mean)
        assert dense[10, 1] > dense[9, 1] > dense[1, 1] > dense[13, 1] > dense[152, 1]
        assert np.linalg.norm(dense[1] - p[30]) < 15

    def test_lid_landmarks_lie_on_the_rims(self, model):
        points = model.landmarks["ibug68"]
        for side, corners in ((-1, range(36, 42)), (1, range(42, 48))):
            rim = set(np.concatenate(lids(model, side)).tolist())
            assert {int(points.vertices[i, 0]) for i in corners} <= rim

    def test_spreads_are_a_few_millimetres(self, model):
        spread = model.landmarks["mediapipe478"].spread
        assert spread is not None
        assert spread.shape == (478,)
        assert spread.min() >= 0.3
        assert spread.max() <= 8
        outline, rest = list(OUTLINES["mediapipe478"]), np.ones(478, bool)
        rest[outline] = False
        assert np.median(spread[outline]) > 0.8 * np.median(spread[rest])

    def test_outline_candidates_are_skin_near_their_landmark(self, model, mean):
        hidden = model.regions["eyeballs"] | model.regions["ears"]
        for name, contour in model.contours.items():
            at = model.landmarks[name].of(mean)[contour.landmarks]
            assert set(contour.landmarks.tolist()) <= set(OUTLINES[name])
            assert not hidden[contour.candidates].any()
            rows = mean[contour.candidates]
            assert np.linalg.norm(rows - at[:, None], axis=2).min(axis=1).max() < 12
            # from the ear side inward
            assert (rows[:, -1, 2] > rows[:, 0, 2]).all()

    def test_outline_candidates_are_neighbours(self, model, mean):
        for name, contour in model.contours.items():
            rows = mean[contour.candidates]
            assert np.linalg.norm(np.diff(rows, axis=1), axis=2).max() < 20
            at = model.landmarks[name].of(mean)[contour.landmarks]
            assert np.linalg.norm(rows - at[:, None], axis=2).max() < 50


class TestRegions:
    def test_all_are_there(self, model):
        wanted = {"face", "narrow_face", "eyes", "lips", "nose", "brows", "ears", "neck", "scalp", "eyeballs"}
        assert wanted <= set(model.regions)
        for name in wanted:
            assert model.regions[name].sum() > 50, name

    def test_parts_do_not_overlap(self, model):
        r = model.regions
        parts = ("eyes", "lips", "nose", "brows", "ears", "eyeballs")
        for k, one in enumerate(parts):
            for other in parts[k + 1 :]:
                assert not (r[one] & r[other]).any(), (one, other)
        for part in ("eyes", "lips", "nose", "brows"):
            assert (r[part] & ~r["face"]).sum() == 0, part
        assert not (r["face"] & (r["ears"] | r["eyeballs"])).any()
        assert not (r["narrow_face"] & ~r["face"]).any()
        assert not (r["neck"] & r["scalp"]).any()

    def test_every_vertex_belongs_somewhere(self, model):
        assert np.any(list(model.regions.values()), axis=0).all()


@pytest.fixture(scope="module")
def face(model, mean) -> tuple[np.ndarray, np.ndarray]:
    """The face's triangles and their normals on the mean."""
    triangles = model.triangles[model.face_vertices[model.triangles].all(axis=1)]
    return triangles, face_normals(mean, triangles)


class TestSamples:
    """Random people look like people: no skin folded over, no lids crossed."""

    @staticmethod
    def folded(model: FaceModel, vertices: np.ndarray, face: np.ndarray, rest: np.ndarray) -> float:
        """Share of the face's triangles that have turned over."""
        return float(((face_normals(vertices, face) * rest).sum(axis=1) < 0).mean())

    def test_random_people(self, model, face):
        rng = np.random.default_rng(0)
        rims = lids(model, -1), lids(model, 1)
        share = []
        for _ in range(40):
            shape = model.shape(rng.standard_normal(100)).astype(float)
            share.append(self.folded(model, shape, *face))
            for rim in rims:
                assert lid_gap(shape, rim).min() > 0
                assert 4 < lid_gap(shape, rim).max() < 16
        assert np.mean(share) < 0.004
        assert max(share) < 0.015

    def test_three_deviations_of_any_component(self, model, face):
        rims = lids(model, -1), lids(model, 1)
        share = []
        for k in range(100):
            for sign in (-3.0, 3.0):
                coefficients = np.zeros(k + 1)
                coefficients[k] = sign
                shape = model.shape(coefficients).astype(float)
                share.append(self.folded(model, shape, *face))
                assert min(lid_gap(shape, rim).min() for rim in rims) > 0
        assert np.mean(share) < 0.0005
        assert max(share) < 0.008

    def test_components_are_ordered_by_size_and_none_is_empty(self, model):
        face = model.face_vertices
        size = np.sqrt((model.identity[face] ** 2).sum(axis=1).mean(axis=0))
        assert size[0] > 2
        assert size.min() > 0.01
        assert size[:10].min() > size[50:].max()

    def test_every_expression_moves_something_and_nothing_far(self, model):
        moved = dict(zip(model.expression_names, np.linalg.norm(model.expression, axis=1).max(axis=0)))
        assert moved.pop("tongueOut") == 0  # there is no tongue
        assert min(moved.values()) > 0.5
        assert max(moved.values()) < 60


def test_albedo_is_a_colour(model):
    rng = np.random.default_rng(0)
    assert model.albedo_mean.min() >= 0
    assert model.albedo_mean.max() <= 1
    for _ in range(10):
        skin = model.skin(rng.standard_normal(model.n_albedo))[model.face_vertices]
        # a linear model leaves the range of colours on few places of the lightest skins
        assert -0.1 < skin.min() < skin.max() < 1.5
        assert np.mean(skin > 1.05) < 0.03


def test_fewer_components_are_a_smaller_model(model):
    few = model.truncated(identity=7, albedo=2)
    assert (few.n_identity, few.n_albedo) == (7, 2)
    np.testing.assert_array_equal(few.shape(np.ones(7)), model.shape(np.ones(7)))
    assert replace(few, name="few").name == "few"


def test_parts_of_open2_share_no_texels():
    """Skin and the parts that textures paint in the model's colours lie apart in uv."""
    two = open_model("open2")
    inner = two.region("teeth", "gums", "tongue", "mouth", "eye_sockets", "lashes")[two.triangles].all(axis=1)
    size = 512
    flat = np.column_stack([two.uv * size, np.zeros(len(two.uv))])
    skin, other = (rasterize(flat, two.uv_triangles[own], size, size).mask for own in (~inner, inner))
    assert (skin & other).sum() < 10
