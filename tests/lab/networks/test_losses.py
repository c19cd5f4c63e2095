# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of the losses: truth scores zero, gradients agree with differences, weights are as configured."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from facerelief.lab.networks.guo import CoarseOutput, TrackingOutput
from facerelief.lab.networks.layer import MorphableLayer
from facerelief.lab.networks.losses import (
    CoarseLoss,
    CoarseTarget,
    FineLoss,
    band_losses,
    coarse_loss,
    distances,
    fine_loss,
    gaussian_blur,
    gaussian_nll,
    normals,
    opening_error,
    root,
    split_loss,
    tracking_loss,
    trust_loss,
)

PURE = CoarseLoss(regular=0.0, delta=0.0, confidence=0.0)
KINDS = [
    PURE,
    replace(PURE, axes=2),
    replace(PURE, squared=True),
    replace(PURE, pose_share=0.3),
    replace(PURE, kind="parameters"),
]


@pytest.fixture(scope="module")
def layer(toy_model) -> MorphableLayer:
    return MorphableLayer(toy_model, every=400).double()


def numbers(layer, seed=0, batch=2):
    """Identity, expression and pose of random faces, in double."""
    draw = torch.Generator().manual_seed(seed)
    k, e = layer.identity.shape[1], layer.expression.shape[1]
    identity = torch.randn(batch, k, generator=draw, dtype=torch.float64)
    expression = torch.rand(batch, e, generator=draw, dtype=torch.float64)
    pose = 0.2 * torch.randn(batch, 6, generator=draw, dtype=torch.float64)
    pose[:, 3:5] += 50.0
    return identity, expression, pose


def coarse_of(layer, config, identity, expression, pose, truth):
    out = CoarseOutput(identity, expression, pose, torch.zeros(len(pose), dtype=pose.dtype))
    scaled = torch.cat([identity, expression, pose], dim=1), torch.cat(truth, dim=1)
    return coarse_loss(out, CoarseTarget(*truth), layer, scaled, config)


def tracking_of(layer, config, expression, pose, truth):
    delta = torch.cat([expression, pose], dim=1)
    out = TrackingOutput(expression, pose, delta, torch.zeros(len(pose), dtype=pose.dtype))
    scaled = delta, torch.cat(truth[1:], dim=1)
    return tracking_loss(out, CoarseTarget(*truth), layer, scaled, config)


@pytest.mark.parametrize("config", KINDS)
def test_truth_scores_zero_and_nothing_else_does(layer, config):
    truth, other = numbers(layer), numbers(layer, 1)
    assert float(coarse_of(layer, config, *truth, truth).loss) == 0.0
    assert float(tracking_of(layer, config, *truth[1:], truth).loss) == 0.0
    for k in range(3):
        wrong = [other[j] if j == k else truth[j] for j in range(3)]
        # in the paper's loss a part that is right leaves no weight to the other, adaptively
        fixed = replace(config, pose_share=0.5)
        assert float(coarse_of(layer, fixed, *wrong, truth).loss) > 1e-3


@pytest.mark.parametrize("config", [replace(c, pose_share=c.pose_share or 0.4) for c in KINDS])
def test_gradients_of_coarse_and_tracking(layer, config):
    truth = numbers(layer)
    given = tuple(x.requires_grad_() for x in numbers(layer, 1))
    assert torch.autograd.gradcheck(
        lambda *x: coarse_of(layer, replace(config, regular=0.1), *x, truth).loss, given
    )
    assert torch.autograd.gradcheck(
        lambda *x: tracking_of(layer, replace(config, delta=0.1), *x, truth).loss, given[1:]
    )


def test_gradients_at_the_truth_are_finite(layer):
    truth = numbers(layer)
    given = tuple(x.clone().requires_grad_() for x in truth)
    coarse_of(layer, replace(PURE, pose_share=0.5), *given, truth).loss.backward()
    for x in given:
        assert torch.isfinite(x.grad).all()


