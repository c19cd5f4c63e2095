"""Reads the pickles that face models come in, without running anything they ask for.

FLAME ships as a Python-2 pickle, and its landmark tables as object arrays inside `.npy`. A pickle is a
program: it names functions and classes and calls them. Here every admitted name becomes a *record*
(`_Record`) that only stores what it was called with; no name is ever imported, and any name outside the
table at the end of this file is refused. When the pickle has ended, a second pass turns the records into
arrays and containers, checking each. So neither NumPy's nor SciPy's own reconstruction code (whose `scalar`
would unpickle again for an object dtype, and whose sparse classes trust their index arrays) sees the file.

Admitted: NumPy arrays, scalars and plain dtypes (NumPy 1 and 2), `scipy.sparse` CSC, CSR, COO and DIA
matrices, builtin containers, chumpy's `Ch` and `Select` (their array is read from the stored state; chumpy
is not needed), and PyTorch tensors as placeholders whose content is not read (DECA's landmark table holds
some beside what matters).

Arrays that come out are read-only views of the file's bytes. Every error is a one-line `ModelError` naming
the file.
"""

# SciPy ships no type stubs
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from facerelief.errors import ModelError

MAX_BYTES = 1 << 30
"""Largest pickle read; FLAME's is about 50 MB."""
MAX_OPERATIONS = 1_000_000
"""Most pickle instructions run; a model is a few large arrays, so a few thousand instructions."""
MAX_DEPTH = 40
"""Deepest nesting of containers and records."""
SLACK_BYTES = 64 << 20
"""Memory beyond four times the file's size that decoding may take."""

# instructions no model file uses; each is a way to reach objects that the table below does not name
_BANNED = {
    "EXT1",
    "EXT2",
    "EXT4",
    "PERSID",
    "BINPERSID",
    "NEXT_BUFFER",
    "READONLY_BUFFER",
    "INST",
    "OBJ",
    "NEWOBJ_EX",
}
_MEMO_WRITES = {"PUT", "BINPUT", "LONG_BINPUT"}
_PLAIN_DTYPE = re.compile(r"[biufcSUO]\d{1,4}|\?|O")


def load_pickle(path: str | Path) -> object:
    """The content of a pickle file as dicts, lists, tuples, sets, numbers, text, arrays and sparse matrices.

    Python-2 pickles are read with latin-1 text. Raises ModelError when the file cannot be read, is damaged,
    or names anything outside the list in the module's docstring; nothing is executed in any case.
    """
    return loads(_read(Path(path)), str(path))


def load_npy(path: str | Path) -> object:
    """The array of an `.npy` file; an object array is decoded by the rules of `load_pickle`. Same errors."""
    data = _read(Path(path))
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version[0] == 1:
            _, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            _, _, dtype = np.lib.format.read_array_header_2_0(stream)
        if not dtype.hasobject:
            return cast(object, np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError, MemoryError, SyntaxError) as error:
        raise ModelError(f"{path}: not a readable .npy file ({error}); download it again") from error
    return loads(data[stream.tell() :], str(path))


def loads(data: bytes, source: str) -> object:
    """`load_pickle` on bytes; `source` names them in errors."""
    _inspect(data, source)
    try:
        root = cast(object, _Reader(io.BytesIO(data), source).load())
        return _Resolver(source, 4 * len(data) + SLACK_BYTES).resolve(root)
    except ModelError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise ModelError(f"{source}: damaged pickle, not executed ({reason}); download it again") from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(
                f"{path}: over {MAX_BYTES >> 20} MB, not a face model; give the model's own file"
            )
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); check the path and permissions"
        ) from error


def _refusal(source: str, what: str) -> ModelError:
    return ModelError(f"{source}: {what}; refused, nothing was executed; get the file from its official site")


