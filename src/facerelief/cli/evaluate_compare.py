"""`facerelief evaluate compare`: all methods on the same pictures, by groups of persons, and how fast."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facerelief.cli.evaluate_nets import JsonOption, held_out, held_out_fits, photo_reliefs, write_json

if TYPE_CHECKING:
    from facerelief.lab.datasets.fits import Fit, FitFolder
    from facerelief.lab.datasets.photos import Photo
    from facerelief.lab.evaluation.compare.methods import Method
    from facerelief.lab.evaluation.compare.run import PhotoInput, PhotoRow, PictureRow
    from facerelief.lab.evaluation.metrics.groups import People
    from facerelief.morphable import FaceModel

LIMIT = 250
"""Labelled pictures unless told otherwise: all methods take about a second for each on one core."""
RELIEF_LIMIT = 60
"""Photos on which relief is compared."""


def evaluate_compare(
    coarse: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A data set of the kinds coarse or renders.")
    ] = None,
    fits: Annotated[
        Path | None,
        typer.Option(
            metavar="FITS",
            help="Photos fitted with `facerelief fit`: their faces and fits are taken, not computed again.",
        ),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Photos; an index.csv there tells persons and groups."),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Ages and genders: columns person, age, gender, or the London Set's face_id, face_age, "
            "face_sex. Photos of other persons are left out of the fairness table.",
        ),
    ] = None,
    speed: Annotated[
        bool, typer.Option("--speed", help="Time every method in processes of its own, with 1 and 2 threads.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="So many labelled pictures, evenly spread.")] = LIMIT,
    persons: Annotated[
        int | None, typer.Option(min=2, help="Photos of so many persons, evenly spread; all if not given.")
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="Some of e2far, net, net_fine, fit, landmarks, with commas between."
        ),
    ] = "e2far,net,net_fine,fit,landmarks",
    split: Annotated[
        str | None, typer.Option(metavar="val|test", help="Which; test, or val where there is no test.")
    ] = None,
    nets: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Networks to compare; the shipped ones if not given."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of everything but --speed.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the intervals' draws.")] = 0,
    results: Annotated[
        Path | None,
        typer.Option(metavar="FILE.md", help="Keep the tables in this page, in a section of its own."),
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write plots; needs matplotlib and --coarse.")
    ] = None,
    as_json: JsonOption = None,
) -> None:
    """Compare all methods on the same held-out pictures, all starting from the same detected face.

    Shape and landmark errors with --coarse; identity, landmarks, agreement and re-render errors on photos,
    whose shape nobody knows, with --photos or --fits; by skin tone, age and gender; time and memory with
    --speed. What the numbers mean: docs/comparison.md.
    """
    from facerelief.errors import FacereliefError
    from facerelief.lab.evaluation.compare.plots import check_plotting
    from facerelief.lab.evaluation.compare.tables import with_section
    from facerelief.lab.evaluation.metrics.groups import People, read_people

    if not (coarse or photos or fits or speed):
        raise typer.BadParameter("nothing to compare on: give --coarse, --photos, --fits or --speed")
    if split not in (None, "val", "test"):
        raise typer.BadParameter(f"--split {split}: expected val or test")
    if plots is not None:
        if coarse is None:
            raise typer.BadParameter("--plots needs --coarse: without labels there are no errors to draw")
        check_plotting()  # not after minutes of work
    page = ""
    if results is not None and results.exists():
        try:
            page = results.read_text("utf-8")
            with_section(page, {})
        except (OSError, UnicodeDecodeError, FacereliefError) as error:
            raise FacereliefError(f"{results}: {error}") from error
    known = People() if people is None else read_people(people)
    from facerelief.runtime.threads import thread_limit

    run = _Run.start(methods, nets, threads, seed)
    about: dict[str, Any] = run.about
    with thread_limit(threads):
        if coarse is not None:
            _pictures(run, coarse, fits, photos, known, split, limit, plots)
        if photos is not None or fits is not None:
            _photos(run, fits, photos, known, people is not None, persons)
            if fits is not None and "net_fine" in run.names:
                about["relief"] = _relief(run, fits, photos, split)
    if speed:
        about["speed"] = _speed(run)
    parts = sections(about, _link(results, plots))
    if as_json is None or str(as_json) != "-":
        _print(about)
    if results is not None:
        from facerelief.io.atomic import write_bytes

        write_bytes(results, with_section(page, parts).encode())
    write_json(about, as_json)


# ---------------------------------------------------------------- what is measured


@dataclass(frozen=True, eq=False)
class _Run:
    """What all parts share."""

    model: FaceModel
    names: list[str]
    """Methods that can be used."""
    nets: Path | None
    seed: int
    about: dict[str, Any]

    @classmethod
    def start(cls, methods: str, nets: Path | None, threads: int, seed: int) -> _Run:
        from facerelief.lab.benchmarks.timing import machine
        from facerelief.lab.evaluation.compare.methods import MEAN_FACE, METHODS, missing_nets
        from facerelief.morphable import open_model

        wanted = [name.strip() for name in methods.split(",") if name.strip()]
        if unknown := [name for name in wanted if name not in METHODS]:
            raise typer.BadParameter(f"--methods {unknown[0]}: expected some of {', '.join(METHODS)}")
        absent = missing_nets(wanted, nets)
        for name, why in absent.items():
            _say(f"{name}: left out: {why}")
        # the mean face is what all others are measured beside
        names = [name for name in METHODS if name not in absent and (name in wanted or name == MEAN_FACE)]
        about = {
            "methods": {name: METHODS[name] for name in names},
            "not_measured": absent,
            "nets": "shipped" if nets is None else nets.resolve().name,
            "seed": seed,
            "threads": threads,
            "machine": machine(),
            "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        }
        return cls(open_model(), names, nets, seed, about)

    def methods(self, *, warm: bool = False) -> dict[str, Method]:
        """Made ready; warm: each has seen a face, so that the first one counted takes no longer."""
        from facerelief.lab.evaluation.compare.methods import open_method

        found = {name: open_method(self.model, name, self.nets) for name in self.names}
        if warm:
            from facerelief.detection import detect_faces
            from facerelief.examples import astronaut_path
            from facerelief.io.images import read_image

            image = read_image(astronaut_path())
            face = detect_faces(image, max_faces=1)[0]
            for method in found.values():
                method(image, face)
        return found


def _pictures(
    run: _Run,
    folder: Path,
    fits: Path | None,
    photos: Path | None,
    people: People,
    split: str | None,
    limit: int,
    plots: Path | None,
) -> None:
    from facerelief.errors import FacereliefError
    from facerelief.lab.evaluation.compare.plots import write_plots
    from facerelief.lab.evaluation.compare.run import compare_pictures, picture_report
    from facerelief.lab.evaluation.metrics.groups import picture_fairness

    part, count, samples = held_out(run.model, folder, ("coarse", "renders"), split, limit)
    found = compare_pictures(
        run.model, run.methods(warm=True), samples, progress=_note("labelled pictures", count)
    )
    if not found.rows:
        why = next(iter(found.left_out.values()), "there are none")
        raise FacereliefError(f"{folder}: no picture could be measured ({why}); give another data set")
    run.about["pictures"] = {
        "data": folder.name,
        "split": part,
        "left_out": found.left_out,
        **picture_report(found.rows, run.seed),
    }
    if plots is not None:
        for file in write_plots(plots, found.rows, run.about["pictures"]):
            _say(f"{file}: written")
    if fits is not None or photos is not None:
        sources = _sources(fits, photos)
        groups = _picture_groups(run.model, found.rows, sources, people)
        run.about.setdefault("fairness", {})["pictures"] = picture_fairness(found.rows, groups, run.seed)


def _photos(
    run: _Run, fits: Path | None, photos: Path | None, people: People, only_known: bool, most: int | None
) -> None:
    from facerelief.errors import FacereliefError
    from facerelief.lab.evaluation.compare.run import compare_photos, photo_report
    from facerelief.lab.evaluation.metrics.groups import groups_of, photo_fairness, skin_tone

    sources = _sources(fits, photos)
    chosen = sources.chosen(people, most)
    angles: dict[str, float] = {}

    def inputs() -> Iterator[PhotoInput]:
        for photo in chosen:
            found = sources.load(photo)
            if found is not None:
                angles[found.name] = skin_tone(run.model, found.image, found.face)
                yield found

    # measured times are those of labelled pictures: here fits may come from a file
    rows, left_out = compare_photos(run.model, run.methods(), inputs(), _note("photos", len(chosen)))
    if not rows:
        why = next(iter({**sources.left_out, **left_out}.values()), "there are none")
        raise FacereliefError(f"{photos or fits}: no photo could be measured ({why}); give other photos")
    run.about["photos"] = {
        "left_out": sources.left_out | left_out,
        "fits_from_file": fits is not None and "fit" in run.names,
        **photo_report(run.model, rows, run.seed),
    }
    members = [row for row in rows if not only_known or people.find(row.person, row.name) is not None]
    if members:
        tones = person_angles(members, angles)
        groups = [groups_of(people, row.person, row.name, tones[row.person]) for row in members]
        run.about.setdefault("fairness", {})["photos"] = photo_fairness(run.model, members, groups, run.seed)


def person_angles(rows: Sequence[PhotoRow], angles: Mapping[str, float]) -> dict[str, float]:
    """Person -> mean typology angle of the person's photos that show skin, NaN where none does: nobody is in
    two groups."""
    import numpy as np

    by_person: dict[str, list[float]] = {}
    for row in rows:
        known = by_person.setdefault(row.person, [])
        if np.isfinite(angles[row.name]):
            known.append(angles[row.name])
    return {person: float(np.mean(known)) if known else np.nan for person, known in by_person.items()}


def _picture_groups(
    model: FaceModel, rows: Sequence[PictureRow], sources: _Sources, people: People
) -> list[dict[str, str]]:
    """Groups of the photo that each labelled picture was made of; none where that photo is not there."""
    from facerelief.lab.evaluation.metrics.groups import groups_of, skin_tone

    by_file: dict[str, dict[str, str]] = {}
    wanted = sorted({row.source for row in rows})
    note = _note("skin tones", len(wanted))
    photos = {sources.relative(photo): photo for photo in sources.photos}
    for done, source in enumerate(wanted, 1):
        photo = photos.get(source)
        found = None if photo is None else sources.load(photo)
        if found is not None:
            angle = skin_tone(model, found.image, found.face)
            by_file[source] = groups_of(people, found.person, found.name, angle)
        note(done)
    return [by_file.get(row.source, {}) for row in rows]


class _Sources:
    """Photos with their faces: from a folder of fits where it has them, else detected."""

    def __init__(self, folder: Path, fits: FitFolder | None) -> None:
        from facerelief.lab.datasets.photos import find_photos

        self.folder = folder
        self.fits = fits
        self._names = set[str]() if fits is None else set(fits.names)
        self.photos: list[Photo] = find_photos(folder)
        self.left_out: dict[str, str] = {}

    def relative(self, photo: Photo) -> str:
        """The photo's file in the folder, as fits and data sets name it."""
        return photo.file.relative_to(self.folder).as_posix()

    def chosen(self, people: People, most: int | None) -> list[Photo]:
        """Two photos of each person with two or more, and those of persons that a file knows; where there are
        neither, `LIMIT` photos, evenly spread. most: of so many persons."""
        by_person: dict[str, list[Photo]] = {}
        for photo in sorted(self.photos, key=lambda photo: str(photo.file)):
            by_person.setdefault(photo.person, []).append(photo)
        persons = [
            person
            for person, found in by_person.items()
            if len(found) >= 2 or people.find(person, found[0].file.name) is not None
        ]
        if not persons:
            found = list(by_person)
            step = max(len(found) / LIMIT, 1.0)
            persons = [found[int(k * step)] for k in range(min(LIMIT, len(found)))]
        if most is not None and len(persons) > most:
            persons = [persons[int(k * len(persons) / most)] for k in range(most)]
        return [photo for person in persons for photo in by_person[person][:2]]

    def load(self, photo: Photo) -> PhotoInput | None:
        """The photo and its face; None, and a note of why, where that gives nothing."""
        from facerelief.detection import detect_faces
        from facerelief.errors import FacereliefError
        from facerelief.inverse.landmark_fit import FaceState
        from facerelief.io.images import read_image
        from facerelief.lab.datasets.splits import split_of
        from facerelief.lab.evaluation.compare.run import PhotoInput

        name = self.relative(photo)
        try:
            fit = self._fit(name)
            if fit is not None and self.fits is not None:
                state = FaceState(fit.camera, fit.identity, fit.expression)
                held = fit.split != "train"
                image = self.fits.image(fit)
                return PhotoInput(name, photo.person, photo.group, held, image, fit, {"fit": state})
            image = read_image(photo.file)
            faces = detect_faces(image, max_faces=1)
            if not faces:
                raise FacereliefError("no face found")
        except FacereliefError as error:
            self.left_out[name] = str(error)
            return None
        held = split_of(photo.person) != "train"
        return PhotoInput(name, photo.person, photo.group, held, image, faces[0])

    def _fit(self, name: str) -> Fit | None:
        stem = Path(name).with_suffix("").as_posix()
        return self.fits.load(stem) if self.fits is not None and stem in self._names else None


