"""The kinds of training data there are, by name; their code is imported when one is made."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from facerelief.errors import FacereliefError

if TYPE_CHECKING:
    from facerelief.lab.datasets.samples import Maker


@dataclass(frozen=True)
class Kind:
    """A kind of training data: where its maker and the maker's configuration are."""

    name: str
    maker: str
    """ "module:Class", called with (FitFolder, FaceModel, configuration); see `samples.Maker`."""
    config: str
    """ "module:Class", a frozen dataclass whose fields have docstrings."""

    def load(self) -> tuple[Callable[..., Maker], Callable[..., Any]]:
        """Maker and configuration. Raises FacereliefError where they are missing."""
        return _named(self.maker), _named(self.config)


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise FacereliefError(f"{place}: cannot be imported ({error}); install facerelief again") from error


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "coarse",
            "facerelief.lab.datasets.coarse:CoarseMaker",
            "facerelief.lab.datasets.coarse:CoarseConfig",
        ),
        Kind(
            "fine",
            "facerelief.lab.datasets.fine:FineMaker",
            "facerelief.lab.datasets.fine:FineConfig",
        ),
        Kind(
            "pairs",
            "facerelief.lab.datasets.pairs:PairMaker",
            "facerelief.lab.datasets.pairs:PairConfig",
        ),
        Kind(
            "renders",
            "facerelief.lab.datasets.renders:RenderMaker",
            "facerelief.lab.datasets.renders:RenderConfig",
        ),
        Kind(
            "wrinkles",
            "facerelief.lab.datasets.wrinkles:WrinkleMaker",
            "facerelief.lab.datasets.wrinkles:WrinkleConfig",
        ),
    )
}