def _inspect(data: bytes, source: str) -> None:
    """Refuses what would hurt the machine that runs the pickle: endless programs, huge memo slots."""
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data), start=1):
            if opcode.name in _BANNED:
                raise _refusal(
                    source, f"uses the pickle instruction {opcode.name}, which no face model needs"
                )
            # slots are numbered in order of use; one far ahead makes the C reader allocate all up to it
            far = opcode.name in _MEMO_WRITES and not 0 <= cast(int, argument) <= count
            if far or count > MAX_OPERATIONS:
                raise _refusal(source, "a pickle built to exhaust memory or time")
    except ModelError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise ModelError(f"{source}: not a readable pickle ({reason}); download it again") from error


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, source: str) -> None:
        super().__init__(stream, encoding="latin1")
        self._source = source

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        renamed = {"copy_reg": "copyreg", "__builtin__": "builtins"}.get(module_name, module_name)
        record = _ADMITTED.get((renamed, global_name))
        if record is None:
            name = f"{module_name}.{global_name}".encode("ascii", "backslashreplace").decode()[:120]
            raise _refusal(self._source, f"asks for {name!r}, which a face model does not need")
        return record


class _Record:
    """What an admitted name becomes: a note of its arguments, state and items. Calling it does no more."""

    __slots__ = ("args", "pairs", "state")
    args: tuple[object, ...]
    state: object
    pairs: list[tuple[object, object]]

    def __new__(cls, *args: object) -> _Record:
        record = object.__new__(cls)
        record.args, record.state, record.pairs = args, None, []
        return record

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        self.pairs.append((key, value))

    def state_tuple(self) -> tuple[object, ...]:
        state = self.state
        return cast(tuple[object, ...], state) if isinstance(state, tuple) else ()

    def state_dict(self) -> dict[object, object]:
        state = self.state
        return cast(dict[object, object], state) if isinstance(state, dict) else {}

    def value(self, resolver: _Resolver) -> object:
        resolver.refuse(f"holds a bare {type(self).__name__.strip('_').lower()}")


