"""`facerelief evaluate protocol`: scores of predictions by the published protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, note, progress, report, say
from facerelief.lab.evaluation.protocols.predictions import FolderPredictions, MethodPredictions
from facerelief.lab.evaluation.protocols.presets import PRESETS, preset
from facerelief.lab.evaluation.protocols.recipes import Settings
from facerelief.lab.evaluation.protocols.runner import printed, problem_lines, run_protocol

Unit = Annotated[Literal["mm", "cm", "m"], arg(metavar="mm|cm|m")]


@dataclass(frozen=True)
class Protocol:
    """Score 3D faces against scans or annotations by a published protocol.

    Predictions of any system (--predictions) or of our own methods (--method). docs/evaluation.md describes
    folders and recipes and defines the numbers. Ends with 1 where a case has no prediction or could not be
    measured.

    Examples:
        facerelief evaluate protocol --list
        facerelief evaluate protocol now --data NoW/ --predictions meshes/
    """

    name: Annotated[Positional[str | None], arg(metavar="PRESET")] = None
    """The protocol; --list names them."""
    data: options.Folder = None
    """The benchmark's folder, laid out as its owners give it."""
    predictions: options.Folder = None
    """Meshes (OBJ, PLY) of any system, with landmarks beside each."""
    method: Annotated[str | None, arg(metavar="net|fit|...")] = None
    """Instead: run one of our methods on the benchmark's images."""
    unit: Unit = "mm"
    """Unit of the predicted meshes."""
    data_unit: Unit = "mm"
    """Unit of the scans."""
    annotations: Annotated[str, arg(metavar="original|reannotated")] = "original"
    """Annotations of AFLW2000-3D."""
    limit: options.Limit = None
    """At most this many cases, evenly spread."""
    allow_missing: bool = False
    """Cases without a prediction do not change the exit code."""
    list: bool = False
    """Print the protocols, a line each."""
    json: options.JsonFile = None

    def run(self) -> int:
        """Score and print."""
        if self.list:
            for each in PRESETS:
                say(f"{each.name:13} {each.about}")
            return 0
        if self.name is None or self.data is None or (self.predictions is None) == (self.method is None):
            raise UsageError("give a PRESET (--list names them), --data, and --predictions or --method")
        chosen = preset(self.name, self.annotations)
        if self.predictions is not None:
            of = str(self.predictions)
            source = FolderPredictions(self.predictions, self.unit, flat=chosen.flat)
        else:
            of = f"method {self.method}"
            source = MethodPredictions(str(self.method), neutral=chosen.neutral, flat=chosen.flat)
        with progress("cases") as show:
            made = run_protocol(
                chosen, self.data, source, Settings(self.data_unit), limit=self.limit, progress=show
            )
        report({"predictions": of} | made.document, self.json, printed(made, of))
        for line in problem_lines(made):
            note(line)
        failed = made.refused or not made.scores or (made.missing and not self.allow_missing)
        return 1 if failed else 0
