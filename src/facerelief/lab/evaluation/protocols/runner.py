"""Runs a protocol over the cases of a set; a case that cannot be scored does not end the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facerelief.errors import FacereliefError
from facerelief.lab.evaluation.metrics.reports import to_json
from facerelief.lab.evaluation.metrics.tables import Printed, Table, number
from facerelief.lab.evaluation.protocols.cases import Case, CaseScore
from facerelief.lab.evaluation.protocols.predictions import FolderPredictions, PredictionSource
from facerelief.lab.evaluation.protocols.presets import Preset, Summary
from facerelief.lab.evaluation.protocols.problems import MissingPredictionError
from facerelief.lab.evaluation.protocols.recipes import Settings

SHOWN = 20
"""Problems of a kind that are printed one by one; the JSON has all."""


@dataclass(frozen=True, eq=False)
class ProtocolReport:
    """Scores of a set of predictions."""

    preset: Preset
    scores: list[CaseScore]
    summary: Summary
    """Statistics of the scored cases; without rows where nothing was scored."""
    asked: int
    """Number of cases of the set."""
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Case without a prediction -> reason."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Case whose prediction or scan cannot be measured -> reason."""
    warnings: list[str] = field(default_factory=list[str])

    @property
    def document(self) -> dict[str, Any]:
        """The report for JSON."""
        head = {"preset": self.preset.name, "recipe": self.preset.about, "unit": self.preset.unit}
        head |= {"cases": self.asked, "scored": len(self.scores)}
        each = {score.case.name: score.values for score in self.scores}
        tail = {"each": each, "missing": self.missing, "refused": self.refused, "warnings": self.warnings}
        return head | to_json(self.summary) | to_json(tail)


def run_protocol(
    preset: Preset,
    data: str | Path,
    source: PredictionSource,
    settings: Settings | None = None,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ProtocolReport:
    """Score the predictions of `source` against the set in the folder `data`.

    Problems of single cases stand in the report.

    Args:
        limit: most cases, evenly spread.
        progress: called with the number of cases done and of all.

    Raises:
        EvaluationError: The folder is not laid out as the set is.
    """
    settings = settings or Settings()
    cases = preset.read(Path(data))
    if isinstance(source, FolderPredictions):
        source.number(cases)
    cases = _spread(cases, limit)
    scores: list[CaseScore] = []
    missing: dict[str, str] = {}
    refused: dict[str, str] = {}
    warnings: list[str] = []
    for done, case in enumerate(cases, 1):
        try:
            score = preset.score(case, source(case), settings)
        except MissingPredictionError as error:
            missing[case.name] = str(error)
        except FacereliefError as error:  # also an image or a model that our own method cannot use
            refused[case.name] = str(error)
        except ValueError as error:  # geometry that a step cannot work with
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            refused[case.name] = f"{case.name}: cannot be measured ({reason})"
        else:
            scores.append(score)
            warnings += [w for w in score.warnings if w not in warnings]
        if progress is not None:
            progress(done, len(cases))
    summary = preset.summarize(scores) if scores else Summary({})
    return ProtocolReport(preset, scores, summary, len(cases), missing, refused, warnings)


def _spread(cases: list[Case], limit: int | None) -> list[Case]:
    if limit is None or limit >= len(cases):
        return cases
    return [cases[k * len(cases) // limit] for k in range(limit)]


def printed(made: ProtocolReport, predictions: str) -> Iterator[Printed]:
    """The report as it is printed; predictions: their folder or method."""
    yield made.preset.about
    rows = made.summary.rows
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    cells = [[label, *(number(row.get(column)) for column in columns)] for label, row in rows.items()]
    yield Table(f"{made.preset.name}, {made.preset.unit}: {predictions}", ("", *columns), cells)
    yield f"{len(made.scores)} of {made.asked} cases scored"


def problem_lines(made: ProtocolReport) -> Iterator[str]:
    """Lines about missing, refused and doubtful predictions: the first `SHOWN` of each kind, and counts."""
    kinds = {"warning": made.warnings, "refused": made.refused.values(), "missing": made.missing.values()}
    for kind, lines in kinds.items():
        yield from (f"{kind}: {line}" for line in list(lines)[:SHOWN])
        if len(lines) > SHOWN:
            yield f"{kind}: ... and {len(lines) - SHOWN} more"
    if made.missing:
        yield f"{len(made.missing)} of {made.asked} cases have no prediction"
    if made.refused:
        yield f"{len(made.refused)} of {made.asked} cases could not be measured"
