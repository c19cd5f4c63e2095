"""`facerelief evaluate compare` as a user meets it: one page, one JSON file, errors in one line."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import run_command

from facerelief.detection import detect_faces
from facerelief.examples import astronaut_path
from facerelief.inverse.landmark_fit import fit_landmarks
from facerelief.io.images import read_image
from facerelief.lab.benchmarks import methods as method_benchmark
from facerelief.lab.datasets.samples import Sample
from facerelief.lab.datasets.shards import encode_sample
from facerelief.lab.evaluation.compare.page import OPEN
from facerelief.morphable import open_model


def run(*words: object, code: int = 0) -> Any:
    return run_command("evaluate", "compare", *words, code=code)


@pytest.fixture(scope="module")
def portrait() -> Any:
    """(256, 256, 3) the shipped portrait's face."""
    image = read_image(astronaut_path())
    left, top, right, bottom = detect_faces(image, max_faces=1)[0].box
    u, v, half = (left + right) / 2, (top + bottom) / 2, 0.9 * max(right - left, bottom - top)
    top, left = max(int(v - half), 0), max(int(u - half), 0)
    part = image[top : int(v + half), left : int(u + half)]
    return np.asarray(cv2.resize(part, (256, 256), interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="module")
def data_set(tmp_path_factory, portrait) -> Path:
    """Held-out images, the labels what the landmark fit finds in them: that method has no error. The last
    one shows no face."""
    folder = tmp_path_factory.mktemp("sets") / "coarse"
    folder.mkdir()
    model = open_model()
    recipe = {
        "schema": "facerelief dataset 1",
        "kind": "coarse",
        "model": {"name": model.name, "version": str(model.version)},
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    images = [portrait, np.ascontiguousarray(portrait[:, ::-1]), np.full_like(portrait, 90)]
    with tarfile.open(folder / "test-000000.tar", "w") as tar:
        for number, image in enumerate(images):
            face = detect_faces(images[min(number, 1)], small_faces=False)[0]
            state = fit_landmarks(model, face.landmarks).state
            labels = {
                "camera": state.camera.vector,
                "identity": state.identity,
                "expression": state.expression,
                "box": np.array(face.box, np.float32),
            }
            about = {"family": f"person {number}", "source": f"g/00{number}_03.png"}
            sample = Sample(f"face-{number}", image, labels, about)
            for ending, data in encode_sample(sample, "png").items():
                entry = tarfile.TarInfo(f"{sample.key}.{ending}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    record = {"name": "test-000000", "split": "test", "sha256": "", "bytes": 0, "samples": 3, "seconds": 0.0}
    photos = [{"name": "a", "group": "g", "samples": 3}]
    (folder / "test-000000.json").write_text(json.dumps({**record, "photos": photos, "failures": {}}))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory, portrait) -> Path:
    """Two photos of each of two persons: an image and a paler one, the same mirrored."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "g").mkdir()
    lines = ["file,person,source"]
    for number, image in enumerate((portrait, np.ascontiguousarray(portrait[:, ::-1]))):
        for code, gain in (("03", 1.0), ("08", 0.9)):
            file = f"g/00{number}_{code}.png"
            shown = np.clip(image * gain, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / file), cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
            lines.append(f"{file},p{number},g")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_one_command_writes_page_plots_and_json(data_set, photos, tmp_path):
    pytest.importorskip("matplotlib")
    people = tmp_path / "info.csv"
    people.write_text("face_id,face_age,face_sex\nX000,30,female\n")
    page, document = tmp_path / "results.md", tmp_path / "found.json"
    page.write_text("# Mine\n")
    arguments = ("--coarse", data_set, "--photos", photos, "--people", people, "--methods", "landmarks")
    result = run(*arguments, "--results", page, "--plots", tmp_path / "images", "--json", document)
    about = json.loads(document.read_text())
    found = about["pictures"]
    assert (found["pictures"], found["split"], list(found["left_out"])) == (2, "test", ["face-2"])
    assert list(found["methods"]) == ["landmarks", "mean_face"]
    assert found["methods"]["landmarks"]["all"]["rigid_mm"]["value"] == pytest.approx(0, abs=0.02)
    assert found["methods"]["mean_face"]["all"]["rigid_mm"]["value"] > 0.5
    of_photos = about["photos"]
    assert (of_photos["photos"], of_photos["persons"]) == (4, 2)
    # a paler image of a person is still the same person
    consistency = of_photos["consistency"]["landmarks"]["all"]
    assert consistency["same_mm"]["value"] < consistency["different_mm"]["value"]
    assert consistency["auc"]["value"] == 1
    # of the photos without labels only those of the file's person
    assert about["fairness"]["photos"]["gender"]["female"]["photos"] == 2
    assert about["fairness"]["pictures"]["age"]["25 to 34"]["pictures"] == 1
    text = page.read_text()
    assert text.startswith(f"# Mine\n\n{OPEN}")
    assert "2 images of 2 subjects" in text
    assert "(images/comparison_yaw.png)" in text
    assert (tmp_path / "images" / "comparison_yaw.png").is_file()
    assert "landmark fit" in result.stdout
    assert "| landmark fit | 0.0" in text


def test_fairness_and_photos_without_labels(photos):
    about = json.loads(
        run("--photos", photos, "--methods", "mean_face", "--persons", 2, "--json", "-").stdout
    )
    assert "pictures" not in about
    assert about["photos"]["consistency"]["mean_face"]["all"]["auc"]["value"] == 0.5
    assert about["photos"]["consistency"]["mean_face"]["all"]["same_over_different"]["value"] is None
    assert sum(group["photos"] for group in about["fairness"]["photos"]["skin tone"].values()) == 4


def test_networks_that_are_not_there_are_left_out_with_a_note(photos, tmp_path):
    methods = "e2far,net,landmarks"
    result = run("--photos", photos, "--methods", methods, "--nets", tmp_path, "--persons", 2, "--json", "-")
    about = json.loads(result.stdout)
    assert list(about["not_measured"]) == ["e2far", "net"]
    assert list(about["methods"]) == ["landmarks", "mean_face"]
    assert "e2far: left out" in result.stderr


def test_speed_has_every_method(tmp_path, monkeypatch):
    row = {"median_ms": 1.0, "p90_ms": 1.0, "calls": 1, "cold_start_s": 1.0, "peak_mb": 100.0}

    def bench(methods: Any, **_: Any) -> dict[str, Any]:
        where = {"processor": "p", "cores": 1, "system": "s", "python": "3", "versions": {"numpy": "2"}}
        table = {name: {"1": row, "2": row} for name in methods}
        return {
            "machine": where,
            "load_before": 0.0,
            "image": "x",
            "threads": [1, 2],
            "methods": table,
        }

    monkeypatch.setattr(method_benchmark, "bench_methods", bench)
    page = tmp_path / "results.md"
    run("--speed", "--methods", "fit,landmarks", "--results", page)
    text = page.read_text()
    for name in ("detector alone", "inverse rendering", "inverse rendering + relief", "mean face"):
        assert f"| {name} |" in text


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "nothing to compare on"),
        (("--speed", "--methods", "magic"), 2, "--methods magic"),
        (("--speed", "--plots", "x"), 2, "--plots needs --coarse"),
        (("--coarse", "none", "--split", "train"), 2, "--split"),
        (("--coarse", "none"), 1, "none"),
        (("--photos", "none"), 1, "none: no images"),
        (("--fits", "none"), 1, "fits.json"),
        (("--speed", "--people", "none.csv"), 1, "none.csv: cannot be read"),
    ],
)
def test_wrong_input_ends_in_one_line(arguments, code, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, code=code)
    assert told in result.output
    if code == 1:
        assert result.output.strip().splitlines()[-1].startswith("error:")


def test_no_matplotlib_is_told_before_the_work(data_set, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("--coarse", data_set, "--plots", tmp_path, code=1)
    assert "pip install 'facerelief[plots]'" in result.output
    assert "labelled images" not in result.output


def test_a_page_with_half_a_section_is_left_alone(tmp_path):
    page = tmp_path / "results.md"
    page.write_text(OPEN)
    result = run("--speed", "--results", page, code=1)
    assert f"{page}: expected one line" in result.output
    assert page.read_text() == OPEN
