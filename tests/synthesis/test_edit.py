"""Laws of edited photos."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

import facerelief
from facerelief.examples import astronaut_path
from facerelief.morphable.arkit import ARKIT_NAMES, mirrored
from facerelief.rendering.rasterizer import rasterize
from facerelief.synthesis import EXPRESSIONS, LIGHTS, EditError, Editor, edit


def radians(*degrees):
    return tuple(math.radians(x) for x in degrees)


@pytest.fixture(scope="module")
def portrait():
    """The astronaut's face in 224 x 224 px."""
    whole = facerelief.read_image(astronaut_path())
    small = np.asarray(cv2.resize(whole[0:280, 90:370], (224, 224), interpolation=cv2.INTER_AREA))
    return facerelief.reconstruct(small)[0]


@pytest.fixture(scope="module")
def editor(portrait):
    return Editor(portrait)


@pytest.fixture(scope="module")
def toy_editor(toy_reconstruction):
    return Editor(toy_reconstruction)


@pytest.mark.parametrize("which", ["editor", "toy_editor"])
def test_nothing_changed_is_the_photo(which, request):
    editor = request.getfixturevalue(which)
    made = editor.render()
    photo = editor.reconstruction.image.astype(int)
    apart = np.abs(made.image.astype(int) - photo)
    assert made.coverage.max() == 1
    assert apart[made.coverage > 0].mean() < 1
    assert apart[made.coverage == 0].max() == 0
    assert np.percentile(apart, 99) <= 2


def test_far_from_the_face_a_turned_photo_stays(editor):
    made = editor.edit(turn=radians(0, 15, 0))
    photo = editor.reconstruction.image.astype(int)
    apart = np.abs(made.image.astype(int) - photo)
    assert apart[:, 0].mean() < 2
    assert apart[60:160, 80:150].mean() > 8


def test_pose_turns_about_the_ears_and_replaces_angles(editor):
    old = editor.reconstruction.camera
    new = editor.camera(yaw=0.3, turn=(0.1, 0, 0))
    assert (new.yaw, new.pitch, new.roll) == pytest.approx((0.3, old.pitch + 0.1, old.roll))
    assert new.scale == old.scale
    model = editor.reconstruction.model
    ears = editor.reconstruction.neutral[model.regions["ears"]]
    middle = (ears.min(axis=0) + ears.max(axis=0)) / 2
    np.testing.assert_allclose(new.project(middle)[:2], old.project(middle)[:2], atol=1e-3)
    assert editor.camera() == old


def test_the_edit_says_what_is_in_the_image(editor):
    made = editor.edit(turn=radians(0, 12, 0), expression={"jawOpen": 0.7})
    (found,) = facerelief.reconstruct(made.image)
    assert math.degrees(found.camera.yaw - made.camera.yaw) == pytest.approx(0, abs=6)
    apart = np.linalg.norm(found.landmarks68_px - made.landmarks68_px, axis=1)
    assert apart.mean() < 4
    jaw = list(made.model.expression_names).index("jawOpen")
    assert made.expression[jaw] == pytest.approx(0.7)
    assert found.expression[jaw] > 0.25
    assert made.coarse.depth.size
    assert made.fine is None


@pytest.mark.parametrize("degrees", [(0, 30, 0), (0, -30, 0), (15, 0, 0), (-15, 0, 0), (0, 0, 25)])
def test_the_warp_of_a_turned_head_does_not_fold(editor, degrees):
    camera = editor.camera(turn=radians(*degrees))
    made = editor.render(camera)
    vertices = editor.photo.surface.extended(made.vertices)
    uvz = camera.project(vertices.astype(float))
    moved = editor._motion.displacement(uvz, camera, editor.photo.camera_normals(camera, vertices))
    nodes = editor._motion.warp.nodes(moved)
    gy, gx = editor._motion.warp.shape
    place = np.stack(np.meshgrid(np.arange(gx), np.arange(gy)), axis=-1) * editor._motion.warp._cell
    a, b = np.diff(place + nodes, axis=1)[:-1], np.diff(place + nodes, axis=0)[:, :-1]
    assert (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).min() > 0


@pytest.mark.parametrize("first", [0, 20])
def test_the_background_follows_the_outline(editor, first):
    """Parts of the face left in the warped image end up under the rendered face: no second contour."""
    once = Editor(editor.edit(yaw=math.radians(first)))
    camera = once.camera(turn=radians(0, 15, 0))
    made = once.render(camera)
    uvz = camera.project(once.photo.surface.extended(made.vertices).astype(float))
    normals = once.photo.camera_normals(camera, once.photo.surface.extended(made.vertices))
    x, y = once._motion(uvz, camera, normals).maps()
    shown = once.render().coverage.astype(np.float32)
    carried = np.asarray(cv2.remap(shown, x, y, cv2.INTER_LINEAR))
    beyond = (carried > 0.5) & (made.coverage < 0.1)
    assert beyond.sum() < 0.03 * (shown > 0.5).sum()


