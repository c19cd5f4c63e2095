"""Names that keep apart, processes that may die, and reports."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest

import facerelief
from facerelief.errors import ModelError, OutputError
from facerelief.examples import astronaut_path
from facerelief.pipeline.batch import (
    BatchConfig,
    ImageJob,
    Outcome,
    find_images,
    plan,
    prepare_output,
    run_batch,
    write_failures,
)
from facerelief.pipeline.reconstructor import ReconstructorConfig
from facerelief.runtime import default_threads
from facerelief.runtime.threads import thread_limit


def folders(*images: str) -> list[str]:
    return [job.folder.name for job in plan(images, "out")]


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["/a/x.jpg", "/a/y.jpg"], ["x", "y"]),
        (["/a/x.jpg", "/b/x.jpg"], ["a-x", "b-x"]),
        (["/a/x.jpg", "/a/x.png"], ["x-jpg", "x-png"]),
        (["/a/x.jpg", "/a/X.jpeg"], ["x-jpg", "X-jpeg"]),
        (["/a/x.jpg", "/a/x.png", "/b/x.jpg"], ["a-x", "x-png", "b-x"]),
        (["/a/c/x.jpg", "/b/c/x.jpg"], ["a-c-x", "b-c-x"]),
        (["/x.jpg", "/a/x.jpg"], ["x", "a-x"]),
        (["/a/x.jpg", "/b/x.jpg", "/c/a-x.jpg"], ["a-x", "b-x", "c-a-x"]),
        (["/a/x.tar.gz", "/a/.jpg"], ["x.tar", ".jpg"]),
    ],
)
def test_names_keep_apart(images, names):
    found = folders(*images)
    assert len({name.casefold() for name in found}) == len(images)
    assert found == names
    # the same whatever the order
    together = dict(zip(images, found))
    for order in permutations(images):
        assert dict(zip(order, folders(*order))) == together


def test_names_that_agree_are_numbered():
    found = folders("/a-b/x.jpg", "/a/b-x.jpg", "/a/b/x.jpg")
    assert len({name.casefold() for name in found}) == 3
    hostile = [f"/a/{k}/x.jpg" for k in range(12)] + ["/x.jpg", "/a/x-2.jpg", "/a/X.JPG"]
    assert len({name.casefold() for name in folders(*hostile)}) == len(hostile)


def test_an_image_named_twice_is_done_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jpg").touch()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "x.jpg")
    jobs = plan(["x.jpg", "./x.jpg", tmp_path / "x.jpg", "link.jpg"], "out")
    assert jobs == [ImageJob(Path("x.jpg"), Path("out/x"))]


def test_find_images(tmp_path):
    for name in ("b.JPG", "a.png", "c.txt", ".d.jpg", "sub/e.webp", ".git/f.jpg", "out/x/face0/preview.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "out/x/face0/face.json").touch()
    (tmp_path / "portrait").write_bytes(b"\xff\xd8\xff\xe0")  # a JPEG by its content
    assert [p.name for p in find_images(tmp_path)] == ["a.png", "b.JPG", "portrait"]
    assert [p.name for p in find_images(tmp_path, recursive=True)] == [
        "a.png",
        "b.JPG",
        "portrait",
        "e.webp",
    ]
    with pytest.raises(OSError, match="nothing"):
        find_images(tmp_path / "nothing")


def test_prepare_output(tmp_path):
    prepare_output(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file: cannot write: a part of this path is a file"):
        prepare_output(tmp_path / "file")


def test_failures_are_written_and_an_old_report_goes(tmp_path):
    job = ImageJob(Path("in/Käthe.jpg"), tmp_path / "Käthe")
    bad = Outcome(job, "failed", reason="in/Käthe.jpg: no face found", kind="NoFaceError")
    file = write_failures(tmp_path, [bad, Outcome(job, "done")])
    assert file == tmp_path / "failed.json"
    assert json.loads(file.read_text("utf-8")) == {
        "failed": [{"file": "in/Käthe.jpg", "error": "NoFaceError", "reason": "in/Käthe.jpg: no face found"}]
    }
    assert write_failures(tmp_path, [Outcome(job, "done")]) is None
    assert list(tmp_path.iterdir()) == []


def test_one_thread_gives_back_what_it_took():
    before = default_threads(), cv2.getNumThreads()
    with thread_limit(1):
        assert (default_threads(), cv2.getNumThreads()) == (1, 1)
    assert (default_threads(), cv2.getNumThreads()) == before


def test_settings():
    with pytest.raises(ValueError, match="workers is 0: expected at least 1"):
        next(run_batch([], BatchConfig(workers=0)))
    assert list(run_batch([])) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_model_is_reported_before_any_work(tmp_path, workers):
    (tmp_path / "model.npz").write_bytes(b"")
    config = BatchConfig(model=tmp_path / "model.npz", workers=workers)
    jobs = plan([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path / "out")
    with pytest.raises(ModelError, match="empty file"):
        list(run_batch(jobs, config))
    assert not multiprocessing.active_children()


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    """Four small portraits."""
    folder = tmp_path_factory.mktemp("in")
    whole = facerelief.read_image(astronaut_path())
    small = np.asarray(cv2.resize(whole[30:230, 110:310], (130, 130), interpolation=cv2.INTER_AREA))
    for i in range(4):
        cv2.imwrite(str(folder / f"{i}.png"), small[..., ::-1])
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> BatchConfig:
    """Two workers, a model of few components, small textures."""
    path = tmp_path_factory.mktemp("model") / "small.npz"
    facerelief.save_model(facerelief.open_model().truncated(identity=10), path)
    return BatchConfig(path, ReconstructorConfig(max_faces=1), texture_size=64, workers=2)


def test_a_worker_that_dies_costs_its_image_only(tmp_path, images, config):
    def kill_one() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        children[0].kill()

    thread = threading.Thread(target=kill_one)
    thread.start()
    outcomes = list(run_batch(plan(images, tmp_path), config))
    thread.join()
    (failed,) = (o for o in outcomes if o.status == "failed")
    assert failed.reason.startswith(f"{failed.job.image}: its worker process ended (signal 9)")
    assert sorted(o.job.image for o in outcomes) == images
    assert {p.name for p in tmp_path.iterdir()} == {o.job.folder.name for o in outcomes if o.status == "done"}
    assert len(list(tmp_path.iterdir())) == 3
    assert not multiprocessing.active_children()


def test_closing_stops_the_workers(tmp_path, images, config):
    outcomes = run_batch(plan(images, tmp_path), config)
    first = next(outcomes)
    assert first.status == "done"
    outcomes.close()
    assert not multiprocessing.active_children()
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".tmp-")]
    assert 1 <= len(list(tmp_path.iterdir())) < 4


def test_a_summary_has_what_a_line_needs(tmp_path, images, config):
    (outcome,) = run_batch(plan(images[:1], tmp_path), config)
    (face,) = outcome.faces
    assert face.folder == tmp_path / "0" / "face0"
    assert face.folder.is_dir()
    assert face.box[0] < face.box[2]
    assert face.ms > 0
    assert face.residuals is not None
    (skipped,) = run_batch(plan(images[:1], tmp_path), config)
    assert skipped.status == "skipped"
