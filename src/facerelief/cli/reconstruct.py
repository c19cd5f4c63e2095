"""`facerelief reconstruct`: photos become face folders."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import UseAppendAction, arg

from facerelief.cli import options
from facerelief.cli.console import UsageError, note, progress, say
from facerelief.errors import OutputError

if TYPE_CHECKING:
    from facerelief.pipeline.batch import FaceSummary, Outcome


@dataclass(frozen=True)
class Reconstruct:
    """Turn photos into 3D faces.

    Each face gets a folder with meshes, textures, maps and face.json. Images already done are skipped: the
    same command continues a batch that was stopped.

    Examples:
        facerelief reconstruct photo.jpg -o out
        facerelief reconstruct photos/ -o out --recursive --workers 2
        facerelief reconstruct --same-subject a.jpg b.jpg c.jpg -o out
    """

    inputs: Annotated[options.Arguments, arg(metavar="IMAGE|FOLDER")]
    """Image files, or folders of them."""
    out: options.OutFolder
    """Folder for the results: OUT/<name>/face<i>/."""
    method: Literal["net", "fit", "e2far"] | None = None
    """fit: inverse rendering with the solver's relief. net: CoarseNet and FineNet, some ten times as fast.
    e2far: UH-E2FAR's shape in the pose from landmarks, and FineNet. Unless given: fit, or net where --model
    open or --nets asks for networks."""
    model: options.Model | None = None
    """Face model: open2 (made of scans), open (that of the networks), or a model file. Unless given: open2
    for the method fit, open for the others."""
    nets: options.Nets = None
    """Folder with other networks (coarse.onnx, fine.onnx, e2far.onnx); the shipped one where it lacks a
    network. Unless given: the folder that the variable FACERELIEF_NETS names, or the shipped networks."""
    max_faces: options.Count | None = None
    """At most this many faces of an image, best first; all of them unless given."""
    min_confidence: Annotated[float, options.Range(0, 1, open=True)] = 0.5
    """Leave out detections below this, 0 to 1."""
    same_subject: bool = False
    """All photos show one subject: one identity and albedo, fitted to all of them together (method fit), a
    pose, expression and light for each; relief is merged by trust. Photos of somebody else are left out."""
    texture_size: Annotated[int, options.Range(64, 8192)] = 2048
    """Side of texture, normal map and displacement, texels."""
    files: Annotated[UseAppendAction[tuple[str, ...]], arg(name="file", metavar="NAME")] = ()
    """Write only these files of a face, may be given several times: json, obj, glb, ply, depth, texture,
    preview, photo, displaced (the head subdivided and displaced by its relief). All but the last unless
    given."""
    visemes: bool = False
    """Also write 15 Oculus visemes, mouthOpen, mouthSmile, eyesClosed, eyesLookUp and eyesLookDown as
    blendshapes of face.glb, mixes of the 52."""
    no_morph_normals: bool = False
    """Leave the change of the normals by each blendshape out of face.glb: a third of its size."""
    relief_strength: Annotated[tuple[options.Weight, ...], arg(metavar="X")] = (1.0,)
    """Factor of the relief's height in all files: 0 for none, 2 for twice the photo's; or three: of pores
    (below 0.6 mm), wrinkles, and folds (above 2 mm)."""
    identity_strength: options.Weight = 1.0
    """Factor of the shape's distance from the mean face in face.glb and displaced.glb; above 1: a
    caricature."""
    overwrite: options.Overwrite = False
    recursive: Annotated[bool, arg(aliases=("-r",))] = False
    """Look for images in subfolders too."""
    workers: options.Workers = 1
    """Processes that work at once, an image each; each takes a core and about 0.6 GB."""
    verbose: Annotated[bool, arg(aliases=("-v",))] = False
    """Show the traceback of internal errors."""

    def run(self) -> int:
        """Reconstruct all images. Returns the exit code."""
        if self.same_subject:
            return self._run_subject()
        from facerelief.facefolder.head_glb import GlbOptions
        from facerelief.facefolder.save import checked_files
        from facerelief.pipeline.batch import BatchConfig, images_of, plan, prepare_output, run_batch
        from facerelief.pipeline.reconstructor import Reconstructor, ReconstructorConfig

        checked_files(self.files)
        if len(self.relief_strength) not in (1, 3):
            raise UsageError("--relief-strength takes one number, or three: pores, wrinkles, folds")
        config = BatchConfig(
            model=self.model,
            reconstructor=ReconstructorConfig(
                method=self.method,
                max_faces=self.max_faces,
                min_confidence=self.min_confidence,
                nets=None if self.nets is None else str(self.nets),
            ),
            overwrite=self.overwrite,
            texture_size=self.texture_size,
            files=self.files or None,
            glb=GlbOptions(
                visemes=self.visemes,
                morph_normals=not self.no_morph_normals,
                identity_strength=self.identity_strength,
            ),
            relief_strength=self.relief_strength,
            workers=self.workers,
        )
        images, empty = images_of(self.inputs, self.recursive)
        jobs = plan(images, self.out)
        prepare_output(self.out)
        reconstructor = Reconstructor(config.model, config.reconstructor)
        if reconstructor.method != "fit":
            shape = "e2far" if reconstructor.method == "e2far" else "coarse"
            options.note_missing_nets(self.nets, [shape, "fine"])
        done: list[Outcome] = []
        try:
            with (
                progress("images", lines=False) as show,
                contextlib.closing(run_batch(jobs, config, reconstructor)) as outcomes,
            ):
                if len(jobs) > 1:
                    show(0, len(jobs))
                for outcome in outcomes:
                    done.append(outcome)
                    _print_outcome(outcome, len(jobs), self.verbose)
                    if len(jobs) > 1:
                        show(len(done), len(jobs))
        except KeyboardInterrupt:
            ended, left = len(done) + len(empty), len(jobs) - len(done)
            counts = f"{ended} of {ended + left} images ended, {left} left"
            note(f"stopped: {counts}; give the same command again to go on")
            return 130
        return _print_counts(self.out, done, empty)

    def _run_subject(self) -> int:
        """Reconstruct one subject from all images. Returns the exit code."""
        from facerelief.pipeline.batch import images_of, plan, prepare_output
        from facerelief.pipeline.reconstructor import ReconstructorConfig
        from facerelief.pipeline.subject import reconstruct_subject, save_subject

        if self.method not in (None, "fit"):
            raise UsageError(f"--same-subject works with --method fit, not {self.method}")
        images, empty = images_of(self.inputs, self.recursive)
        for line in empty:
            note(f"error: {line}")
        if not images:
            return 1
        jobs = plan(images, self.out)
        prepare_output(self.out)
        config = ReconstructorConfig(max_faces=self.max_faces, min_confidence=self.min_confidence)
        subject = reconstruct_subject([job.image for job in jobs], model=self.model or "open2", config=config)
        for line in subject.left_out.values():
            note(f"warning: {line}")
        folders = {number: jobs[number].folder for number in subject.faces}
        for folder in save_subject(subject, folders, self.texture_size, self.overwrite):
            say(f"saved in {folder}")
        say(f"one subject from {len(subject.faces)} of {len(jobs)} photos")
        return 0


def _print_outcome(outcome: Outcome, jobs: int, verbose: bool) -> None:
    """The lines about one image."""
    if outcome.status == "skipped":
        say(f"{outcome.reason} (--overwrite does it again)")
        return
    if outcome.status == "failed":
        note(f"error: {outcome.reason}")
        if outcome.trace and verbose:
            note(outcome.trace)
        return
    for i, face in enumerate(outcome.faces, 1):
        say(_face_line(outcome, face, i))
        for warning in face.warnings:
            say(f"  warning: {warning}")
    if jobs == 1:
        say(f"saved in {outcome.job.folder}")


def _face_line(outcome: Outcome, face: FaceSummary, number: int) -> str:
    pitch, yaw, roll = (math.degrees(angle) for angle in (face.pitch, face.yaw, face.roll))
    left, top, right, bottom = face.box
    line = (
        f"{outcome.job.image}: face {number} of {len(outcome.faces)}, "
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


def _print_counts(out: Path, done: list[Outcome], empty: list[str]) -> int:
    """Print counts and every failure again, and write failed.json. Returns the exit code."""
    from facerelief.pipeline.batch import write_failures

    failed = [*empty, *(o.reason for o in done if o.status == "failed")]
    for line in empty:
        note(f"error: {line}")
    written = None
    try:
        written = write_failures(out, done)
    except OutputError as error:
        note(f"error: {error}")
    saved, skipped = (sum(o.status == status for o in done) for status in ("done", "skipped"))
    if len(done) + len(empty) > 1:
        faces = sum(len(o.faces) for o in done)
        say(f"images done {saved}, skipped {skipped}, failed {len(failed)}; faces saved {faces}")
        if failed and (saved or skipped):
            note("\n".join(["failed:", *(f"  {line}" for line in failed)]))
        if written is not None:
            note(f"the failures are listed in {written}")
    return 0 if saved or skipped else 1