def test_there_and_back(editor):
    """Most of the face survives a turn and the turn back."""
    there = editor.edit(turn=radians(0, 10, 0))
    back = edit(there, turn=radians(0, -10, 0))
    np.testing.assert_allclose(back.camera.vector, editor.reconstruction.camera.vector, atol=1e-3)
    inside = editor.render().coverage > 0.9
    apart = np.abs(back.image.astype(int) - editor.reconstruction.image)[inside]
    assert apart.mean() < 8


@pytest.mark.parametrize("which", ["editor", "toy_editor"])
def test_twice_the_light_is_twice_the_face(which, request):
    editor = request.getfixturevalue(which)
    light = editor.light("from-left")
    one, two = (editor.render(light=light * k).image.astype(float) for k in (0.2, 0.4))
    inside = editor.render().coverage == 1
    apart = np.abs(two - 2 * one)[inside & (two.max(axis=2) < 250)]
    assert np.percentile(apart, 99) <= 2  # the rest is wall that the fit takes for skin, and keeps its light


def test_lights_keep_brightness_and_go_where_they_say(editor):
    photo = editor.reconstruction.image.astype(float)
    inside = editor.render().coverage == 1
    columns = np.arange(224)[None] + np.zeros((224, 1))
    middle = columns[inside].mean()

    def sides(image):
        grey = image.astype(float).mean(axis=2)
        return grey[inside & (columns < middle)].mean(), grey[inside & (columns > middle)].mean()

    for name in LIGHTS:
        made = editor.edit(light=name).image
        assert made[inside].mean() == pytest.approx(photo[inside].mean(), rel=0.25), name
    left, right = sides(editor.edit(light="from-left").image)
    assert left > 1.2 * right
    left, right = sides(editor.edit(light="from-right").image)
    assert right > 1.2 * left
    np.testing.assert_allclose(editor.light("rotate:0"), editor.reconstruction.light, atol=1e-3)


def test_closed_eyes_cover_the_eyeballs(editor):
    model = editor.reconstruction.model
    made = editor.edit(expression={"blink": 1})
    eyes = model.regions["eyeballs"][model.triangles].all(axis=1)
    shown = []
    for r in (editor.reconstruction, made):
        rendered = rasterize(r.camera.project(r.vertices), model.triangles, 224, 224, cull_backfaces=True)
        shown.append(np.count_nonzero(rendered.mask & eyes[np.maximum(rendered.triangle, 0)]))
    assert shown[0] > 20
    assert shown[1] <= 0.1 * shown[0]
    # where dark pupils were there is skin
    pupils = editor.reconstruction.model.landmarks["mediapipe478"].of(editor.reconstruction.vertices)[
        [468, 473]
    ]
    for u, v in editor.reconstruction.camera.project(pupils)[:, :2].astype(int):
        window = slice(v - 2, v + 3), slice(u - 2, u + 3)
        assert made.image[window].mean() > editor.reconstruction.image[window].mean() + 20


def test_an_open_mouth_has_an_inside(editor):
    assert editor.reconstruction.model.region("mouth").any()
    made = editor.edit(neutral=True, expression={"jawOpen": 1.0})
    points = made.landmarks68_px
    u, v = points[[62, 66]].mean(axis=0).astype(int)
    colour = made.image[v - 2 : v + 3, u - 2 : u + 3].reshape(-1, 3).mean(axis=0)
    assert colour.mean() < 100
    assert colour[0] > colour[2]  # dark red, not the grey wall


def test_names(editor):
    for name, parts in EXPRESSIONS.items():
        assert set(parts) <= set(ARKIT_NAMES), name
        assert all(0 < weight <= 1 for weight in parts.values())
    with pytest.raises(EditError, match=r"'smilee' is unknown; did you mean smile"):
        editor.edit(expression={"smilee": 1})
    with pytest.raises(EditError, match="did you mean jawOpen"):
        editor.edit(expression={"jawopen": 1})
    with pytest.raises(EditError, match=r"smile has weight 3, expected 0 to 1"):
        editor.edit(expression={"smile": 3})
    with pytest.raises(EditError, match=r"'sideways' is unknown; expected from-left, .*rotate:DEG"):
        editor.edit(light="sideways")
    with pytest.raises(EditError, match="expected rotate:DEG with a number"):
        editor.edit(light="rotate:far")
    with pytest.raises(EditError, match="finite"):
        editor.edit(yaw=math.nan)
    with pytest.raises(EditError, match=r"expected finite \(9, 3\)"):
        editor.edit(light=np.zeros((3, 3)))
    with pytest.raises(EditError, match="3 weights"):
        editor.render(expression=[0, 0, 1])


def test_expressions_replace_only_what_they_name(editor):
    names = list(editor.reconstruction.model.expression_names)
    made = editor.edit(expression={"smile": 0.5, "jawOpen": 0.25})
    changed = {n for n, a, b in zip(names, made.expression, editor.reconstruction.expression) if a != b}
    assert changed <= {*EXPRESSIONS["smile"], "jawOpen"}
    assert made.expression[names.index("mouthSmileLeft")] == pytest.approx(0.5)
    assert not editor.edit(neutral=True).expression.any()


