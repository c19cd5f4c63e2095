"""Shards: samples in plain tar files, in the layout of WebDataset. The same samples give the same bytes.

A sample is three neighbouring members of one name: `<key>.jpg` or `<key>.png`, `<key>.npz` with the labels,
`<key>.json` with where it is from.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError
from facerelief.io.atomic import temporary_path
from facerelief.io.npz import write_npz
from facerelief.io.write_images import encode_jpeg, encode_png
from facerelief.lab.datasets.samples import Sample

ImageFormat = Literal["jpg", "png"]
IMAGE_FORMATS: tuple[str, ...] = get_args(ImageFormat)
QUALITY = 95
"""Of JPEG images, which keep colours at full resolution."""

_SMALL = 4096
"""Labels of more bytes are compressed."""


def pack_labels(labels: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays by name as the bytes of an .npz file; the same arrays give the same bytes.

    Raises ValueError for an array of Python objects.
    """
    out = io.BytesIO()
    write_npz(out, dict(sorted(labels.items())), compressed=lambda _, size: size > _SMALL, level=1)
    return out.getvalue()


def unpack_labels(data: bytes) -> dict[str, NDArray[Any]]:
    """Inverse of `pack_labels`. Raises ValueError for anything else."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"no labels ({error})") from error


def encode_sample(sample: Sample, image_format: ImageFormat = "jpg") -> dict[str, bytes]:
    """A sample's members: bytes by the ending of their name. Raises ValueError for a key no tar may hold."""
    if not sample.key or not all(c.isascii() and (c.isalnum() or c in "_-") for c in sample.key):
        raise ValueError(f"sample key {sample.key!r}: expected letters, digits, _ and -")
    coded = (
        encode_png(sample.image, 1)
        if image_format == "png"
        else encode_jpeg(sample.image, QUALITY, full_color=True)
    )
    about = json.dumps(sample.about, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return {image_format: coded, "npz": pack_labels(sample.labels), "json": about.encode("utf-8")}


class ShardWriter:
    """Writes one shard under a temporary name and gives it its name when it is whole."""

    def __init__(self, path: str | Path) -> None:
        """path: the .tar file to be. Raises OSError where it cannot be written."""
        self.path = Path(path)
        self._temporary = temporary_path(self.path)
        self._stream = _Hashed(self._temporary)
        self._tar = tarfile.open(fileobj=cast(IO[bytes], self._stream), mode="w|")  # noqa: SIM115

    def write(self, key: str, members: Mapping[str, bytes]) -> None:
        """Add a sample's members (see `encode_sample`), sorted by their endings. Raises OSError."""
        for ending, data in sorted(members.items()):
            entry = tarfile.TarInfo(f"{key}.{ending}")  # of time 0 and the numbers 0 of user and group
            entry.size = len(data)
            entry.uname = entry.gname = "facerelief"
            self._tar.addfile(entry, io.BytesIO(data))

    def finish(self) -> tuple[str, int]:
        """Close the shard and name it: (SHA-256, bytes). Raises OSError."""
        self._tar.close()
        self._stream.close()
        self._temporary.replace(self.path)
        return self._stream.sha256.hexdigest(), self._stream.size

    def discard(self) -> None:
        """Leave nothing of an unfinished shard."""
        self._stream.abandon()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._file: IO[bytes] = path.open("xb")

    def write(self, data: bytes) -> int:
        if self._file.closed:  # the tar stream of an abandoned shard still has an end to write
            return len(data)
        written = self._file.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return written

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):  # bytes that wait for a place on a full disk
            self._file.close()


@contextmanager
def open_shard(
    path: str | Path,
) -> Iterator[Iterator[tuple[str, dict[str, tarfile.TarInfo], tarfile.TarFile]]]:
    """The samples of a shard, in order: key, entry of each member by its ending, and the open tar file.

    Raises FacereliefError for a damaged file, also while it is read inside the block.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            files = (entry for entry in tar if entry.isfile())
            samples = itertools.groupby(files, lambda entry: entry.name.partition(".")[0])
            yield ((key, {x.name.partition(".")[2]: x for x in entries}, tar) for key, entries in samples)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise FacereliefError(f"{path}: cannot be read as a shard ({error}); make it again") from error


def member_bytes(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    """Content of a member of an open shard. Raises OSError or TarError where it is cut off."""
    handle = tar.extractfile(entry)
    assert handle is not None
    return handle.read()


def read_members(path: str | Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Keys and members of a shard's samples, in order. Raises FacereliefError for a damaged file."""
    with open_shard(path) as samples:
        for key, entries, tar in samples:
            yield key, {ending: member_bytes(tar, entry) for ending, entry in entries.items()}


def decode_sample(key: str, members: Mapping[str, bytes]) -> Sample:
    """Inverse of `encode_sample`, but for what JPEG loses. Raises ValueError for other members."""
    return Sample(key, decode_image(members), unpack_labels(_member(members, "npz")), decode_about(members))


def decode_image(members: Mapping[str, bytes]) -> NDArray[np.uint8]:
    """A sample's image (S, S, 3), RGB. Raises ValueError where it has none."""
    import cv2

    data = members.get("jpg") or members.get("png")
    if not data:
        raise ValueError("no image")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("an image that cannot be decoded")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def decode_about(members: Mapping[str, bytes]) -> dict[str, Any]:
    """Provenance of a sample. Raises ValueError where it has none."""
    about = json.loads(_member(members, "json"))
    if not isinstance(about, dict):
        raise ValueError("its .json holds no object")
    return about


def _member(members: Mapping[str, bytes], ending: str) -> bytes:
    if ending not in members:
        raise ValueError(f"no .{ending}")
    return members[ending]


def read_shard(path: str | Path) -> Iterator[Sample]:
    """The samples of a shard, in order. Needs nothing but plain tar.

    Raises FacereliefError for a damaged file.
    """
    for key, members in read_members(path):
        try:
            yield decode_sample(key, members)
        except ValueError as error:
            raise FacereliefError(f"{path}: sample {key}: {error}; make the shard again") from error
