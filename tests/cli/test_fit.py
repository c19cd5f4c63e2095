"""`facerelief fit`."""

from __future__ import annotations

from command_line import run_command as run

from facerelief.lab.datasets.fits import FitFolder


def test_fits_of_a_group_are_made_once_and_failures_told(photo_folder, tmp_path):
    families = tmp_path / "families.csv"
    families.write_text("person,family\neileen,family 1\nnelliee,family 0\n", "utf-8")
    words = ("fit", photo_folder, "-o", tmp_path / "fits", "--group", "b", "--families", families)
    result = run(*words)
    assert "1 photos fitted, 2 left out" in result.stdout
    assert sum("left out: b/" in line for line in result.stdout.splitlines()) == 2
    folder = FitFolder(tmp_path / "fits")
    assert [folder.load(name).family for name in folder.names] == ["family 0"]
    (file,) = (tmp_path / "fits").rglob("*.fit.npz")
    before = file.stat().st_mtime_ns
    assert run(*words).stdout == result.stdout
    assert file.stat().st_mtime_ns == before


def test_a_folder_without_photos_is_refused_in_one_line(tmp_path):
    (line,) = run("fit", tmp_path / "none", "-o", tmp_path / "fits", code=1).stderr.splitlines()
    assert line.startswith("error: ")
    assert not (tmp_path / "fits").exists()
