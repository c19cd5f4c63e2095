"""Report of the benchmark on heads whose shape is known (docs/truth.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from facerelief.lab.evaluation.compare.methods import E2FAR, FIT, MEAN_FACE, NET
from facerelief.lab.evaluation.metrics.intervals import SubjectBootstrap, below_percent
from facerelief.lab.evaluation.metrics.reports import IF_KNOWN, INLINE, TARGETS, Target
from facerelief.lab.evaluation.truth.heads_draw import GROUPS, HEAD_YAW_NAMES
from facerelief.typed import Float

NEAREST = "nearest"
"""`nearest_shape`, which knows the truth: no method, but the floor of what the open model can show."""
BELOW = {NET: 20.0, E2FAR: 20.0, FIT: 30.0}
"""Targets on in-model heads: per cent by which a method's mean_mm should be below the mean face's."""
BELOW_ANNY = {FIT: 35.0}
"""Likewise on anny's heads."""
BANDS = ((0, 5), (5, 20), (20, 50), (50, 100))
"""Identity components, first and end, that tables take together."""
_STREAM = 0xB007
"""Of the intervals' draws."""


@dataclass(frozen=True)
class HeadRow:
    """One measured image."""

    seed: int
    person: int
    yaw: float
    """Degrees; > 0 to the image's right."""
    yaw_bin: str
    group: str
    found: bool
    """The detector found the face. If not, all methods are given the mean face."""
    errors: dict[str, dict[str, float]]
    """Method -> `head_errors`."""
    spent_ms: dict[str, float]
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Method -> reason why it gave no shape; it is given the mean face."""
    identities: dict[str, Float] = field(default_factory=dict[str, Float])
    """Method -> (K,) identity that it found; `NEAREST` -> that of the true neutral head."""


@dataclass(frozen=True)
class HeadPart:
    """One method on some of the images; means in mm (`head_errors`), NaN where there are none."""

    pictures: int
    mean_mm: float
    rigid_mm: float
    match_mm: float
    low: float
    """95 % interval of mean_mm."""
    high: float
    below_percent: float
    """Per cent by which mean_mm is below the mean face's, with its 95 % interval."""
    below_low: float
    below_high: float


@dataclass(frozen=True)
class HeadMethod:
    """One method on all images and on parts of them."""

    whole: HeadPart = field(metadata={"key": "all"})
    found: HeadPart
    """Images in which the detector found the face."""
    yaw: dict[str, HeadPart]
    expression: dict[str, HeadPart]
    seeds: dict[int, HeadPart]
    """Of each seed, whose subjects are others."""


@dataclass(frozen=True)
class FoundCount:
    """Images, and those in which the detector found the face."""

    pictures: int
    found: int


@dataclass(frozen=True)
class FoundCounts:
    """Detection on all images and on parts of them."""

    whole: FoundCount = field(metadata={"key": "all"})
    yaw: dict[str, FoundCount]
    expression: dict[str, FoundCount]


@dataclass(frozen=True)
class Failures:
    """Images on which a method gave no shape."""

    pictures: int
    first: str
    """Reason for the first of them."""


@dataclass(frozen=True)
class RecoveredShare:
    """Share of the true identity that a method's coefficients keep; each (K,), NaN where nothing is known."""

    share: tuple[float, ...]
    """Slope of the found coefficient over the true one: below 1 it is shrunk toward the mean face."""
    correlation: tuple[float, ...]
    """Of the two. A component that an image does not show has neither."""
    undone: tuple[float, ...]
    """Factor that brings the found coefficient nearest to the true one: the slope the other way round."""

    def band(self, first: int, end: int) -> tuple[float, float, float]:
        """Means of share, correlation and factor over components `first` to `end` - 1."""
        if first >= len(self.share):
            return (np.nan, np.nan, np.nan)
        share, correlation, undone = (
            float(np.nanmean(x[first:end])) for x in (self.share, self.correlation, self.undone)
        )
        return share, correlation, undone


@dataclass(frozen=True)
class HeadReport:
    """All methods on one or more images of each subject."""

    mean_mm: dict[str, float]
    """Method -> mean over all images, each counting alike."""
    pictures: int
    persons: int
    found: FoundCounts
    failed: dict[str, Failures]
    methods: dict[str, HeadMethod]
    median_ms: dict[str, float]
    """Of methods and of the detector."""
    recovered: dict[str, RecoveredShare]
    """Method -> what it keeps of the subjects' deviation from the mean face."""
    targets: list[Target] = field(metadata=TARGETS)


@dataclass(frozen=True)
class HeadsUsed:
    """The true heads of a benchmark."""

    preset: str
    """Of `heads_match.Preset`."""
    model: str
    licence: str
    matched_points: int
    """Points behind match_mm."""
    nearest_known_sd: float | None = field(default=None, metadata=IF_KNOWN)
    """Of in-model heads: see `known_distance`."""


