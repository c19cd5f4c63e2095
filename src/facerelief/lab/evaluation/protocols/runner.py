"""Scores every case of a set; one that cannot be scored never ends the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facerelief.errors import FacereliefError
from facerelief.lab.evaluation.protocols.cases import Case, Score
from facerelief.lab.evaluation.protocols.predictions import FolderPredictions, Source
from facerelief.lab.evaluation.protocols.presets import Preset, Summary
from facerelief.lab.evaluation.protocols.problems import MissingPredictionError
from facerelief.lab.evaluation.protocols.recipes import Settings


@dataclass(frozen=True, eq=False)
class Report:
    """What a protocol says of a set of predictions."""

    preset: Preset
    scores: list[Score]
    summary: Summary
    """Statistics of the scored cases by row; without rows where nothing was scored."""
    asked: int
    """Cases of the set."""
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Case -> why: nothing was predicted."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Case -> why: what was predicted, or the scan, cannot be measured."""
    warnings: list[str] = field(default_factory=list[str])

    def as_json(self) -> dict[str, Any]:
        """Everything, JSON-serialisable."""
        return {
            "preset": self.preset.name,
            "recipe": self.preset.about,
            "unit": self.preset.unit,
            "cases": self.asked,
            "scored": len(self.scores),
            **self.summary,
            "each": {score.case.name: score.values for score in self.scores},
            "missing": self.missing,
            "refused": self.refused,
            "warnings": self.warnings,
        }


def run_protocol(
    preset: Preset,
    data: str | Path,
    source: Source,
    settings: Settings | None = None,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Score the predictions of `source` against the set in the folder `data`.

    limit: only so many cases, evenly spread. progress: called with the number done and all. Raises
    EvaluationError for a folder that is not laid out as the set is; what is wrong with single cases stands in
    the report.
    """
    settings = settings or Settings()
    cases = preset.read(Path(data))
    if isinstance(source, FolderPredictions):
        source.number(cases)
    cases = _spread(cases, limit)
    scores: list[Score] = []
    missing: dict[str, str] = {}
    refused: dict[str, str] = {}
    warnings: list[str] = []
    for done, case in enumerate(cases, 1):
        try:
            score = preset.score(case, source(case), settings)
        except MissingPredictionError as error:
            missing[case.name] = str(error)
        except FacereliefError as error:  # also a picture or a model that our own method could not take
            refused[case.name] = str(error)
        except ValueError as error:  # geometry that no step can work with
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            refused[case.name] = f"{case.name}: cannot be measured ({reason})"
        else:
            scores.append(score)
            warnings += [w for w in score.warnings if w not in warnings]
        if progress is not None:
            progress(done, len(cases))
    summary: Summary = preset.summarize(scores) if scores else {"rows": {}}
    return Report(preset, scores, summary, len(cases), missing, refused, warnings)


def _spread(cases: list[Case], limit: int | None) -> list[Case]:
    if limit is None or limit >= len(cases):
        return cases
    return [cases[k * len(cases) // limit] for k in range(limit)]