class _Resolver:
    """Turns records into values; each object once, so shared parts stay shared and cycles are found."""

    def __init__(self, source: str, budget: int) -> None:
        self.source = source
        self._budget = budget
        # by identity; the value is kept too, so that its identity is not handed out again
        self._done: dict[int, tuple[object, object]] = {}
        self._bytes: dict[int, tuple[object, bytes]] = {}
        self._open: set[int] = set()

    def refuse(self, what: str) -> NoReturn:
        raise _refusal(self.source, what)

    def spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            self.refuse("a pickle built to exhaust memory")

    def resolve(self, value: object) -> object:
        if value is None or isinstance(value, (bool, int, float, str, bytes)):
            return value
        key = id(value)
        if key in self._done:
            return self._done[key][1]
        if key in self._open or len(self._open) >= MAX_DEPTH:
            self.refuse("contains itself or is nested too deeply")
        self._open.add(key)
        result = self._build(value)
        self._open.discard(key)
        self._done[key] = (value, result)
        return result

    def _build(self, value: object) -> object:
        if isinstance(value, _Record):
            return value.value(self)
        if isinstance(value, bytearray):
            return self.raw(value)
        if isinstance(value, dict):
            return self.mapping(list(cast(dict[object, object], value).items()))
        if isinstance(value, (list, tuple)):
            items = [self.resolve(item) for item in cast(list[object], value)]
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, (set, frozenset)):
            return self.members(list(cast(set[object], value)))
        return self.refuse(f"holds an object of type {type(value).__name__!r}")

    def mapping(self, pairs: list[tuple[object, object]]) -> dict[object, object]:
        return {self._hashable(key): self.resolve(item) for key, item in pairs}

    def members(self, items: list[object]) -> set[object]:
        return {self._hashable(item) for item in items}

    def _hashable(self, item: object) -> object:
        key = self.resolve(item)
        if isinstance(key, np.generic):
            key = cast(object, key.item())
        if not isinstance(key, (str, bytes, int, float, bool, type(None))):
            self.refuse(f"uses a {type(key).__name__} as a key")
        return key

    def raw(self, value: object) -> bytes:
        """Bytes of an array; Python 2 stored them as text."""
        if isinstance(value, bytes):
            return value
        if isinstance(value, (bytearray, str)):
            key = id(value)
            if key not in self._bytes:
                self.spend(len(value))
                try:
                    copy = value.encode("latin1") if isinstance(value, str) else bytes(value)
                except UnicodeEncodeError:
                    self.refuse("holds an array whose bytes are not bytes")
                self._bytes[key] = (value, copy)
            return self._bytes[key][1]
        data = self.resolve(value)
        if not isinstance(data, bytes):
            self.refuse("holds an array whose bytes are not bytes")
        return data

    def dtype(self, value: object) -> np.dtype[Any]:
        data_type = self.resolve(value)
        if not isinstance(data_type, np.dtype):
            self.refuse("holds an array without an element type")
        return cast("np.dtype[Any]", data_type)

    def shape(self, value: object) -> tuple[int, ...]:
        dims = cast(tuple[object, ...], value) if isinstance(value, tuple) else None
        if dims is None or len(dims) > 32 or not all(isinstance(d, int) and d >= 0 for d in dims):
            self.refuse("holds an array with an impossible shape")
        return cast(tuple[int, ...], dims)

    def array(self, value: object, what: str) -> NDArray[Any]:
        array = self.resolve(value)
        if not isinstance(array, np.ndarray):
            self.refuse(f"{what} is not an array")
        numbers = cast("NDArray[Any]", array)
        if numbers.dtype.kind not in "biuf":
            self.refuse(f"{what} is not an array of numbers")
        return numbers

    def numbers(self, raw: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> NDArray[Any]:
        count = math.prod(shape)
        if dtype.hasobject or count * dtype.itemsize != len(raw):
            self.refuse(f"holds an array of shape {shape} with {len(raw)} bytes of {dtype}")
        flat = np.frombuffer(raw, dtype) if raw else np.empty(0, dtype)
        return flat.reshape(shape, order="F" if order == "F" else "C")


class _NdarrayType(_Record):
    """numpy.ndarray, admitted only as a name inside `_reconstruct`."""


class _ObjectType(_Record):
    """builtins.object, admitted only as a name inside `copyreg._reconstructor`."""


class _Dtype(_Record):
    def value(self, resolver: _Resolver) -> object:
        code = self.args[0] if self.args else None
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            resolver.refuse(f"holds an array with elements {code!r}")
        order = "="
        if self.state is not None:
            # (version, byte order, sub-array, field names, fields, ...): only plain elements are admitted
            state = self.state_tuple()
            if len(state) < 5 or any(part is not None for part in state[2:5]):
                resolver.refuse("holds an array of records")
            if state[1] not in ("<", ">", "|", "="):
                resolver.refuse("holds an array with an unknown byte order")
            order = cast(str, state[1])
        dtype: np.dtype[Any] = np.dtype(code)
        return dtype if order in "|=" else dtype.newbyteorder("<" if order == "<" else ">")


class _Array(_Record):
    """numpy's `_reconstruct(ndarray, (0,), b'b')` and the state that fills it."""

    def value(self, resolver: _Resolver) -> object:
        state = self.state_tuple()
        if len(state) == 5:
            state = state[1:]
        if len(self.args) != 3 or self.args[0] is not _NdarrayType or len(state) != 4:
            resolver.refuse("holds a malformed array")
        shape, dtype = resolver.shape(state[0]), resolver.dtype(state[1])
        if dtype.hasobject:
            return self._objects(resolver, shape, state[3])
        return resolver.numbers(resolver.raw(state[3]), dtype, shape, "F" if state[2] else "C")

    @staticmethod
    def _objects(resolver: _Resolver, shape: tuple[int, ...], items: object) -> NDArray[Any]:
        listed = cast(list[object], items) if isinstance(items, list) else []
        if len(listed) != math.prod(shape):
            resolver.refuse("holds a malformed object array")
        out = np.empty(len(listed), object)
        for index, item in enumerate(listed):
            out[index] = resolver.resolve(item)
        return out.reshape(shape)


class _FromBuffer(_Record):
    """numpy's protocol-5 form: (bytes, dtype, shape, order)."""

    def value(self, resolver: _Resolver) -> object:
        if len(self.args) != 4:
            resolver.refuse("holds a malformed array")
        raw, dtype, shape, order = self.args
        return resolver.numbers(resolver.raw(raw), resolver.dtype(dtype), resolver.shape(shape), str(order))


class _Scalar(_Record):
    def value(self, resolver: _Resolver) -> object:
        if len(self.args) != 2:
            resolver.refuse("holds a malformed number")
        dtype, raw = resolver.dtype(self.args[0]), resolver.raw(self.args[1])
        return cast(object, resolver.numbers(raw, dtype, (), "C")[()])


class _Encode(_Record):
    """`_codecs.encode(text, 'latin1')`: how older protocols spell bytes. No other encoding."""

    def value(self, resolver: _Resolver) -> object:
        text, encoding = self.args if len(self.args) == 2 else (None, None)
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            resolver.refuse("asks to encode text in another way than latin-1")
        return resolver.raw(text)


class _Bytes(_Record):
    """bytes() and bytearray(data): never a length, which would allocate."""

    def value(self, resolver: _Resolver) -> object:
        if not self.args:
            return b""
        content, *encoding = self.args
        if isinstance(content, int) or encoding not in ([], ["latin-1"], ["latin1"]):
            resolver.refuse("holds malformed bytes")
        return resolver.raw(content)


class _Set(_Record):
    def value(self, resolver: _Resolver) -> object:
        items = self.args[0] if len(self.args) == 1 else ()
        if not isinstance(items, (list, tuple, set, frozenset)):
            resolver.refuse("holds a malformed set")
        return resolver.members(list(cast(list[object], items)))


class _OrderedDict(_Record):
    def value(self, resolver: _Resolver) -> object:
        if self.args not in ((), ([],)):
            resolver.refuse("holds a malformed dictionary")
        return resolver.mapping(self.pairs)


class _Reconstructor(_Record):
    """`copyreg._reconstructor(cls, object, None)`: how protocols 0 and 1 make an instance."""

    def value(self, resolver: _Resolver) -> object:
        if len(self.args) != 3 or self.args[1] is not _ObjectType or self.args[2] is not None:
            resolver.refuse("holds a malformed instance")
        kind = self.args[0]
        if not (isinstance(kind, type) and issubclass(kind, _Instance)):
            resolver.refuse("holds an instance of a class that is not admitted")
        inner = kind()
        inner.state = self.state
        return resolver.resolve(inner)


class _Instance(_Record):
    """An object with attributes."""

    def attribute(self, resolver: _Resolver, name: str) -> object:
        state = self.state_dict()
        if name not in state:
            resolver.refuse(f"holds a {type(self).__name__.strip('_')} without {name!r}")
        return state[name]


class _Ch(_Instance):
    """chumpy.ch.Ch: an array kept as `x`."""

    def value(self, resolver: _Resolver) -> object:
        inner = resolver.resolve(self.attribute(resolver, "x"))
        if isinstance(inner, (int, float)):
            return np.asarray(inner)
        return resolver.array(self.attribute(resolver, "x"), "a chumpy array")


class _Select(_Instance):
    """chumpy.reordering.Select: `a.ravel()[idxs]` in `preferred_shape`."""

    def value(self, resolver: _Resolver) -> object:
        source = resolver.array(self.attribute(resolver, "a"), "the source of a chumpy selection")
        index = resolver.array(self.attribute(resolver, "idxs"), "the index of a chumpy selection")
        shape = resolver.shape(resolver.resolve(self.attribute(resolver, "preferred_shape")))
        if index.dtype.kind not in "iu" or index.size != math.prod(shape):
            resolver.refuse("holds a malformed chumpy selection")
        if index.size and (int(index.min()) < 0 or int(index.max()) >= source.size):
            resolver.refuse("holds a chumpy selection outside its source")
        resolver.spend(index.size * source.itemsize)
        return source.reshape(-1)[index.reshape(-1)].reshape(shape)


class _Sparse(_Instance):
    """A scipy.sparse matrix; its indices are checked before SciPy's compiled code may follow them."""

    kind = ""

    def value(self, resolver: _Resolver) -> object:
        from scipy import sparse

        shape = resolver.shape(resolver.resolve(self.attribute(resolver, "_shape")))
        if len(shape) != 2 or max(shape) >= 1 << 31:
            resolver.refuse("holds a sparse matrix that is not two-dimensional")
        data = resolver.array(self.attribute(resolver, "data"), "the data of a sparse matrix")
        if self.kind == "dia":
            offsets = self._integers(resolver, self.attribute(resolver, "offsets"), -(1 << 31), 1 << 31)
            if data.ndim != 2 or len(data) != len(offsets) or len(np.unique(offsets)) != len(offsets):
                resolver.refuse("holds a malformed sparse matrix")
            return sparse.dia_matrix((data, offsets), shape=shape)
        if data.ndim != 1:
            resolver.refuse("holds a malformed sparse matrix")
        if self.kind == "coo":
            rows, columns = self._coordinates(resolver, shape)
            if not len(rows) == len(columns) == len(data):
                resolver.refuse("holds a malformed sparse matrix")
            return sparse.coo_matrix((data, (rows, columns)), shape=shape)
        major, minor = (shape[1], shape[0]) if self.kind == "csc" else shape
        indices = self._integers(resolver, self.attribute(resolver, "indices"), 0, minor)
        starts = self._integers(resolver, self.attribute(resolver, "indptr"), 0, len(indices) + 1)
        if (
            len(starts) != major + 1
            or int(starts[0]) != 0
            or int(starts[-1]) != len(indices)
            or len(indices) != len(data)
            or bool((np.diff(starts.astype(np.int64)) < 0).any())
        ):
            resolver.refuse("holds a malformed sparse matrix")
        make = sparse.csc_matrix if self.kind == "csc" else sparse.csr_matrix
        return make((data, indices, starts), shape=shape)

    def _coordinates(self, resolver: _Resolver, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
        state = self.state_dict()
        if "coords" in state:  # SciPy 1.13 and later
            pair = state["coords"]
            if not isinstance(pair, tuple) or len(cast(tuple[object, ...], pair)) != 2:
                resolver.refuse("holds a malformed sparse matrix")
            rows, columns = cast(tuple[object, object], pair)
        else:
            rows, columns = self.attribute(resolver, "row"), self.attribute(resolver, "col")
        return self._integers(resolver, rows, 0, shape[0]), self._integers(resolver, columns, 0, shape[1])

    @staticmethod
    def _integers(resolver: _Resolver, value: object, low: int, high: int) -> NDArray[Any]:
        array = resolver.array(value, "an index of a sparse matrix")
        if array.ndim != 1 or array.dtype.kind not in "iu":
            resolver.refuse("holds a malformed sparse matrix")
        if array.size and (int(array.min()) < low or int(array.max()) >= high):
            resolver.refuse("holds a sparse matrix whose indices leave its shape")
        return array


class Placeholder:
    """Stands where a pickle held something admitted but not read (a PyTorch tensor)."""


class _Torch(_Record):
    def value(self, resolver: _Resolver) -> object:
        return Placeholder()


def _sparse_kind(kind: str) -> type[_Record]:
    return type(f"_Sparse_{kind}", (_Sparse,), {"kind": kind, "__slots__": ()})


def _admitted() -> dict[tuple[str, str], type[_Record]]:
    table: dict[tuple[str, str], type[_Record]] = {
        ("numpy", "ndarray"): _NdarrayType,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _Encode,
        ("builtins", "bytes"): _Bytes,
        ("builtins", "bytearray"): _Bytes,
        ("builtins", "set"): _Set,
        ("builtins", "frozenset"): _Set,
        ("builtins", "object"): _ObjectType,
        ("collections", "OrderedDict"): _OrderedDict,
        ("copyreg", "_reconstructor"): _Reconstructor,
        ("chumpy.ch", "Ch"): _Ch,
        ("chumpy.reordering", "Select"): _Select,
        ("torch._utils", "_rebuild_tensor"): _Torch,
        ("torch._utils", "_rebuild_tensor_v2"): _Torch,
        ("torch.storage", "_load_from_bytes"): _Torch,
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = _Array
        table[f"{core}.multiarray", "scalar"] = _Scalar
        table[f"{core}.numeric", "_frombuffer"] = _FromBuffer
    for kind in ("csc", "csr", "coo", "dia"):
        record = _sparse_kind(kind)
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}"):
            for form in ("matrix", "array"):
                table[module, f"{kind}_{form}"] = record
    return table


_ADMITTED = _admitted()