def test_same_edit_same_bytes(portrait, editor):
    wanted = {"turn": radians(5, -20, 3), "expression": {"surprise": 0.7}, "light": "from-above"}
    one, two = editor.edit(**wanted).image, edit(portrait, **wanted).image
    np.testing.assert_array_equal(one, two)


def test_without_background(editor):
    made = editor.edit(turn=radians(0, 10, 0), background=False)
    assert made.image[0].max() == 0
    assert made.image[100:130, 90:130].mean() > 50


def test_relief_moves_with_the_surface(toy_reconstruction, toy_editor):
    """Ripples get a new light, too."""
    light = toy_editor.light("from-left")
    smooth = Editor(replace(toy_reconstruction, fine=None))
    with_relief, without = (e.render(light=light).image.astype(float) for e in (toy_editor, smooth))
    inside = toy_editor.render().coverage == 1
    assert np.abs(with_relief - without)[inside].mean() > 0.5


@pytest.mark.parametrize("corner", [(-60, 0), (70, 0), (0, -90), (0, 100), (-400, 0)])
def test_faces_cut_by_the_frame(toy_reconstruction, corner):
    r = toy_reconstruction
    du, dv = corner
    shifted = replace(
        r.camera, translation_u=r.camera.translation_u + du, translation_v=r.camera.translation_v + dv
    )
    image = np.roll(r.image, (dv, du), axis=(0, 1))
    made = edit(
        replace(r, camera=shifted, image=image, fine=None, skin=None),
        turn=radians(5, 20, 5),
        expression={"jawOpen": 0.5},
        light="from-right",
    )
    assert made.image.shape == r.image.shape
    assert np.isfinite(made.coarse.depth).any() == (abs(du) < 100)


def test_a_tiny_face(toy_reconstruction):
    r = toy_reconstruction
    small = replace(
        r, image=np.asarray(cv2.resize(r.image, (30, 40))), camera=r.camera.in_crop(0, 0, 0.25), fine=None
    )
    made = edit(small, yaw=0.5, light="flat")
    assert made.image.shape == (40, 30, 3)


def mirrored_face(r):
    """The toy's face in the mirrored photo."""
    c, names = r.camera, r.model.expression_names
    camera = replace(c, yaw=-c.yaw, roll=-c.roll, translation_u=r.image.shape[1] - c.translation_u)
    expression = r.expression[[names.index(mirrored(name)) for name in names]]
    sign = np.array([1, 1, 1, -1, -1, 1, 1, -1, 1], np.float32)[:, None]  # x, xy and xz
    image = np.ascontiguousarray(r.image[:, ::-1])
    return replace(
        r, image=image, camera=camera, expression=expression, light=r.light * sign, fine=None, skin=None
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"yaw": -0.1}, {"yaw": 0.1}),
        ({"expression": {"wink-left": 1}}, {"expression": {"wink-right": 1}}),
        ({"light": "from-left"}, {"light": "from-right"}),
    ],
)
def test_the_mirrored_photo_gives_the_mirrored_edit(toy_reconstruction, one, other):
    plain = replace(toy_reconstruction, fine=None, skin=None)
    made = edit(plain, **one).image.astype(int)
    back = edit(mirrored_face(plain), **other).image[:, ::-1].astype(int)
    apart = np.abs(made - back)
    assert apart.mean() < 1
    assert np.percentile(apart, 99) < 12


def test_the_photos_own_light_and_weights_change_nothing(toy_editor):
    r = toy_editor.reconstruction
    made = toy_editor.render(r.camera, r.expression, r.light)
    np.testing.assert_array_equal(made.image, toy_editor.render().image)


def test_the_camera_comes_near_and_the_face_keeps_its_size(editor):
    """The face's middle stays and so does its scale; what lies behind it shrinks."""
    r = editor.reconstruction
    near, far = editor.camera(distance=350.0), r.camera
    assert near.inverse_distance == pytest.approx(1 / 350)
    middle = np.median(r.vertices[r.model.face_vertices].astype(float), axis=0)
    np.testing.assert_allclose(near.project(middle)[:2], far.project(middle)[:2], atol=1e-6)
    step = r.camera.rotation.T @ [1.0, 0.0, 0.0]
    widths = [np.ptp(c.project(np.stack([middle, middle + step]))[:, 0]) for c in (far, near)]
    assert widths[1] == pytest.approx(widths[0], rel=1e-6)
    ears = r.vertices[r.model.region("ears")]
    assert np.ptp(near.project(ears)[:, 0]) < 0.93 * np.ptp(far.project(ears)[:, 0])
    made = editor.edit(distance=350.0)
    assert made.camera.inverse_distance == near.inverse_distance
    assert np.abs(made.image.astype(int) - r.image).max() > 20
    before = far.inverse_distance
    again = editor.camera(distance=1 / before if before > 0 else np.inf)
    np.testing.assert_allclose(again.vector, far.vector, atol=1e-9)
    with pytest.raises(EditError, match="at least 200"):
        editor.camera(distance=50.0)