def _sources(fits: Path | None, photos: Path | None) -> _Sources:
    from facerelief.lab.datasets.fits import FitFolder

    found = None if fits is None else FitFolder(fits, photos)
    folder = photos if photos is not None else found.photos if found is not None else Path()
    return _Sources(folder, found)


def _relief(run: _Run, fits: Path, photos: Path | None, split: str | None) -> dict[str, Any]:
    """How FineNet's relief agrees with the fit's on held-out photos, from the fit's own coarse face."""
    import numpy as np

    from facerelief.inference.runners import FineRunner
    from facerelief.lab.datasets.fits import FitFolder
    from facerelief.lab.evaluation.metrics.intervals import PersonBootstrap
    from facerelief.lab.evaluation.nets.fine import evaluate_photos

    net = FineRunner(run.model, nets=run.nets)
    folder = FitFolder(fits, photos)
    names = held_out_fits(folder, split, RELIEF_LIMIT)
    note = _note("relief", len(names))
    persons: list[str] = []
    values: list[tuple[float, float, float]] = []
    for done, (name, photo) in enumerate(zip(names, photo_reliefs(run.model, folder, names, net.size)), 1):
        for row in evaluate_photos(run.model, net, [photo]):
            persons.append(folder.load(name).family)
            values.append((row.errors["band_r"], row.errors["found_mm"], row.errors["true_mm"]))
        note(done)
    boot = PersonBootstrap(persons, run.seed)
    r, found, true = np.array(values).reshape(-1, 3).T
    return {
        "photos": len(values),
        "band_r": boot.mean(r).document,
        "height": boot.ratio(found, true).document,
    }