@dataclass(frozen=True)
class HeadBenchmarkReport:
    """Everything that `facerelief evaluate truth` measures."""

    report: HeadReport = field(metadata=INLINE)
    not_measured: dict[str, str]
    """Method -> reason."""
    seed: int
    """The first of the seeds."""
    seeds: tuple[int, ...]
    model: str
    """The evaluated model's name."""
    heads: HeadsUsed
    backgrounds: int
    """Number of background images."""


def head_report(
    rows: Sequence[HeadRow], methods: Sequence[str], seed: int = 0, below: Mapping[str, float] = BELOW
) -> HeadReport:
    """Means with bootstrap intervals over subjects, of all images and by yaw and expression.

    The same draws serve all methods and parts (`SubjectBootstrap`), so that differences and ratios of methods
    are those of the same images. below: method -> target, per cent below the mean face.
    """
    people = {who: k for k, who in enumerate(sorted({(row.seed, row.person) for row in rows}))}
    boot = SubjectBootstrap([people[row.seed, row.person] for row in rows], seed, stream=_STREAM)
    seeds = sorted({row.seed for row in rows})

    def part(method: str, belongs: Callable[[HeadRow], bool] = lambda row: True) -> HeadPart:
        return _part(rows, boot, method, belongs)

    table = {
        method: HeadMethod(
            part(method),
            part(method, lambda row: row.found),
            {x: part(method, lambda row, x=x: row.yaw_bin == x) for x in HEAD_YAW_NAMES},
            {x: part(method, lambda row, x=x: row.group == x) for x in GROUPS},
            {x: part(method, lambda row, x=x: row.seed == x) for x in seeds},
        )
        for method in methods
    }
    reasons = {name: [row.failed[name] for row in rows if name in row.failed] for name in methods}
    spent = {
        name: [row.spent_ms[name] for row in rows if name in row.spent_ms] for name in (*methods, "detector")
    }
    return HeadReport(
        {name: table[name].whole.mean_mm for name in methods},
        len(rows),
        len(people),
        _found_counts(rows),
        {name: Failures(len(found), found[0]) for name, found in reasons.items() if found},
        table,
        {name: float(np.median(found)) for name, found in spent.items() if found},
        {name: found for name in methods if (found := _recovered(rows, name)) is not None},
        [
            Target(
                f"{name}: mean_mm below the mean face's, per cent",
                table[name].whole.below_percent if name in table else float("nan"),
                at_least=least,
            )
            for name, least in below.items()
        ],
    )


def _recovered(rows: Sequence[HeadRow], method: str) -> RecoveredShare | None:
    """Slopes through the origin: both coefficients are deviations from the mean face."""
    pairs = [
        (row.identities[method], row.identities[NEAREST])
        for row in rows
        if method != NEAREST and method in row.identities and NEAREST in row.identities
    ]
    if not pairs:
        return None
    found, true = (np.array(x, np.float64) for x in zip(*pairs))
    both, found_squared, true_squared = (
        (x * y).sum(axis=0) for x, y in ((found, true), (found,) * 2, (true,) * 2)
    )

    def over(below: Float) -> tuple[float, ...]:
        return tuple(np.divide(both, below, out=np.full(len(both), np.nan), where=below > 0).tolist())

    return RecoveredShare(
        over(true_squared), over(np.sqrt(found_squared * true_squared)), over(found_squared)
    )


def _found_counts(rows: Sequence[HeadRow]) -> FoundCounts:
    def count(members: Sequence[HeadRow]) -> FoundCount:
        return FoundCount(len(members), sum(row.found for row in members))

    return FoundCounts(
        count(rows),
        {x: count([row for row in rows if row.yaw_bin == x]) for x in HEAD_YAW_NAMES},
        {x: count([row for row in rows if row.group == x]) for x in GROUPS},
    )


def _part(
    rows: Sequence[HeadRow], boot: SubjectBootstrap, method: str, belongs: Callable[[HeadRow], bool]
) -> HeadPart:
    where = np.array([belongs(row) and method in row.errors for row in rows], np.bool_)

    def mean_of(measure: str) -> float:
        values = [row.errors[method][measure] for row, chosen in zip(rows, where) if chosen]
        return float(np.mean(values)) if values else float("nan")

    own, floor = (
        np.array([row.errors.get(x, {}).get("mean_mm", np.nan) for row in rows]) for x in (method, MEAN_FACE)
    )
    mean, below = boot.mean(own, where), below_percent(boot.ratio(own, floor, where))
    return HeadPart(
        int(where.sum()),
        mean_of("mean_mm"),
        mean_of("rigid_mm"),
        mean_of("match_mm"),
        mean.low,
        mean.high,
        below.value,
        below.low,
        below.high,
    )
