"""Weights of VGG-Face (Parkhi et al., BMVC 2015) for the trunk of UH-E2FAR, in their published forms.

.mat: MatConvNet's, `layers` with `weights` (matconvnet/models) or `filters` and `biases` (the authors' own);
.pth, .pt: a state dict of PyTorch ports, with names like conv1_1.weight or features.0.weight. The weights are
not ours to ship: users bring the file. No pickle from it is executed.
"""

# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facerelief.errors import FacereliefError
from facerelief.lab.networks.e2far import E2far
from facerelief.typed import Float32

MEAN = (129.1863, 104.7624, 93.5940)
"""RGB of 255 that VGG-Face subtracts from images, where the file has no other."""


def take_vgg_face(net: E2far, file: str | Path) -> None:
    """Copy VGG-Face's thirteen convolutions into the trunk, and its normalisation of images into the net.

    Raises FacereliefError for a file of another form, and for a trunk of another width or with batch norms.
    """
    file = Path(file)
    if net.config.norm or net.config.width != 1:
        raise FacereliefError(
            f"{file}: VGG-Face's weights fit a trunk of width 1 without batch norms; give --width 1 --no-norm"
        )
    mean, found = read_vgg_face(file)
    wanted = net.trunk.convolutions
    for k, (conv, (weight, bias)) in enumerate(zip(wanted, found, strict=True)):
        if weight.shape != tuple(conv.weight.shape) or bias.shape != (len(weight),):
            raise FacereliefError(
                f"{file}: convolution {k + 1} has shape {weight.shape}, expected {tuple(conv.weight.shape)}; "
                "give VGG-16's"
            )
        with torch.no_grad():
            conv.weight.copy_(torch.from_numpy(weight))
            assert conv.bias is not None
            conv.bias.copy_(torch.from_numpy(bias))
    net.offset.copy_(torch.from_numpy(mean))
    net.gain.fill_(1.0)


def read_vgg_face(file: str | Path) -> tuple[Float32, list[tuple[Float32, Float32]]]:
    """RGB mean (3,) of 255; weight (out, in, 3, 3) and bias (out,) of each of the 13 convolutions, float32.

    Raises FacereliefError for a file that cannot be read or has not 13 convolutions of 3 x 3.
    """
    file = Path(file)
    kinds = {".mat": _of_mat, ".pth": _of_state, ".pt": _of_state}
    if file.suffix.lower() not in kinds:
        raise FacereliefError(f"{file}: expected VGG-Face as .mat (MatConvNet) or .pth (a state dict)")
    if not file.is_file():
        raise FacereliefError(f"{file}: no such file; give VGG-Face's weights")
    mean, layers = kinds[file.suffix.lower()](file)
    found = [(w, b) for w, b in layers if w.ndim == 4 and w.shape[2:] == (3, 3)]
    if len(found) != 13:
        raise FacereliefError(f"{file}: holds {len(found)} convolutions of 3 x 3, expected the 13 of VGG-16")
    return mean.astype(np.float32), [
        (np.ascontiguousarray(w, np.float32), np.ascontiguousarray(b, np.float32).reshape(-1))
        for w, b in found
    ]


def _of_state(file: Path) -> tuple[Float32, list[tuple[Float32, Float32]]]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise many kinds
        reason = " ".join(str(error).split())[:100]
        raise FacereliefError(
            f"{file}: cannot be read as a state dict ({reason}); give weights alone"
        ) from error
    while isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise FacereliefError(f"{file}: holds no state dict; give weights alone")

    def layers() -> Iterator[tuple[Float32, Float32]]:
        for name, weight in state.items():
            bias = state.get(f"{str(name).removesuffix('weight')}bias")
            if bias is None or not str(name).endswith("weight"):
                continue
            if torch.is_tensor(weight) and torch.is_tensor(bias):
                yield weight.float().numpy(), bias.float().numpy()

    return np.array(MEAN), list(layers())


def _of_mat(file: Path) -> tuple[Float32, list[tuple[Float32, Float32]]]:
    from scipy.io import loadmat

    try:
        content = loadmat(str(file), squeeze_me=True, struct_as_record=False)
        layers = list(np.atleast_1d(content["layers"]))
    except Exception as error:  # a reader of many forms, with as many errors
        reason = " ".join(str(error).split())[:100]
        raise FacereliefError(
            f"{file}: cannot be read as MatConvNet's VGG-Face ({reason or type(error).__name__}); "
            "give the .mat file with `layers`"
        ) from error

    def arrays() -> Iterator[tuple[Float32, Float32]]:
        for layer in layers:
            pair = [getattr(layer, "filters", None), getattr(layer, "biases", None)]
            if pair[0] is None and len(np.atleast_1d(getattr(layer, "weights", ()))) == 2:
                pair = list(layer.weights)
            if pair[0] is None or pair[1] is None:
                continue
            weight = np.asarray(pair[0], np.float32)
            if weight.ndim == 4:  # height, width, in, out
                yield weight.transpose(3, 2, 0, 1), np.asarray(pair[1], np.float32)

    return _mean_of(content), list(arrays())


def _mean_of(content: Mapping[str, Any]) -> Float32:
    """Colour (3,) of the average image, RGB of 255, where the file has one."""
    holders = [content.get("meta"), content]
    for holder in holders:
        given = (
            holder.get("normalization")
            if isinstance(holder, Mapping)
            else getattr(holder, "normalization", None)
        )
        image = getattr(given, "averageImage", None)
        if image is not None and np.asarray(image).size and np.asarray(image).shape[-1] == 3:
            return np.asarray(image, np.float64).reshape(-1, 3).mean(axis=0)
    return np.array(MEAN)