def _speed(run: _Run) -> dict[str, Any]:
    from facerelief.lab.benchmarks.methods import DETECTOR, bench_methods
    from facerelief.lab.evaluation.compare.methods import FIT, FIT_RELIEF

    names = [DETECTOR, *run.names]
    if FIT in names:
        names.insert(names.index(FIT) + 1, FIT_RELIEF)
    return bench_methods(names, nets=run.nets, progress=lambda text: _say(f"speed: {text}"))


def _note(what: str, total: int) -> Callable[[int], None]:
    def note(done: int) -> None:
        if done % 25 == 0 or done == total:
            _say(f"{what}: {done} of {total}")

    return note


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- the page


def sections(about: Mapping[str, Any], images: str | None = None) -> dict[str, str]:
    """Name of a part -> Markdown, of what was measured. images: the plots' folder as the page links it."""
    from facerelief.lab.benchmarks.methods import LABELS
    from facerelief.lab.evaluation.compare.plots import BY_YAW, CUMULATIVE
    from facerelief.lab.evaluation.compare.tables import (
        fairness_tables,
        part,
        photo_tables,
        picture_tables,
        speed_tables,
        told_machine,
    )

    out: dict[str, str] = {}
    if (found := about.get("pictures")) is not None:
        intro = [
            f"Held-out persons (split `{found['split']}`), edited pictures whose labels come from inverse "
            "rendering: **inverse rendering has the home advantage here**, its own kind of faces being the "
            "truth, and the networks learned from such labels. The neutral judge is rendered truth "
            "(`facerelief evaluate truth`). All methods start from the same detected face; pictures in which "
            f"it is not found ({len(found['left_out'])}) are left out for all. FineNet adds relief and "
            "leaves the coarse shape as it is.",
        ]
        outro = [_absent(about)] if about["not_measured"] else []
        if images is not None:
            outro += [
                f"![Share of pictures by shape error and by landmark error]({images}{CUMULATIVE})",
                f"![Shape error and landmark error by yaw]({images}{BY_YAW})",
            ]
        threads = f"{about['threads']} thread" + ("" if about["threads"] == 1 else "s")
        where = told_machine(about["machine"], about["load_before"])
        outro.append(f"ms: median from the detected face to the shape, warm, {threads}. {where}")
        out["pictures"] = part(intro, picture_tables(found), outro)
    if (found := about.get("photos")) is not None:
        intro = [
            "On photos nobody knows the shape. The networks have seen photos of the persons that are not "
            f"held out ({found['persons'] - found['held_out_persons']} of {found['persons']}) in training. "
            "Landmark fit, inverse rendering and the poses of UH-E2FAR and the mean face are fitted to the "
            "very landmarks they are measured against; CoarseNet is not.",
        ]
        out["photos"] = part(intro, photo_tables(found, about.get("relief")))
    if (found := about.get("fairness")) is not None:
        intro = [
            "By group, of photos without known shape and of labelled pictures. Skin tone is the individual "
            "typology angle of the photo's pixels, light and exposure included; it means skin where photos "
            "share a studio, and less elsewhere. Age and gender are self-reported, where a file tells them; "
            "nothing is guessed.",
        ]
        out["fairness"] = part(intro, fairness_tables(found))
    if (found := about.get("speed")) is not None:
        intro = [
            "From the detected face to the shape (with relief where the name says so), without light, "
            "texture and files; the detector is a row of its own. The first face counts from the start of "
            "the process.",
        ]
        outro = [told_machine(found["machine"], found["load_before"])]
        out["speed"] = part(intro, speed_tables(found, LABELS), outro)
    return out


