"""Samples out of shards in random order.

Sample number n of a run depends on (seed, n) alone, not on the reader or on what was read before: a run that
was stopped after n samples goes on with sample n.
"""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import FacereliefError
from facerelief.lab.datasets.manifest import RECIPE, read_json
from facerelief.lab.datasets.shards import decode_image, open_shard
from facerelief.typed import Image

Labels = Mapping[str, NDArray[Any]]

_FACES = ("coarse", "renders", "pairs")
DATA_KINDS = {"coarse": _FACES, "tracking": ("pairs",), "fine": ("fine", "wrinkles"), "e2far": _FACES}
"""Kinds of data sets that each network learns from."""


class _Location(NamedTuple):
    """Bytes of a sample's image and labels in a shard."""

    shard: int
    image: int
    image_size: int
    labels: int
    labels_size: int


class Shards:
    """The samples of one split of one or more data sets, read at random from plain tar files."""

    def __init__(
        self, folders: Sequence[str | Path], split: str, net: str, shares: Sequence[float] = ()
    ) -> None:
        """Find the samples.

        Args:
            folders: of the data sets.
            split: "train", "val" or "test".
            net: the network that learns from them, a key of `DATA_KINDS`.
            shares: of the samples of a run that each data set gives, in any unit; unless given, every sample
                comes as often.

        Raises:
            FacereliefError: a folder without a data set for that net, a shard that cannot be read, or a share
                of a data set without samples.
        """
        self.paths: list[Path] = []
        """Of the shards, in the order of folders and names."""
        first: list[int] = []
        for folder in map(Path, folders):
            kind = read_json(folder / RECIPE).get("kind")
            if kind not in DATA_KINDS[net]:
                expected = " or ".join(DATA_KINDS[net])
                raise FacereliefError(
                    f"{folder}: holds {kind}, expected {expected} for the {net} net; give another folder"
                )
            first.append(len(self.paths))
            self.paths += sorted(folder.glob(f"{split}-*.tar"))
        self.locations = np.array(
            [x for k, path in enumerate(self.paths) for x in _locations(k, path)], np.int64
        )
        if shares and len(shares) != len(folders):
            raise FacereliefError(f"{len(shares)} shares for {len(folders)} data sets: give one for each")
        shard = self.locations[:, 0] if len(self.locations) else np.zeros(0, np.int64)
        ends = np.searchsorted(shard, [*first[1:], len(self.paths)])
        self.counts = np.diff([0, *ends.tolist()]).tolist()
        """Samples of each data set, in the order of folders."""
        self.shares = tuple(shares)
        for folder, count, share in zip(folders, self.counts, self.shares):
            if share > 0 and not count:
                raise FacereliefError(f"{folder}: no {split} samples, but a share of {share:g}; make some")

    def __len__(self) -> int:
        return len(self.locations)

    def order(self, seed: int) -> Order | MixedOrder:
        """An endless random order of the samples, by the shares of the data sets."""
        if not self.shares:
            return Order(len(self), seed)
        return MixedOrder(self.counts, self.shares, seed)

    @property
    def digest(self) -> str:
        """SHA-256 of the shards' names and sizes and the data sets' recipes: it identifies the data."""
        found = hashlib.sha256()
        for folder in dict.fromkeys(path.parent for path in self.paths):
            found.update((folder / RECIPE).read_bytes())
        for path in self.paths:
            found.update(f"{path.name} {path.stat().st_size}\n".encode())
        return found.hexdigest()

    def image(self, index: int) -> Image:
        """(S, S, 3) RGB. Raises FacereliefError where it is damaged."""
        at = _Location(*map(int, self.locations[index]))
        data = self._read(at.shard, at.image, at.image_size)
        try:
            return decode_image({"jpg": data})
        except ValueError as error:
            raise self._damaged(at, error) from error

    def labels(self, index: int, names: Sequence[str], optional: Sequence[str] = ()) -> Labels:
        """Labels by name; those in `optional` where the data set has them. Raises FacereliefError where one
        is missing or damaged."""
        at = _Location(*map(int, self.locations[index]))
        data = self._read(at.shard, at.labels, at.labels_size)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                more = [name for name in optional if name in arrays.files]
                return {name: arrays[name] for name in (*names, *more)}
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise self._damaged(at, error) from error

    def _read(self, shard: int, start: int, size: int) -> bytes:
        path = self.paths[shard]
        try:
            file = _opened(path)
            file.seek(start)
            return file.read(size)
        except OSError as error:
            raise FacereliefError(f"{path}: cannot be read ({error}); make it again") from error

    def _damaged(self, at: _Location, error: Exception) -> FacereliefError:
        path = self.paths[at.shard]
        return FacereliefError(f"{path}: a sample at byte {at.image} is damaged ({error}); make it again")


@functools.lru_cache(maxsize=64)
def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def close_shards() -> None:
    """Forget opened files: a process that was forked shares their positions with its parent."""
    _opened.cache_clear()


def _locations(shard: int, path: Path) -> list[_Location]:
    """All samples of a shard. Raises FacereliefError where it cannot be read or one is incomplete."""
    found: list[_Location] = []
    with open_shard(path) as samples:
        for key, entries, _ in samples:
            image, labels = entries.get("jpg") or entries.get("png"), entries.get("npz")
            if image is None or labels is None:
                raise FacereliefError(f"{path}: sample {key} lacks its image or labels; make the shard again")
            found.append(_Location(shard, image.offset_data, image.size, labels.offset_data, labels.size))
    return found


class Order:
    """An endless order of samples: every epoch is a random permutation of its own."""

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError("no samples")
        self.count, self.seed = count, seed
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __call__(self, position: int) -> int:
        """Index of the sample at a position of the endless order."""
        epoch, place = divmod(position, self.count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, 7, epoch]).permutation(self.count)
        return int(self._order[place])


class MixedOrder:
    """An endless order of the samples of several data sets, each with its share of every `BLOCK` positions.

    Args:
        counts: samples of each data set; their indices follow each other.
        shares: of the data sets, in any unit.
        seed: of the order.

    Raises:
        ValueError: no share is positive.
    """

    BLOCK = 240

    def __init__(self, counts: Sequence[int], shares: Sequence[float], seed: int) -> None:
        given = np.array([max(s, 0.0) if n else 0.0 for n, s in zip(counts, shares)])
        if not given.sum() > 0:
            raise ValueError(f"shares are {', '.join(map(str, shares))}: expected one above 0")
        parts = given / given.sum() * self.BLOCK
        ends = np.rint(np.cumsum(parts)).astype(int)
        self._each = np.diff(ends, prepend=0)
        self._kinds = np.repeat(np.arange(len(parts)), self._each)
        self._starts = np.cumsum([0, *counts[:-1]])
        self._orders = [Order(n, seed + 101 * k) if n else None for k, n in enumerate(counts)]
        self.seed = seed
        self._block, self._kind, self._rank = -1, self._kinds, self._kinds

    def __call__(self, position: int) -> int:
        """Index of the sample at a position of the endless order."""
        block, place = divmod(position, self.BLOCK)
        if block != self._block:
            self._block = block
            self._kind = np.random.default_rng([self.seed, 17, block]).permutation(self._kinds)
            self._rank = np.zeros(self.BLOCK, np.int64)
            for k in range(len(self._each)):
                mine = self._kind == k
                self._rank[mine] = np.arange(np.count_nonzero(mine))
        k = int(self._kind[place])
        order = self._orders[k]
        assert order is not None
        return int(self._starts[k]) + order(block * int(self._each[k]) + int(self._rank[place]))
