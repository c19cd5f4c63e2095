# ruff: noqa: E402 - torch is asked for before what needs it
"""Laws of UH-E2FAR, of its loss and of the weights it takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facerelief.lab.networks.e2far import (
    E2far,
    E2farConfig,
    E2farLoss,
    E2farOutput,
    E2farTarget,
    ShapeError,
    e2far_loss,
)
from facerelief.lab.networks.guo import Moments, parameters_of
from facerelief.lab.networks.measures import E2farMeasures
from facerelief.lab.networks.tasks import E2farTask, TaskConfig
from facerelief.morphable import FaceModel, open_model

SMALL = E2farConfig(size=48, width=0.125, head="pool", norm=True, identity=5)


def test_the_papers_sizes():
    """13 convolutions of 14.7 M numbers; with both heads and the fusion some 136 M (methods, B3)."""
    net = E2far()
    assert parameters_of(net.trunk) == 14_714_688
    assert round(parameters_of(net) / 1e6) in (135, 136)
    assert len(net.trunk.convolutions) == 13
    with torch.no_grad():
        pool4, pool5 = net.trunk(torch.zeros(1, 3, 180, 180))
    assert pool4.shape == (1, 512, 11, 11)
    assert pool5.shape == (1, 512, 5, 5)


@pytest.mark.parametrize("size", [48, 80, 112, 180])
@pytest.mark.parametrize("head", ["fc", "pool"])
def test_heads_are_independent_and_only_the_expression_learns_through_fusion(size, head):
    """At every allowed size: the expression's gradient reaches pool4 past pool5, the identity's does not."""
    torch.manual_seed(0)
    net = E2far(replace(SMALL, size=size, head=head)).eval()
    image = torch.rand(2, 3, size, size)
    scaled = (255 * image - 127.5) / 64
    pool4, pool5 = (x.detach().requires_grad_() for x in net.trunk(scaled))
    assert net.fusion is not None
    assert net.neutral is not None
    parts = {"neutral": net.neutral, "expressive": net.expressive, "fusion": net.fusion}
    identity, expression = net.neutral(pool5), net.expressive(net.fusion(pool4, pool5))
    whole = net(image)
    torch.testing.assert_close(whole, E2farOutput(identity, net.expression_scale(expression)))
    assert (whole.identity.shape, whole.expression.shape) == ((2, 5), (2, 52))
    for out, learning in ((identity, {"neutral"}), (expression, {"expressive", "fusion"})):
        pool4.grad = pool5.grad = None
        net.zero_grad(set_to_none=True)
        out.square().sum().backward()
        assert (pool4.grad is not None and bool(pool4.grad.any())) == ("fusion" in learning)
        assert pool5.grad is not None
        assert bool(pool5.grad.any())
        reached = {name for name, part in parts.items() if any(p.grad is not None for p in part.parameters())}
        assert reached == learning


@pytest.mark.parametrize("size", [32, 96, 128, 224])
def test_sizes_whose_features_do_not_match_are_refused(size):
    with pytest.raises(ValueError, match="odd"):
        E2farConfig(size=size)


def test_fusion_needs_a_head_of_its_own():
    with pytest.raises(ValueError, match="branches"):
        E2farConfig(branches=False)


def test_only_fusion_lets_the_expression_see_pool4():
    """With pool5 given, another pool4 changes the expression and never the identity."""
    for fusion in (False, True):
        torch.manual_seed(0)
        net = E2far(replace(SMALL, fusion=fusion)).eval()
        pool4, pool5 = net.trunk(torch.rand(1, 3, 48, 48))
        seen = [
            net.expressive(pool5 if net.fusion is None else net.fusion(x, pool5)) for x in (pool4, pool4 + 1)
        ]
        assert torch.equal(*seen) != fusion


def test_linear_leaves_out_activations_behind_the_trunk():
    torch.manual_seed(0)
    net = E2far(replace(SMALL, head="fc", linear=True, dropout=0.0)).eval()
    assert net.neutral is not None
    a, b = torch.randn(2, 1, 64, 1, 1).unbind(0)
    zero = net.neutral(torch.zeros_like(a))
    summed = net.neutral(a) + net.neutral(b) - zero
    assert torch.allclose(net.neutral(a + b), summed, atol=1e-6)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return open_model()


@pytest.fixture(scope="module")
def error(model) -> ShapeError:
    return ShapeError(model)


def test_the_gram_matrix_agrees_with_vertices(model, error):
    rng = np.random.default_rng(3)
    face = model.face_vertices
    identity, expression = rng.normal(size=(2, model.n_identity)), rng.uniform(size=(2, model.n_expression))
    shapes = [model.shape(i, e)[face] for i, e in zip(identity, expression)]
    neutral = [model.shape(i)[face] for i in identity]
    d = [torch.from_numpy((x[0] - x[1]).astype(np.float32))[None] for x in (identity, expression)]
    for found, (a, b) in ((error.expressive(*d), shapes), (error.neutral(d[0]), neutral)):
        assert found.item() == pytest.approx(np.square(a - b).sum(axis=1).mean(), rel=1e-4)
    both = [model.shape(None, e)[face] for e in expression]
    assert error.offset(d[1]).item() == pytest.approx(
        np.square(both[0] - both[1]).sum(axis=1).mean(), rel=1e-4
    )


def test_size_is_taken_out_as_of_vertices(model):
    rng = np.random.default_rng(4)
    face = model.face_vertices
    d = rng.normal(size=model.n_identity)
    apart = (model.shape(d)[face] - model.mean[face]).astype(np.float64)
    growth = (model.mean[face] - model.mean[face].mean(axis=0)).astype(np.float64)
    by_size = np.square((apart * growth).sum() / np.linalg.norm(growth)) / face.sum()
    whole, off = np.square(apart).sum() / face.sum(), torch.from_numpy(d.astype(np.float32))[None]
    for share in (0.0, 0.1, 1.0):
        wanted = whole - (1 - share) * by_size
        assert ShapeError(model, share).neutral(off).item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("config", [E2farLoss(), E2farLoss(multi_task=False), E2farLoss(squared=False)])
def test_the_truth_scores_zero_and_nothing_scores_less(model, error, config):
    generator = torch.Generator().manual_seed(0)
    truth = E2farTarget(
        torch.randn(3, model.n_identity, generator=generator),
        torch.rand(3, model.n_expression, generator=generator),
    )
    assert e2far_loss(E2farOutput(*truth), truth, error, config).loss.item() == pytest.approx(0, abs=1e-6)
    off = E2farOutput(truth.identity + 0.1, truth.expression)
    assert e2far_loss(off, truth, error, config).loss.item() > 1e-3


def test_the_multi_task_loss_is_a_weighted_sum(model, error):
    truth = E2farTarget(torch.zeros(1, model.n_identity), torch.zeros(1, model.n_expression))
    out = E2farOutput(torch.full_like(truth.identity, 0.1), torch.full_like(truth.expression, 0.1))
    neutral, offset = error.neutral(out.identity).item(), error.offset(out.expression).item()
    score = e2far_loss(out, truth, error, E2farLoss(neutral=2.0, expressive=3.0))
    assert score.loss.item() == pytest.approx(2 * neutral + 3 * offset, rel=1e-5)
    single = e2far_loss(out, truth, error, E2farLoss(multi_task=False))
    assert single.loss.item() == pytest.approx(
        error.expressive(out.identity, out.expression).item(), rel=1e-5
    )


@pytest.mark.parametrize("config", [E2farLoss(), E2farLoss(multi_task=False), E2farLoss(squared=False)])
def test_gradients(model, error, config):
    generator = torch.Generator().manual_seed(1)
    identity = torch.randn(2, model.n_identity, generator=generator).requires_grad_()
    expression = torch.rand(2, model.n_expression, generator=generator).requires_grad_()
    truth = E2farTarget(torch.zeros(2, model.n_identity), torch.zeros(2, model.n_expression))
    loss = e2far_loss(E2farOutput(identity, expression), truth, error, config).loss
    loss.backward()
    for x, step in ((identity, 1e-2), (expression, 1e-2)):
        way = torch.randn(x.shape, generator=generator)
        ends = []
        for sign in (1, -1):
            moved = {id(identity): identity.detach(), id(expression): expression.detach()}
            moved[id(x)] = x.detach() + sign * step * way
            out = E2farOutput(moved[id(identity)], moved[id(expression)])
            ends.append(e2far_loss(out, truth, error, config).loss.item())
        assert x.grad is not None
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((x.grad * way).sum()), rel=2e-2)


def test_a_held_trunk_stays_and_the_rest_learns(model):
    task = E2farTask(TaskConfig("e2far", e2far=SMALL, frozen=0.5), model)
    torch.manual_seed(0)
    net = task.net(None).train()
    task.phase(net, 0.2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    out = net(torch.rand(2, 3, 48, 48))
    (out.identity.sum() + out.expression.sum()).backward()
    optimizer.step()
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert not any(name.startswith("trunk.") for name in moved)
    task.phase(net, 0.6)
    net(torch.rand(2, 3, 48, 48)).identity.sum().backward()
    assert net.trunk.convolutions[0].weight.grad is not None
    assert net.trunk.training


def test_a_net_starts_from_one_of_another_size():
    torch.manual_seed(0)
    first, second = E2far(SMALL), E2far(replace(SMALL, size=80))
    first.expression_scale.set(Moments((0.2,) * 52, (0.1,) * 52))
    second.start_from(first)
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name
    with pytest.raises(ValueError, match="trunk"):
        E2far(replace(SMALL, width=0.25)).start_from(first)


def test_measures_of_the_truth_and_of_nothing(model):
    mean = torch.full((model.n_expression,), 0.1)
    batch = type("Batch", (), {})()
    batch.identity, batch.expression = torch.zeros(2, model.n_identity), mean.expand(2, -1)
    measures = E2farMeasures(model, mean)
    measures.add(batch, E2farOutput(batch.identity, batch.expression))
    assert measures.result() == pytest.approx(
        {"samples": 2}
        | {f"{s}{n}_mm": 0 for s in ("", "baseline_") for n in ("neutral", "offset", "expressive")},
        abs=1e-6,
    )
    measures.add(batch, E2farOutput(batch.identity + 1, batch.expression))
    assert measures.result()["neutral_mm"] > 0.5
    assert measures.result()["offset_mm"] == 0