def test_the_adaptive_weight_is_the_other_parts_share_and_has_no_gradient():
    pose = torch.tensor(3.0, requires_grad=True)
    shape = torch.tensor(1.0, requires_grad=True)
    loss = split_loss(pose, shape)
    assert float(loss.detach()) == pytest.approx(0.25 * 3 + 0.75 * 1)
    loss.backward()
    assert float(pose.grad) == pytest.approx(0.25)
    assert float(shape.grad) == pytest.approx(0.75)


def test_split_parts_see_their_own_numbers_alone(layer):
    """Another shape changes nothing of the pose's part, and another pose nothing of the shape's."""
    truth, other = numbers(layer), numbers(layer, 1)
    base = coarse_of(layer, PURE, *other, truth).parts
    shape_right = coarse_of(layer, PURE, truth[0], truth[1], other[2], truth).parts
    pose_right = coarse_of(layer, PURE, other[0], other[1], truth[2], truth).parts
    assert float(base["pose_mm"]) == pytest.approx(float(shape_right["pose_mm"]))
    assert float(shape_right["shape_mm"]) == 0.0
    assert float(base["shape_mm"]) == pytest.approx(float(pose_right["shape_mm"]))
    assert float(pose_right["pose_mm"]) == 0.0


def test_openings_are_those_of_eyes_and_lips_wherever_the_face_is():
    marks = torch.rand(2, 68, 3, dtype=torch.float64)
    closed = marks.clone()
    closed[0, [41, 40]] += torch.tensor([0.0, 7.0, 0.0], dtype=torch.float64)
    # two of seven openings in one of two faces
    assert float(opening_error(closed + 5.0, marks)) == pytest.approx(7.0 * 2 / 14)
    outline = marks.clone()
    outline[:, :17] += 3.0
    assert float(opening_error(outline, marks)) == 0.0


def test_distances_are_mm_whatever_the_crops_scale():
    truth = torch.zeros(1, 5, 3)
    points = truth + torch.tensor([3.0, 4.0, 12.0])
    weights = torch.ones(5)
    for axes, wanted in ((2, 5.0), (3, 13.0)):
        apart = points.clone()
        apart[..., :2] *= 2.0  # px at 2 px/mm
        found = distances(apart, truth, torch.tensor([2.0]), weights, axes)
        assert float(root(found)) == pytest.approx(wanted, abs=1e-3)


def test_the_tracking_loss_leaves_identity_alone(layer):
    """A wrong identity carried over costs nothing."""
    identity, expression, pose = numbers(layer)
    shown = tracking_of(layer, PURE, expression, pose, (identity, expression, pose))
    assert float(shown.loss) == 0.0


def test_confidence_is_best_where_it_is_true():
    error = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    best = (error.detach() ** 2).log().requires_grad_()
    gaussian_nll(error, best).sum().backward()
    assert error.grad is None  # nobody gets better by being unsure
    assert best.grad.abs().max() < 1e-12
    wrong = torch.randn(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: gaussian_nll(error.detach(), s), (wrong,))


# ---------------------------------------------------------------- FineNet


def maps(seed=0, size=7):
    draw = torch.Generator().manual_seed(seed)
    depth = torch.randn(2, size, size, generator=draw, dtype=torch.float64)
    mask = (torch.rand(2, size, size, generator=draw) < 0.9).double()
    truth = torch.randn(2, size, size, generator=draw, dtype=torch.float64)
    other = torch.randn(2, size, size, generator=draw, dtype=torch.float64)
    width, scale = torch.tensor([150.0, 140.0]).double(), torch.tensor([1.2, 1.5]).double()
    return other, truth, depth, mask, width, scale


@pytest.mark.parametrize("config", [FineLoss(), FineLoss("l2")])
def test_the_true_relief_scores_zero(config):
    other, truth, *rest = maps()
    assert float(fine_loss(truth, truth, *rest, config).loss) == pytest.approx(0.0, abs=1e-12)
    assert float(fine_loss(other, truth, *rest, config).loss) > 0.1


