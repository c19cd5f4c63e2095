# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of the networks before any training."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facerelief.inference import crops as crop
from facerelief.lab.networks.guo import (
    Backbone,
    CoarseNet,
    CoarseNetConfig,
    FineNet,
    FineNetConfig,
    Moments,
    TrackingNet,
    contrasts,
    parameters_of,
)

SMALL = CoarseNetConfig(size=64, width=0.125, identity=5)


def test_the_backbone_is_resnet_18():
    assert parameters_of(Backbone(3, 1.0)) == 11_176_512
    assert Backbone(3, 0.5).features == 256


@pytest.fixture
def coarse() -> CoarseNet:
    torch.manual_seed(0)
    return CoarseNet(SMALL).eval()


def test_an_untrained_coarse_net_is_near_the_mean(coarse):
    expression = Moments((0.2,) * 52, (0.1,) * 52)
    pose = Moments((0, 0.1, 0, 32, 30, -0.5), (0.1, 0.5, 0.1, 3, 3, 0.1))
    coarse.expression_scale.set(expression)
    coarse.pose_scale.set(pose)
    out = coarse(torch.rand(2, 3, 64, 64))
    assert out.identity.shape == (2, 5)
    assert out.log_variance.shape == (2,)
    assert out.expression.sub(0.2).abs().max() < 0.2
    assert (out.pose - torch.tensor(pose.mean)).abs().div(torch.tensor(pose.std)).max() < 2


def test_standardizing_is_inverted_and_refuses_nonsense(coarse):
    coarse.pose_scale.set(Moments((1.0,) * 6, (2.0,) * 6))
    z = torch.randn(3, 6)
    assert torch.allclose(coarse.pose_scale.inverse(coarse.pose_scale(z)), z, atol=1e-6)
    for bad in (Moments((0.0,) * 5, (1.0,) * 5), Moments((0.0,) * 6, (0.0,) * 6)):
        with pytest.raises(ValueError, match="expected 6"):
            coarse.pose_scale.set(bad)


def test_confidence_does_not_change_the_features(coarse):
    coarse.train()
    coarse(torch.rand(2, 3, 64, 64)).log_variance.sum().backward()
    assert all(p.grad is None for p in coarse.backbone.parameters())


def test_an_untrained_tracking_net_returns_the_previous_state():
    net = TrackingNet(SMALL).eval()
    net.scale.set(Moments((0.0,) * 58, (0.3,) * 58))
    expression, pose = torch.rand(2, 52), torch.randn(2, 6)
    out = net(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64), expression, pose)
    assert torch.equal(out.expression, expression)
    assert torch.equal(out.pose, pose)
    assert not out.delta.any()


def test_a_tracking_net_starts_from_a_coarse_one(coarse):
    """It then goes the same share of the way from any previous state to the CoarseNet's estimate."""
    net = TrackingNet(SMALL).eval()
    net.scale.set(Moments((0.0,) * 58, (0.3,) * 58))
    net.start_from(coarse)
    image, pncc = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    seen = coarse(image)
    for before in (torch.zeros(1, 58), torch.rand(1, 58)):
        out = net(image, pncc, before[:, :52], before[:, 52:])
        for found, wanted, old in (
            (out.expression, seen.expression, before[:, :52]),
            (out.pose, seen.pose, before[:, 52:]),
        ):
            torch.testing.assert_close(found - old, 0.6 * (wanted - old), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="width"):
        TrackingNet(CoarseNetConfig(size=64, width=0.25, identity=5)).start_from(coarse)


def test_a_coarse_net_starts_from_one_of_smaller_crops(coarse):
    """The same features mean the same pose, in px of the new crop."""
    net = CoarseNet(CoarseNetConfig(size=128, width=SMALL.width, identity=SMALL.identity)).eval()
    net.start_from(coarse)
    image = torch.rand(1, 3, 64, 64)
    small, large = coarse(image), net(image)  # nets do not ask for the size
    torch.testing.assert_close(large.identity, small.identity)
    torch.testing.assert_close(large.pose[:, :3], small.pose[:, :3])
    torch.testing.assert_close(large.pose[:, 3:5], 2 * small.pose[:, 3:5])
    torch.testing.assert_close(large.pose[:, 5].exp(), 2 * small.pose[:, 5].exp())
    with pytest.raises(ValueError, match="other sizes"):
        CoarseNet(CoarseNetConfig(size=64, width=2 * SMALL.width)).start_from(coarse)


def test_contrasts_show_wrinkles_and_not_light():
    image = torch.full((1, 3, 64, 64), 0.5)
    assert contrasts(image).shape == (1, 2, 64, 64)
    assert contrasts(image).abs().max() < 1e-4
    image[..., 30:32, :] *= 0.9  # a line, a tenth darker
    bright, dark = contrasts(image), contrasts(0.7 * image)
    assert ((bright[0, :, 30, 20] > -1.2) & (bright[0, :, 30, 20] < -0.4)).all()
    torch.testing.assert_close(bright, dark, atol=0.1, rtol=0.1)


def test_contrasts_are_the_same_without_torch():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    np.testing.assert_allclose(crop.contrasts(pixels), contrasts(image)[0].numpy(), atol=1e-3)


def test_an_untrained_fine_net_adds_nothing_and_a_trained_one_only_on_the_mask():
    torch.manual_seed(0)
    net = FineNet(FineNetConfig(size=64, width=8, levels=3)).eval()
    mask = (torch.rand(2, 64, 64) < 0.7).float()
    cues = torch.randn(2, 3, 64, 64)
    given = torch.rand(2, 3, 64, 64), 30 * torch.rand(2, 64, 64), mask, torch.tensor([150.0, 160.0]), cues
    assert not net(*given).displacement.any()
    torch.nn.init.normal_(net.last.weight)
    out = net(*given).displacement
    assert out.shape == (2, 64, 64)
    assert out[mask > 0].abs().min() > 0
    assert not out[mask == 0].any()


def test_a_fine_net_ignores_the_depths_origin():
    torch.manual_seed(0)
    net = FineNet(FineNetConfig(size=64, width=8, levels=3)).eval()
    torch.nn.init.normal_(net.last.weight)
    image, depth = torch.rand(1, 3, 64, 64), 30 * torch.rand(1, 64, 64)
    rest = torch.ones(1, 64, 64), torch.tensor([150.0]), torch.randn(1, 3, 64, 64)
    here, there = (net(image, d, *rest).displacement for d in (depth, depth + 70))
    assert torch.allclose(here, there, atol=1e-4)


def test_a_fine_net_with_trust_starts_from_one_without():
    old = FineNet(FineNetConfig(size=64, width=8, levels=3))
    torch.nn.init.normal_(old.last.weight)
    new = FineNet(FineNetConfig(size=64, width=8, levels=3, trust=True))
    new.start_from(old)
    given = torch.rand(1, 3, 64, 64), torch.rand(1, 64, 64), torch.ones(1, 64, 64), torch.tensor([150.0])
    a, b = (net.eval()(*given, torch.randn(1, 3, 64, 64).fill_(0.3)) for net in (old, new))
    assert torch.equal(a.displacement, b.displacement)
    assert a.trust is None
    assert b.trust is not None
    assert b.trust.shape == (1, 64, 64)
    again = FineNet(new.config)
    again.start_from(new)
    assert all(torch.equal(x, again.state_dict()[name]) for name, x in new.state_dict().items())


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="multiple"):
        FineNetConfig(size=100, levels=4)
    with pytest.raises(ValueError, match="at least 32"):
        CoarseNetConfig(size=16)
