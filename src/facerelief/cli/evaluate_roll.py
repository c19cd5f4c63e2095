"""`facerelief evaluate roll`: the same face from photos and clips turned in the image plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, note, progress, report
from facerelief.lab.datasets.photos import find_photos
from facerelief.lab.evaluation.metrics.tables import Printed
from facerelief.lab.evaluation.photos.rolls import (
    RollReport,
    evaluate_clip_rolls,
    evaluate_photo_rolls,
    printed,
)
from facerelief.pipeline.reconstructor import ReconstructorConfig


@dataclass(frozen=True)
class Roll:
    """Turn photos and clips by any angle and compare the faces with the upright ones.

    Shape must stay and roll must follow; docs/nets.md gives the figures.

    Examples:
        facerelief evaluate roll --photos photos/ --limit 10 --clip video.mp4
    """

    photos: options.Folder = None
    """Photos; an index.csv there names their groups."""
    group: options.Group = ()
    """Only this group (repeatable)."""
    limit: options.Limit = None
    """At most this many photos of each group, evenly spread."""
    clip: options.Files = ()
    """A video of one face (repeatable), also tilted from frame to frame."""
    frames: Annotated[int, options.Range(2), arg(metavar="N")] = 60
    """First frames of a clip that are used."""
    step: Annotated[float, options.Range(1, 180), arg(metavar="DEG")] = 15.0
    """Photos are turned by multiples of this angle, clips by multiples of three times it."""
    method: Literal["net", "fit", "e2far"] | None = None
    """Method for photos; the default one of the model unless given."""
    model: options.Model = "open"
    """Face model for photos."""
    workers: options.Workers = 1
    json: options.JsonFile = None

    def run(self) -> None:
        """Turn, measure and print."""
        if self.photos is None and not self.clip:
            raise UsageError("nothing to measure on: give --photos or --clip")
        found: list[RollReport] = []
        if self.photos is not None:
            chosen = find_photos(self.photos, self.group, self.limit)
            with progress("photos") as show:
                found.append(
                    evaluate_photo_rolls(
                        chosen,
                        _multiples(self.step),
                        self.model,
                        ReconstructorConfig(self.method),
                        workers=self.workers,
                        progress=show,
                    )
                )
            for file, why in found[0].failures.items():
                note(f"left out: {file}: {why}")
        for clip in self.clip:
            from facerelief.video import VideoReader

            with VideoReader(clip, limit=self.frames) as reader:
                frames = list(reader)
            with progress("tracks") as show:
                found.append(
                    evaluate_clip_rolls(
                        clip.name,
                        [frame.image for frame in frames],
                        [frame.time for frame in frames],
                        _multiples(min(3 * self.step, 180.0)),
                        progress=show,
                    )
                )
        parts: list[Printed] = [part for made in found for part in printed(made)]
        report(found, self.json, parts)


def _multiples(step: float) -> list[float]:
    """Angles of a full turn but 0, degrees; 0 is the upright image itself."""
    return [k * step for k in range(1, int(359.999 // step) + 1)]
