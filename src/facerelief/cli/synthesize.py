"""`facerelief synthesize KIND`: training data from fits, with the fields of the kind's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import Rate, UsageError, note, progress, say
from facerelief.cli.dataset import left_out
from facerelief.errors import FacereliefError
from facerelief.lab.datasets.coarse import CoarseConfig
from facerelief.lab.datasets.engine import Progress, synthesize
from facerelief.lab.datasets.fine import FineConfig
from facerelief.lab.datasets.fits import FitFolder
from facerelief.lab.datasets.kinds import KINDS
from facerelief.lab.datasets.manifest import Recipe
from facerelief.lab.datasets.pairs import PairConfig
from facerelief.lab.datasets.renders import RenderConfig
from facerelief.lab.datasets.splits import SPLITS
from facerelief.lab.datasets.wrinkles import WrinkleConfig


@dataclass(frozen=True)
class Synthesize:
    """Options of every kind of training data; a class below adds `sample`, the kind's configuration.

    Existing shards are kept: the same command continues a run that was stopped. Photos that cannot be used
    are recorded and left out.
    """

    kind: ClassVar[str]
    sample: Any
    fits: Annotated[options.Argument, arg(metavar="FITS")]
    """A folder that `facerelief fit` made."""
    out: options.OutFolder
    """Folder for the shards."""
    per_photo: options.Count = 30
    """Samples of each photo."""
    seed: options.Seed = 0
    """Seed of everything random: the same seed gives the same bytes."""
    workers: options.Count | None = None
    """Processes that work at once, a shard each: 1, or with --ray one for each core of the cluster."""
    ray: Annotated[str | None, arg(metavar="ADDRESS")] = None
    """Work on a Ray cluster: its address, or local for one of this machine. The folders of fits, photos and
    results must be shared by all its nodes, under the same names."""
    split: Annotated[str, arg(metavar="NAMES")] = ",".join(SPLITS)
    """Splits to make, with commas between."""
    limit: options.Limit = None
    """At most this many photos, chosen by the seed; all of them unless given."""
    format: Literal["jpg", "png"] = "jpg"
    """Coding of the images: JPEG of quality 95, or PNG."""
    photos_per_shard: options.Count = 32
    """Photos whose samples share a shard: the most that is lost when a worker is killed."""
    photos: options.Folder = None
    """Folder of the photos, if they have moved since they were fitted."""

    def recipe(self) -> Recipe:
        """The recipe that the options ask for. Raises UsageError."""
        splits = tuple(dict.fromkeys(options.names(self.split)))
        if not splits or not set(splits) <= set(SPLITS):
            raise UsageError(f"--split {self.split}: expected some of {','.join(SPLITS)}")
        return Recipe(
            kind=KINDS[self.kind],
            config=self.sample,
            per_photo=self.per_photo,
            seed=self.seed,
            image_format=self.format,
            splits=splits,
            limit=self.limit,
            photos_per_shard=self.photos_per_shard,
        )

    def run(self) -> int:
        """Make the shards. Returns the exit code."""
        recipe = self.recipe()
        fits = FitFolder(self.fits, self.photos)
        rate = Rate()
        try:
            with progress("shards") as show:

                def follow(at: Progress) -> None:
                    bad = f", {at.failures} photos left out" if at.failures else ""
                    text = f"{at.samples} samples, {rate(at.samples):.1f} a second{bad}"
                    show(at.shards, at.shards_total, text)

                manifest = synthesize(
                    fits, self.out, recipe, workers=self.workers, ray=self.ray, progress=follow
                )
        except KeyboardInterrupt:
            note("stopped; give the same command again to go on")
            return 130
        _print_counts(self.out, manifest)
        return 0


def _print_counts(out: Path, manifest: dict[str, Any]) -> None:
    """Raises FacereliefError where there is no sample."""
    failures = manifest["failures"]
    for line in left_out(failures, f"; {out / 'manifest.json'} has all"):
        say(line)
    counts = manifest["counts"]
    samples = sum(row["samples"] for row in counts.values())
    size = sum(row["bytes"] for row in counts.values()) / 1e6
    each = ", ".join(f"{split} {row['samples']}" for split, row in counts.items())
    say(
        f"{out}: {samples} samples ({each}) of {sum(row['photos'] for row in counts.values())} photos in "
        f"{len(manifest['shards'])} shards, {size:.1f} MB; {len(failures)} photos left out"
    )
    if not samples:
        raise FacereliefError(f"{out}: no photo was of use; the lines above say why")


@dataclass(frozen=True)
class Coarse(Synthesize):
    """Make photos with another pose, expression and light.

    Examples:
        facerelief synthesize coarse fits/ -o data/coarse --workers 2
    """

    kind = "coarse"
    sample: CoarseConfig


@dataclass(frozen=True)
class Fine(Synthesize):
    """Make photos with the wrinkles of other people.

    Examples:
        facerelief synthesize fine fits/ -o data/fine --workers 2
    """

    kind = "fine"
    sample: FineConfig


@dataclass(frozen=True)
class Pairs(Synthesize):
    """Make images with earlier states of the face, as of neighbouring video frames.

    Examples:
        facerelief synthesize pairs fits/ -o data/pairs --workers 2
    """

    kind = "pairs"
    sample: PairConfig


@dataclass(frozen=True)
class Renders(Synthesize):
    """Make random faces rendered before photos.

    Examples:
        facerelief synthesize renders fits/ -o data/renders --workers 2
    """

    kind = "renders"
    sample: RenderConfig


@dataclass(frozen=True)
class Wrinkles(Synthesize):
    """Draw wrinkles of known height into photos of smooth faces.

    Examples:
        facerelief synthesize wrinkles fits/ -o data/wrinkles --workers 2
    """

    kind = "wrinkles"
    sample: WrinkleConfig