@pytest.mark.parametrize("config", [FineLoss(), FineLoss("l2")])
def test_gradients_of_the_relief(config):
    other, truth, *rest = maps()
    assert torch.autograd.gradcheck(
        lambda d: fine_loss(d, truth, *rest, config).loss, (other.requires_grad_(),)
    )


@pytest.mark.parametrize("config", [FineLoss(), FineLoss("l2")])
def test_what_is_off_the_mask_does_not_count(config):
    other, truth, depth, mask, *rest = maps()
    changed = other + 5.0 * (1 - mask)
    a, b = (float(fine_loss(d, truth, depth, mask, *rest, config).loss) for d in (other, changed))
    assert a == pytest.approx(b)


BANDS = FineLoss(normals=0.0, bands=1.0, strength=1.0)


def test_bands_and_strength_of_the_true_relief_are_right_and_of_half_of_it_half():
    truth = torch.randn(2, 64, 64, dtype=torch.float64)
    weight = (torch.rand(2, 64, 64) < 0.8).double()
    assert [float(x) for x in band_losses(truth, truth, weight)] == [0.0, 0.0]
    wrong, off = band_losses(0.5 * truth, truth, weight)
    nothing, all_ = band_losses(0 * truth, truth, weight)
    assert float(nothing) == pytest.approx(2 * float(wrong))
    assert float(off) == pytest.approx(0.5 * float(all_), rel=1e-3)
    assert 0.8 < float(all_) < 1


def test_gradients_of_the_bands():
    other, truth, *rest = maps()
    assert torch.autograd.gradcheck(
        lambda d: fine_loss(d, truth, *rest, BANDS).loss, (other.requires_grad_(),)
    )


@pytest.mark.parametrize("config", [FineLoss(), FineLoss("l2"), BANDS])
def test_relief_that_is_not_known_does_not_count(config):
    other, truth, depth, mask, *rest = maps(size=12)
    known = torch.ones_like(mask)
    known[:, :, 6:] = 0
    changed = other + 5.0 * (1 - known)
    a, b = (float(fine_loss(d, truth, depth, mask, *rest, config, known).loss) for d in (other, changed))
    if config is not BANDS:  # a normal at the edge reaches over it
        assert a == pytest.approx(b, rel=0.2 if config.kind == "l1" else 1e-9)
    else:
        assert a == pytest.approx(b)


def test_a_gaussian_blur_keeps_the_mean_and_smooths():
    spot = torch.zeros(1, 1, 33, 33, dtype=torch.float64)
    spot[0, 0, 16, 16] = 1
    out = gaussian_blur(spot, 2.0)
    assert float(out.sum()) == pytest.approx(1)
    row = torch.arange(33.0).double() - 16
    assert float((out[0, 0].sum(dim=0) * row**2).sum()) == pytest.approx(4, rel=0.05)


def test_trust_counts_only_where_it_is_known():
    logit = torch.tensor([[[20.0, -20.0]], [[20.0, 20.0]]])
    trust = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    mask = torch.ones(2, 1, 2)
    assert float(trust_loss(logit, trust, mask, torch.tensor([1.0, 0.0]))) == pytest.approx(0, abs=1e-6)
    assert float(trust_loss(logit, trust, mask, torch.tensor([1.0, 1.0]))) == pytest.approx(10)
    assert float(trust_loss(logit, trust, mask, torch.zeros(2))) == 0


def test_normals_of_a_plane():
    """z = 0.5 x - 0.25 y: the normal is (-0.5, 0.25, 1), y up."""
    scale = torch.tensor([2.0])
    row, column = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    depth = 0.5 * column / 2.0 - 0.25 * (-row / 2.0)
    wanted = torch.nn.functional.normalize(torch.tensor([-0.5, 0.25, 1.0]), dim=0)
    assert torch.allclose(normals(depth[None], scale), wanted.expand(1, 4, 4, 3), atol=1e-5)
