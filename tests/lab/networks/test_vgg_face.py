# ruff: noqa: E402 - torch is asked for before what needs it
"""VGG-Face's weights in each of their published layouts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

torch = pytest.importorskip("torch")

from facerelief.errors import FacereliefError
from facerelief.lab.networks import vgg_face
from facerelief.lab.networks.e2far import VGG16, E2far, E2farConfig

MEAN = np.array([129.0, 105.0, 94.0])


@pytest.fixture(scope="module")
def layers() -> list[tuple[np.ndarray, np.ndarray]]:
    """(out, in, 3, 3) and (out,) of thirteen convolutions, in PyTorch's order."""
    rng = np.random.default_rng(0)
    found, into = [], 3
    for group in VGG16:
        for _ in group:
            found.append(
                (rng.normal(size=(8, into, 3, 3)).astype(np.float32), rng.normal(size=8).astype(np.float32))
            )
            into = 8
    return found


def _names() -> list[str]:
    return [f"conv{k + 1}_{j + 1}" for k, group in enumerate(VGG16) for j in range(len(group))]


def _cells(values: list) -> np.ndarray:
    out = np.empty(len(values), object)
    for k, value in enumerate(values):
        out[k] = value
    return out


def _mat(file, layers, own_names: bool):
    cells = []
    for name, (weight, bias) in zip(_names(), layers):
        hwio, bias = weight.transpose(2, 3, 1, 0), bias[:, None]
        parts = {"filters": hwio, "biases": bias} if own_names else {"weights": _cells([hwio, bias])}
        cells += [{"name": name, "type": "conv", **parts}, {"name": f"relu{name[4:]}", "type": "relu"}]
    full = {"filters": np.zeros((7, 7, 8, 4), np.float32), "biases": np.zeros((4, 1), np.float32)}
    if not own_names:
        full = {"weights": _cells(list(full.values()))}
    cells.append({"name": "fc6", "type": "conv", **full})
    normalization = {"averageImage": np.tile(MEAN, (4, 4, 1)) if own_names else MEAN.reshape(1, 1, 3)}
    about = {"normalization": normalization} if own_names else {"meta": {"normalization": normalization}}
    savemat(file, {"layers": _cells(cells), **about})


def _pth(file, layers, names):
    state = {}
    for name, (weight, bias) in zip(names, layers):
        state |= {f"{name}.weight": torch.from_numpy(weight), f"{name}.bias": torch.from_numpy(bias)}
    torch.save(state | {"fc6.weight": torch.zeros(4, 8), "fc6.bias": torch.zeros(4)}, file)


@pytest.mark.parametrize("form", ["authors.mat", "matconvnet.mat", "port.pth", "torchvision.pth"])
def test_every_layout_gives_the_same_trunk(tmp_path, layers, form, monkeypatch):
    file = tmp_path / form
    if form.endswith(".mat"):
        _mat(file, layers, form.startswith("authors"))
    else:
        numbered = [f"features.{2 * k}" for k in range(13)]
        _pth(file, layers, _names() if form.startswith("port") else numbered)
    mean, found = vgg_face.read_vgg_face(file)
    assert mean == pytest.approx(MEAN if form.endswith(".mat") else np.array(vgg_face.MEAN), rel=1e-5)
    for (weight, bias), (wanted, other) in zip(found, layers, strict=True):
        assert np.array_equal(weight, wanted)
        assert np.array_equal(bias, other)


def test_a_full_trunk_takes_them(tmp_path):
    torch.manual_seed(0)
    donor = E2far(E2farConfig(head="pool"))
    file = tmp_path / "vgg_face.pth"
    state = {}
    for name, conv in zip(_names(), donor.trunk.convolutions):
        state |= {f"{name}.weight": conv.weight.detach(), f"{name}.bias": conv.bias.detach() + 0.1}
    torch.save({"state_dict": state}, file)
    net = E2far(E2farConfig(head="pool"))
    vgg_face.take_vgg_face(net, file)
    for name, conv in zip(_names(), net.trunk.convolutions):
        assert torch.equal(conv.weight, state[f"{name}.weight"])
        assert torch.equal(conv.bias, state[f"{name}.bias"])
    assert net.offset.tolist() == pytest.approx(vgg_face.MEAN, rel=1e-6)
    assert net.gain.tolist() == [1, 1, 1]


def test_files_that_do_not_fit_end_in_one_line(tmp_path, layers):
    thin = tmp_path / "thin.pth"
    _pth(thin, layers, _names())
    few = tmp_path / "few.pth"
    _pth(few, layers[:5], _names())
    text = tmp_path / "vgg.mat"
    text.write_text("no such thing")
    cases = {
        thin: ("expected (64, 3, 3, 3)", E2farConfig(head="pool")),
        few: ("5 convolutions", E2farConfig(head="pool")),
        text: ("MatConvNet", E2farConfig(head="pool")),
        tmp_path / "none.pth": ("no such file", E2farConfig(head="pool")),
        tmp_path / "weights.t7": (".mat", E2farConfig(head="pool")),
        tmp_path / "any.pth": ("--no-norm", E2farConfig(width=0.125, head="pool")),
    }
    for file, (words, config) in cases.items():
        with pytest.raises(FacereliefError) as caught:
            vgg_face.take_vgg_face(E2far(config), file)
        assert str(file) in str(caught.value)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
