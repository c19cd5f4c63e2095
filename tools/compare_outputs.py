"""Compare the files of two output folders: python tools/compare_outputs.py A B [--ignore PATTERN ...]

A refactoring must change no number. Run the same commands with the code before and after it, into two
folders, and compare them: one line per file says `equal` or gives the largest absolute difference. The exit
status is 1 if any file differs or is missing from one of the folders.

The values are compared, not the packing: arrays of .npy and .npz, numbers and texts of .json and .csv, pixels
of images, frames of .mp4 (with PyAV), members of .tar; every other file byte by byte. Times, versions, host
names and absolute paths are left out: keys and columns that match `VOLATILE`, and logs. NaN equals NaN.

--ignore takes shell patterns of relative paths (`*/preview.png`), JSON keys, CSV columns and npz members.
"""

import argparse
import csv
import fnmatch
import io
import json
import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

VOLATILE = re.compile(
    r"^(timings?(_ms)?|times?_ms|spent_ms|memory_mb|.*seconds|.*_fps|created|started|finished|date|host|pid|command|argv|"
    r"version|(?!schema_).*_version)$"
)
"""Names of JSON keys, CSV columns and npz members that differ between runs with equal results."""

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
LOGS = ("log_*.txt", "*.log")


class Difference(NamedTuple):
    """One place in which two files differ."""

    where: str
    """Key, member or column; empty for the file as a whole."""
    size: float
    """Largest absolute difference; inf where the two cannot be subtracted."""
    note: str = ""

    def __str__(self) -> str:
        text = self.note if np.isinf(self.size) else f"differs by at most {self.size:.6g}"
        return f"{self.where}: {text}" if self.where else text


def _only(in_first: bool) -> str:
    return f"only in the {'first' if in_first else 'second'}"


def _arrays(where: str, a: np.ndarray, b: np.ndarray) -> Iterator[Difference]:
    if a.shape != b.shape or a.dtype != b.dtype:
        yield Difference(where, np.inf, f"{a.dtype}{a.shape} against {b.dtype}{b.shape}")
    elif a.dtype.kind in "fc":
        with np.errstate(invalid="ignore"):
            apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
        apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
        if apart.size and not (apart == 0).all():
            largest = float(np.nan_to_num(apart, nan=np.inf).max())
            yield Difference(where, largest, "NaN or infinity against a number")
    elif a.dtype.kind in "iub":
        largest = np.abs(a.astype(np.int64) - b.astype(np.int64)).max(initial=0)
        if largest:
            yield Difference(where, float(largest))
    elif a.dtype.kind in "US" and a.ndim == 0 and str(a).startswith("{"):
        yield from _json(where, json.loads(str(a)), json.loads(str(b)), ())
    elif not np.array_equal(a, b):
        yield Difference(where, np.inf, "other texts")


def _ignored(name: str, patterns: Sequence[str]) -> bool:
    return bool(VOLATILE.match(name)) or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _text(where: str, a: str, b: str) -> Iterator[Difference]:
    """Two texts: numbers by value, file names by their last part where one is absolute."""
    try:
        x, y = float(a), float(b)
    except ValueError:
        absolute = PurePath(a).is_absolute() or PurePath(b).is_absolute()
        if a != b and not (absolute and PurePath(a).name == PurePath(b).name):
            yield Difference(where, np.inf, f"{a[:40]!r} against {b[:40]!r}")
    else:
        yield from _arrays(where, np.array([x]), np.array([y]))


def _json(where: str, a: Any, b: Any, patterns: Sequence[str]) -> Iterator[Difference]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            inner = f"{where}.{key}" if where else key
            if _ignored(key, patterns) or _ignored(inner, patterns):
                continue
            if key not in a or key not in b:
                yield Difference(inner, np.inf, _only(key in a))
            else:
                yield from _json(inner, a[key], b[key], patterns)
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            yield Difference(where, np.inf, f"{len(a)} against {len(b)} entries")
        for number, pair in enumerate(zip(a, b, strict=False)):
            yield from _json(f"{where}[{number}]", *pair, patterns)
    elif isinstance(a, bool) or isinstance(b, bool) or (None in (a, b) and a is not b):
        if a is not b:
            yield Difference(where, np.inf, f"{a} against {b}")
    else:
        yield from _text(where, str(a), str(b))


def _csv(a: str, b: str, patterns: Sequence[str]) -> Iterator[Difference]:
    first, second = list(csv.DictReader(io.StringIO(a))), list(csv.DictReader(io.StringIO(b)))
    if len(first) != len(second) or (first and first[0].keys() != second[0].keys()):
        yield Difference("", np.inf, f"{len(first)} against {len(second)} rows, or other columns")
        return
    for number, (row, other) in enumerate(zip(first, second, strict=True)):
        for column in row:
            if not _ignored(column, patterns):
                yield from _text(f"{column}[{number}]", row[column] or "", other[column] or "")