def _absent(about: Mapping[str, Any]) -> str:
    from facerelief.lab.evaluation.compare.methods import METHODS

    return (
        "Not measured: " + "; ".join(f"{METHODS[n]}: {why}" for n, why in about["not_measured"].items()) + "."
    )


def _link(results: Path | None, plots: Path | None) -> str | None:
    if results is None or plots is None:
        return None
    relative = os.path.relpath(plots.resolve(), results.resolve().parent)
    return f"{Path(relative).as_posix()}/"


def _print(about: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from facerelief.lab.benchmarks.methods import LABELS
    from facerelief.lab.evaluation.compare import tables as tables

    console = Console() if sys.stdout.isatty() else Console(width=190)
    found: list[tables.Table] = []
    if "pictures" in about:
        found += tables.picture_tables(about["pictures"])
    if "photos" in about:
        found += tables.photo_tables(about["photos"], about.get("relief"))
    found += tables.fairness_tables(about.get("fairness", {}))
    if "speed" in about:
        found += tables.speed_tables(about["speed"], LABELS)
    for one in found:
        table = Table(one.head[0], title=one.title)
        for column in one.head[1:]:
            table.add_column(column, justify="right")
        for row in one.rows:
            table.add_row(*row)
        console.print(table)
    if about["not_measured"]:
        console.print(_absent(about), highlight=False, markup=False)
    where = (about.get("speed") or about)["machine"]
    console.print(tables.told_machine(where, about["load_before"]), highlight=False, markup=False)
