"""`facerelief model info|convert`: face models looked at and converted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from tyro.conf import Positional, arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, check_free, report, say

if TYPE_CHECKING:
    from facerelief.morphable import FaceModel

OutModel = Annotated[options.OutFile, arg(metavar="FILE.npz")]


@dataclass(frozen=True)
class Info:
    """Print facts about a face model.

    Sizes, components, landmarks, regions, licence.

    Examples:
        facerelief model info
        facerelief model info flame2020.pkl --json facts.json
    """

    source: Annotated[Positional[str], arg(metavar="[open|open2|FILE]")] = "open"
    """An embedded model, or a model file or folder."""
    skin: bool = False
    """Measure the light that is left in the mean skin colour, too."""
    json: options.JsonFile = None

    def run(self) -> None:
        """Print the facts."""
        from facerelief.morphable import named_model
        from facerelief.morphable.describe import describe

        model = named_model(self.source)
        facts = describe(model)
        if self.skin:
            from facerelief.lab.building.skin_light import light_share

            facts |= {f"skin_{name}": value for name, value in asdict(light_share(model)).items()}
        width = max(map(len, facts))

        def show() -> None:
            for key, value in facts.items():
                say(f"{key.replace('_', ' '):<{width}}  {_in_words(value)}")

        report(facts, self.json, show)


@dataclass(frozen=True)
class Convert:
    """Convert a Basel, FLAME or ICT-FaceKit model to facerelief's own file.

    That file is read quickly. Coordinates are rounded by at most 0.01 mm. The model's licence goes with it.

    Examples:
        facerelief model convert flame2020.pkl -o flame.npz
        facerelief model convert shapes.npz --skin open2 -o model.npz
    """

    source: Annotated[options.Argument, arg(metavar="FILE|FOLDER")]
    """A model in any format known here."""
    out: OutModel
    """The file to write."""
    skin: Annotated[str | None, arg(metavar="[open|open2|FILE]")] = None
    """Take colours and licence from this model, which has the same mesh."""
    overwrite: options.Overwrite = False

    def run(self) -> None:
        """Write the converted model."""
        from facerelief.morphable import load_model, named_model

        check_model_file(self.out, self.overwrite)
        model = load_model(self.source)
        if self.skin is not None:
            skin = named_model(self.skin)
            if not np.array_equal(skin.triangles, model.triangles):
                raise UsageError(
                    f"--skin {self.skin}: has another mesh than {self.source}; expected the same"
                )
            model = replace(model, albedo_mean=skin.albedo_mean, albedo=skin.albedo, licence=skin.licence)
        write_model(model, self.out)


def check_model_file(out: Path, overwrite: bool) -> None:
    """Raises UsageError or OutputError before minutes of work for a file that cannot be written."""
    if out.suffix.lower() != ".npz":
        raise UsageError(f"{out}: a model file's name ends in .npz")
    check_free(out, overwrite)


def write_model(model: FaceModel, out: Path) -> None:
    """`save_model`, whole or not at all, and a line about the file. Raises OutputError."""
    from facerelief.io.atomic import atomic_file
    from facerelief.morphable import save_model

    with atomic_file(out) as temporary:
        save_model(model, temporary)
    say(
        f"{out}: {model.name} {model.version}, {model.n_vertices} vertices, {model.n_identity} identity, "
        f"{model.n_expression} expression, {model.n_albedo} albedo components, "
        f"{out.stat().st_size / 1e6:.1f} MB"
    )


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        if len(value) > 8:
            return ", ".join(map(str, value[:4])) + f", ... ({len(value)})"
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