def _npz(a: bytes, b: bytes, patterns: Sequence[str]) -> Iterator[Difference]:
    with (
        np.load(io.BytesIO(a), allow_pickle=False) as first,
        np.load(io.BytesIO(b), allow_pickle=False) as second,
    ):
        for name in sorted({*first.files, *second.files}):
            if _ignored(name, patterns):
                continue
            if name not in first.files or name not in second.files:
                yield Difference(name, np.inf, _only(name in first.files))
            else:
                yield from _arrays(name, first[name], second[name])


def _pixels(a: bytes, b: bytes) -> Iterator[Difference]:
    import cv2

    first, second = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) for data in (a, b))
    if first is None or second is None:
        yield Difference("", np.inf, "other bytes, and no image that can be read")
    else:
        yield from _arrays("", first, second)


def _frames(a: bytes, b: bytes) -> Iterator[Difference]:
    import av

    with av.open(io.BytesIO(a), "r") as first, av.open(io.BytesIO(b), "r") as second:
        frames, others = first.decode(video=0), second.decode(video=0)
        number, largest = 0, 0.0
        while True:
            frame, other = next(frames, None), next(others, None)
            if frame is None or other is None:
                break
            if frame.time != other.time:
                yield Difference(f"frame {number}", np.inf, f"at {frame.time} s against {other.time} s")
            for found in _arrays("", frame.to_ndarray(format="rgb24"), other.to_ndarray(format="rgb24")):
                largest = max(largest, found.size)
            number += 1
        if (frame is None) != (other is None):
            yield Difference("", np.inf, f"one has more than {number} frames")
        elif largest:
            yield Difference("pixels of frames", largest)


def _tar(a: bytes, b: bytes, patterns: Sequence[str]) -> Iterator[Difference]:
    def members(data: bytes) -> dict[str, bytes]:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            files = ((member.name, archive.extractfile(member)) for member in archive if member.isfile())
            return {name: file.read() for name, file in files if file is not None}

    first, second = members(a), members(b)
    for name in sorted({*first, *second}):
        if name not in first or name not in second:
            yield Difference(name, np.inf, _only(name in first))
            continue
        for found in differences(name, first[name], second[name], patterns):
            yield found._replace(where=f"{name} {found.where}".strip())


def differences(name: str, a: bytes, b: bytes, patterns: Sequence[str] = ()) -> Iterator[Difference]:
    """Differences of two files that have the same name.

    Args:
        name: File name; its suffix decides how the contents are compared.
        a: Contents of the first file.
        b: Contents of the second file.
        patterns: Shell patterns of JSON keys, CSV columns and npz members to leave out.
    """
    suffix = PurePath(name).suffix.lower()
    if a == b:
        return
    if suffix == ".npy":
        first, second = (np.load(io.BytesIO(data), allow_pickle=False) for data in (a, b))
        yield from _arrays("", first, second)
    elif suffix == ".npz":
        yield from _npz(a, b, patterns)
    elif suffix == ".json":
        yield from _json("", json.loads(a), json.loads(b), patterns)
    elif suffix in (".jsonl", ".ndjson"):
        first, second = ([json.loads(line) for line in data.splitlines()] for data in (a, b))
        yield from _json("", first, second, patterns)
    elif suffix == ".csv":
        yield from _csv(a.decode("utf-8"), b.decode("utf-8"), patterns)
    elif suffix == ".tar":
        yield from _tar(a, b, patterns)
    elif suffix == ".mp4":
        yield from _frames(a, b)
    elif suffix in IMAGES:
        yield from _pixels(a, b)
    else:
        at = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        yield Difference("", np.inf, f"other bytes from offset {at}; {len(a)} against {len(b)} bytes")


def compare(first: Path, second: Path, patterns: Sequence[str] = ()) -> dict[str, list[Difference]]:
    """Differences of every file in either folder, largest first, by relative path; equal files have none."""
    names = {
        file.relative_to(top).as_posix()
        for top in (first, second)
        for file in top.rglob("*")
        if file.is_file()
    }
    found: dict[str, list[Difference]] = {}
    for name in sorted(names):
        if any(fnmatch.fnmatch(name, pattern) for pattern in (*patterns, *LOGS)):
            continue
        if not (first / name).is_file() or not (second / name).is_file():
            only = first if (first / name).is_file() else second
            found[name] = [Difference("", np.inf, f"only in {only}")]
            continue
        apart = differences(name, (first / name).read_bytes(), (second / name).read_bytes(), patterns)
        found[name] = sorted(apart, key=lambda difference: -difference.size)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, help="folder of the first run")
    parser.add_argument("b", type=Path, help="folder of the second run")
    parser.add_argument(
        "--ignore", nargs="*", default=[], metavar="PATTERN", help="paths or keys to leave out"
    )
    options = parser.parse_args(arguments)
    for folder in (options.a, options.b):
        if not folder.is_dir():
            parser.error(f"{folder} is no folder")
    found = compare(options.a, options.b, options.ignore)
    for name, apart in found.items():
        print(f"{name}: {'equal' if not apart else '; '.join(map(str, apart[:3]))}")
        if len(apart) > 3:
            print(f"    and {len(apart) - 3} more places")
    different = sum(bool(apart) for apart in found.values())
    print(f"{len(found)} files compared, {different} different")
    return 1 if different or not found else 0


if __name__ == "__main__":
    sys.exit(main())
