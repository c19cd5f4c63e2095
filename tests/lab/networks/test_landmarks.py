"""The landmark net: its loss is least at the truth, its last layer begins as the points' own statistics."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from facerelief.lab.networks.landmark_augment import CanvasAugment, CanvasAugmenter  # noqa: E402
from facerelief.lab.networks.landmarks import (  # noqa: E402
    LandmarkLoss,
    LandmarkNet,
    LandmarkNetConfig,
    LandmarkOutput,
    landmark_loss,
)

SMALL = LandmarkNetConfig(64, 10, (8, 8, 8, 8, 8), (0, 1, 0, 1, 0), 4, 16, 6)


def test_output_has_a_point_and_a_deviation_for_each():
    out = LandmarkNet(SMALL).eval()(torch.rand(2, 3, 64, 64))
    assert out.points.shape == (2, 10, 2)
    assert out.log_sigma.shape == (2, 10)


def test_untrained_with_statistics_it_gives_their_mean_and_their_span():
    basis, mean = torch.randn(4, 20) * 5, torch.rand(20) * 64
    truth = mean + torch.randn(500, 4) @ basis
    net = LandmarkNet(SMALL)
    net.start_from_points(truth.reshape(500, 10, 2))
    torch.testing.assert_close(net.points.bias, truth.mean(dim=0), atol=1e-3, rtol=0)
    code = torch.linalg.lstsq(net.points.weight, (truth - net.points.bias).T).solution
    torch.testing.assert_close(net.points(code.T), truth, atol=1e-2, rtol=0)
    assert code.square().mean(dim=1)[:4].sub(1).abs().max() < 0.05  # unit variance


def test_loss_is_least_at_the_truth_and_where_sigma_is_the_error():
    truth = torch.rand(3, 10, 2) * 64
    exact = LandmarkOutput(truth, torch.zeros(3, 10))
    off = LandmarkOutput(truth + 1.0, torch.zeros(3, 10))
    config = LandmarkLoss()
    assert landmark_loss(exact, truth, config) < landmark_loss(off, truth, config)
    noisy = truth + 3 * torch.randn(3, 10, 2, generator=torch.Generator().manual_seed(0))
    sigma = torch.linspace(-1, 3, 41)
    losses = [landmark_loss(LandmarkOutput(noisy, s.expand(3, 10)), truth, config) for s in sigma]
    best = sigma[int(torch.stack(losses).argmin())]
    rms = (noisy - truth).square().mean().sqrt()
    assert abs(float(best - rms.log())) < 0.11


def canvases(count=8, side=80):
    """White discs at the points of a canvas."""
    generator = torch.Generator().manual_seed(1)
    points = side * (0.35 + 0.3 * torch.rand(count, 2, 2, generator=generator))
    place = torch.arange(side) + 0.5
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=2)
    near = [((grid[None] - points[:, k, None, None]).norm(dim=3) < 2.5) for k in range(2)]
    image = torch.zeros(count, side, side, 4, dtype=torch.uint8)
    image[..., 3] = 255
    image[..., 0][near[0]] = 255
    image[..., 1][near[1]] = 255
    return image, points


def test_points_move_with_the_pixels():
    image, points = canvases()
    config = CanvasAugment(size=64, zoom=0.1, shift=0.03, roll=10.0)
    augmenter = CanvasAugmenter(torch.tensor([0, 1]), torch.zeros(0, 8, 8, 3, dtype=torch.uint8), config)
    batch = augmenter(image, points, plain=True)
    place = torch.arange(64) + 0.5
    for channel in range(2):
        light = batch.image[:, channel]
        weight = light / light.sum(dim=(1, 2), keepdim=True)
        found = torch.stack([(weight.sum(dim=1) * place).sum(1), (weight.sum(dim=2) * place).sum(1)], dim=1)
        torch.testing.assert_close(found, batch.points[:, channel], atol=0.3, rtol=0)


def test_mirrored_crops_swap_the_points_of_a_pair():
    image, points = canvases(64)
    config = CanvasAugment(size=64, zoom=0.0, shift=0.0, roll=0.0)
    augmenter = CanvasAugmenter(torch.tensor([1, 0]), torch.zeros(0, 8, 8, 3, dtype=torch.uint8), config)
    truth = augmenter(image, points, plain=True).points
    plain = points - 40 + 32
    mirrored = torch.stack([64 - plain[..., 0], plain[..., 1]], dim=2)[:, [1, 0]]
    same = (truth - plain).abs().amax(dim=(1, 2)) < 1e-3
    flipped = (truth - mirrored).abs().amax(dim=(1, 2)) < 1e-3
    assert (same | flipped).all()
    assert 10 < int(same.sum()) < 54


def test_augmented_images_stay_in_range_and_differ():
    image, points = canvases(16)
    photos = (torch.rand(5, 20, 20, 3) * 255).to(torch.uint8)
    augmenter = CanvasAugmenter(torch.tensor([0, 1]), photos, CanvasAugment(size=64))
    one, other = (augmenter(image, points).image for _ in range(2))
    assert float(one.min()) >= 0
    assert float(one.max()) <= 1
    assert float((one - other).abs().mean()) > 0.01


def test_coded_blocks_are_near_the_image():
    augmenter = CanvasAugmenter(torch.tensor([0]), torch.zeros(0, 8, 8, 3, dtype=torch.uint8))
    ramp = torch.linspace(0.2, 0.8, 64).expand(2, 3, 64, 64).contiguous()
    assert float((augmenter._jpeg(ramp) - ramp).abs().max()) < 0.12


def test_a_size_that_is_no_multiple_of_32_is_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        LandmarkNetConfig(size=100)
