"""Whole or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import pathlib
import re
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from facerelief.errors import OutputError
from facerelief.io import atomic
from facerelief.io.atomic import TEMPORARY_PREFIX, atomic_folder, write_bytes


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def _made(path):
    path.parent.mkdir(parents=True)
    return path


def one_line(caught, *words):
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_block_fills_the_folder(tmp_path):
    with atomic_folder(tmp_path / "deep" / "face0") as folder:
        assert folder.name.startswith(TEMPORARY_PREFIX)
        assert not (tmp_path / "deep" / "face0").exists()
        (folder / "a").write_text("1")
    assert names(tmp_path / "deep") == ["face0"]
    assert (tmp_path / "deep" / "face0" / "a").read_text() == "1"


def test_an_error_leaves_no_new_parents(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="no"), atomic_folder(tmp_path / "there" / "a" / "b" / "face0"):
        raise ValueError("no")
    assert names(tmp_path / "there") == []


def test_new_folder_has_ordinary_permissions(tmp_path):
    (tmp_path / "plain").mkdir()
    with atomic_folder(tmp_path / "made"):
        pass
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("overwrite", [False, True])
def test_error_inside_leaves_everything_as_it_was(tmp_path, error, overwrite):
    if overwrite:
        (tmp_path / "face0").mkdir()
        (tmp_path / "face0" / "a").write_text("old")

    def write_half():
        with atomic_folder(tmp_path / "face0", overwrite=overwrite) as folder:
            (folder / "a").write_text("new")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert names(tmp_path) == (["face0"] if overwrite else [])
    if overwrite:
        assert (tmp_path / "face0" / "a").read_text() == "old"


def test_taken_name_needs_overwrite(tmp_path):
    (tmp_path / "face0").mkdir()
    (tmp_path / "face0" / "a").write_text("old")
    with pytest.raises(OutputError) as caught, atomic_folder(tmp_path / "face0"):
        raise AssertionError("the block must not run")
    one_line(caught, "face0", "already there", "overwrit")
    with atomic_folder(tmp_path / "face0", overwrite=True) as folder:
        (folder / "b").write_text("new")
        assert (tmp_path / "face0" / "a").read_text() == "old"
    assert names(tmp_path) == ["face0"]
    assert names(tmp_path / "face0") == ["b"]


def test_empty_folder_is_free(tmp_path):
    (tmp_path / "face0").mkdir()
    with atomic_folder(tmp_path / "face0") as folder:
        (folder / "a").write_text("1")
    assert names(tmp_path / "face0") == ["a"]


def test_folder_without_the_marker_is_not_overwritten(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters").write_text("dear")
    with pytest.raises(OutputError) as caught, atomic_folder(tmp_path / "home", True, marker="face.json"):
        pass
    one_line(caught, "home", "face.json", "not overwritten")
    (tmp_path / "home" / "face.json").write_text("{}")
    with atomic_folder(tmp_path / "home", True, marker="face.json") as folder:
        (folder / "a").write_text("1")
    assert names(tmp_path / "home") == ["a"]


def test_file_in_the_way(tmp_path):
    (tmp_path / "face0").write_text("a file")
    with pytest.raises(OutputError) as caught, atomic_folder(tmp_path / "face0", overwrite=True):
        pass
    one_line(caught, "face0", "not a folder")
    with pytest.raises(OutputError) as caught, atomic_folder(tmp_path / "face0" / "sub"):
        pass
    one_line(caught, "face0", "is a file, not a folder")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_parent(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OutputError) as caught, atomic_folder(tmp_path / "face0"):
            pass
        one_line(caught, "face0", "permission denied")
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "permission denied"), (errno.EROFS, "read-only"), (errno.ENAMETOOLONG, "too long")],
)
def test_folder_that_cannot_be_made(tmp_path, monkeypatch, number, words):
    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pathlib.Path, "mkdir", refuse)
    with pytest.raises(OutputError) as caught, atomic_folder(tmp_path / "face0"):
        pass
    one_line(caught, "face0", words, "choose")
    assert names(tmp_path) == []


def test_full_disk(tmp_path, monkeypatch):
    real = pathlib.Path.write_bytes

    def fill_up(path, data):
        real(path, bytes(data)[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    def write_two():
        with atomic_folder(tmp_path / "face0") as folder:
            write_bytes(folder / "a", b"123456")
            monkeypatch.setattr(pathlib.Path, "write_bytes", fill_up)
            write_bytes(folder / "b", b"123456")

    with pytest.raises(OutputError) as caught:
        write_two()
    one_line(caught, "disk is full", "free some space")
    assert names(tmp_path) == []


def test_oserror_of_the_block_becomes_one_line(tmp_path):
    with pytest.raises(OutputError) as caught, atomic_folder(tmp_path / "face0"):
        raise OSError(errno.ENOSPC, "No space left on device")
    one_line(caught, "face0", "disk is full")
    assert names(tmp_path) == []


def test_failed_swap_brings_the_old_folder_back(tmp_path, monkeypatch):
    (tmp_path / "face0").mkdir()
    (tmp_path / "face0" / "a").write_text("old")
    real = pathlib.Path.rename

    def rename(path, target):
        if path.name.startswith(TEMPORARY_PREFIX) and not path.name.endswith(".old"):
            raise OSError(errno.EACCES, "in use")
        return real(path, target)

    monkeypatch.setattr(pathlib.Path, "rename", rename)
    with pytest.raises(OutputError), atomic_folder(tmp_path / "face0", overwrite=True):
        pass
    assert names(tmp_path) == ["face0"]
    assert (tmp_path / "face0" / "a").read_text() == "old"


def test_name_taken_while_the_block_ran(tmp_path):
    theirs = tmp_path / "face0" / "theirs"
    with pytest.raises(OutputError, match="already there"), atomic_folder(tmp_path / "face0"):
        write_bytes(_made(theirs), b"1")
    assert names(tmp_path) == ["face0"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_process_leaves_a_recognisable_rest_that_the_next_write_clears(tmp_path):
    program = (
        "import os, signal, sys\n"
        "from facerelief.io.atomic import atomic_folder\n"
        "with atomic_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'a').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "face0")], check=False)
    assert done.returncode == -signal.SIGKILL
    (rest,) = names(tmp_path)
    assert re.fullmatch(r"\.tmp-face0\.[0-9a-f]{8}", rest)
    with atomic_folder(tmp_path / "face1"):  # another target leaves it alone
        pass
    assert rest in names(tmp_path)
    with atomic_folder(tmp_path / "face0") as folder:
        (folder / "a").write_text("whole")
    assert names(tmp_path) == ["face0", "face1"]


def test_death_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    aside = tmp_path / f"{TEMPORARY_PREFIX}face0.0123abcd.old"
    aside.mkdir()
    (aside / "a").write_text("old")
    (tmp_path / f"{TEMPORARY_PREFIX}face0.0123abcd").mkdir()
    with pytest.raises(ValueError, match="stop"), atomic_folder(tmp_path / "face0", overwrite=True):
        raise ValueError("stop")
    assert names(tmp_path) == ["face0"]
    assert (tmp_path / "face0" / "a").read_text() == "old"


def test_file_is_whole_or_the_old_one(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a", b"old")
    monkeypatch.setattr(
        pathlib.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error"))
    )
    with pytest.raises(OutputError) as caught:
        write_bytes(tmp_path / "a", b"new")
    one_line(caught, "a: cannot write: I/O error")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_every_advice_is_one_line(tmp_path):
    for number in atomic._ADVICE:
        text = str(atomic.output_error(tmp_path, OSError(number, os.strerror(number))))
        assert "\n" not in text
        assert ";" in text


def test_leftovers_of_one_name_go_and_an_old_result_comes_back(tmp_path):
    for name in (".tmp-x.0123abcd", ".tmp-x.y.0123abcd", ".tmp-x.0123abcd.old", "x", ".tmp-z.0123abcd.old"):
        (tmp_path / name).mkdir()
    (tmp_path / ".tmp-x.01234567").touch()
    atomic.clear_leftovers(tmp_path / "x")
    atomic.clear_leftovers(tmp_path / "z")
    assert {p.name for p in tmp_path.iterdir()} == {".tmp-x.y.0123abcd", "x", "z"}


@pytest.mark.parametrize("old", [False, True])
def test_a_file_appears_whole_or_not_at_all(tmp_path, old):
    if old:
        (tmp_path / "x").write_bytes(b"old")
    with suppress(ZeroDivisionError), atomic.atomic_file(tmp_path / "x") as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({"x": b"old"} if old else {})
    with atomic.atomic_file(tmp_path / "x") as temporary:
        temporary.write_bytes(b"new")
        assert (tmp_path / "x").exists() == old
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"x": b"new"}
