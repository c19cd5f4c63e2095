"""Reads the pickles that face models come in, without running anything they ask for.

FLAME ships as a Python-2 pickle, and its landmark tables as object arrays inside `.npy`. A pickle is a
program: it names functions and classes and calls them. Here each admitted name becomes a `_Record`, which
only stores its arguments and state; nothing is ever imported, and any name outside `_ADMITTED` is refused.
After that the records are turned into arrays, each checked, so that neither NumPy's nor SciPy's own
reconstruction code, which trusts what it reads, sees the file.

Admitted: plain containers, NumPy arrays, numbers and dtypes (NumPy 1 and 2), `scipy.sparse` CSC and CSR,
chumpy's `Ch` (its array alone; chumpy is not needed), and names that stand beside these but are not read:
sets, and the PyTorch tensors of DECA's landmark table. Arrays that come out are read-only views of the file's
bytes. Every error is a one-line `ModelError` naming the file.
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
"""Instructions that no model file uses; each is a way to objects that `_ADMITTED` does not name."""
_MEMO_WRITES = {"PUT", "BINPUT", "LONG_BINPUT"}
_PLAIN_DTYPE = re.compile(r"[biufcSUO]\d{1,4}|\?|O")


def load_pickle(path: str | Path) -> object:
    """Read a pickle file as dicts, lists, tuples, numbers, text, arrays and sparse matrices.

    Text of Python 2 is read as latin-1.

    Raises:
        ModelError: the file cannot be read, is damaged, or names anything that is not admitted; nothing is
            executed in any case.
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
    try:
        _inspect(data, source)
        return _Resolver(source).resolve(_Unpickler(io.BytesIO(data), source).load())
    except ModelError:
        raise
    except Exception as error:  # damage ends in nearly any of them
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


def _refuse(source: str, reason: str) -> NoReturn:
    raise ModelError(
        f"{source}: {reason}; refused, nothing was executed; get the file from its official site"
    )


def _inspect(data: bytes, source: str) -> None:
    """Refuses what would hurt the machine that runs the pickle: endless programs, huge memo slots."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data), start=1):
        if opcode.name in _BANNED:
            _refuse(source, f"uses the pickle instruction {opcode.name}, which no face model needs")
        # slots are numbered in order of use; one far ahead makes the C reader allocate all up to it
        far = opcode.name in _MEMO_WRITES and not 0 <= cast(int, argument) <= count
        if far or count > MAX_OPERATIONS:
            _refuse(source, "a pickle built to exhaust memory or time")


class _Unpickler(pickle.Unpickler):
    """Gives a record for each admitted name and refuses the others."""

    def __init__(self, stream: io.BytesIO, source: str) -> None:
        super().__init__(stream, encoding="latin1")
        self._source = source

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        renamed = {"copy_reg": "copyreg", "__builtin__": "builtins"}.get(module_name, module_name)
        record = _ADMITTED.get((renamed, global_name))
        if record is None:
            name = f"{module_name}.{global_name}".encode("ascii", "backslashreplace").decode()[:120]
            _refuse(self._source, f"asks for {name!r}, which a face model does not need")
        return record


class _Resolver:
    """Turns records into values; each object once, so shared parts stay shared and cycles are found."""

    def __init__(self, source: str) -> None:
        self._source = source
        # by identity; the object is kept too, so that its identity is not handed out again
        self._done: dict[int, tuple[object, object]] = {}
        self._open: set[int] = set()

    def need(self, condition: object, reason: str) -> None:
        if not condition:
            _refuse(self._source, reason)

    def resolve(self, value: object) -> object:
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        key = id(value)
        if key not in self._done:
            looped = key in self._open or len(self._open) >= MAX_DEPTH
            self.need(not looped, "contains itself or is nested too deeply")
            self._open.add(key)
            result = self._build(value)
            self._open.discard(key)
            self._done[key] = (value, result)
        return self._done[key][1]

    def _build(self, value: object) -> object:
        if isinstance(value, _Record):
            return value.value(self)
        if isinstance(value, dict):
            pairs = cast("dict[object, object]", value).items()
            return {self.resolve(key): self.resolve(item) for key, item in pairs}
        if isinstance(value, list | tuple):
            items = [self.resolve(item) for item in cast("list[object]", value)]
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, bytearray):
            return bytes(value)
        self.need(isinstance(value, set | frozenset), f"holds an object of type {type(value).__name__!r}")
        return {self.resolve(item) for item in cast("set[object]", value)}

    def numbers(self, raw: object, dtype: object, shape: object, fortran: bool) -> NDArray[Any]:
        """An array from its bytes, which Python 2 stored as text."""
        if isinstance(raw, str):
            if id(raw) not in self._done:  # encoded once, however many arrays share it
                self._done[id(raw)] = (raw, raw.encode("latin1"))
            raw = self._done[id(raw)][1]
        data, kind, dims = self.resolve(raw), self.resolve(dtype), self.shape(shape)
        if not isinstance(data, bytes) or not isinstance(kind, np.dtype):
            _refuse(self._source, "holds an array without bytes or element type")
        plain = cast("np.dtype[Any]", kind)
        fits = not plain.hasobject and math.prod(dims) * plain.itemsize == len(data)
        self.need(fits, f"holds an array of shape {dims} with {len(data)} bytes of {plain}")
        flat = np.frombuffer(data, plain) if data else np.empty(0, plain)
        return flat.reshape(dims, order="F" if fortran else "C")

    def shape(self, value: object) -> tuple[int, ...]:
        dims = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ("none",)
        sound = len(dims) <= 32 and all(isinstance(size, int) and size >= 0 for size in dims)
        self.need(sound, "holds an array with an impossible shape")
        return cast("tuple[int, ...]", dims)

    def array(self, value: object, kinds: str, reason: str) -> NDArray[Any]:
        """An array with elements of some kinds."""
        found = self.resolve(value)
        array = cast("NDArray[Any]", found if isinstance(found, np.ndarray) else np.empty(0, object))
        self.need(array.dtype.kind in kinds, reason)
        return array


class _Record:
    """Stands for an admitted name: a note of its arguments and state. Calling it does no more."""

    __slots__ = ("args", "state")
    args: tuple[object, ...]
    state: object

    def __new__(cls, *args: object) -> _Record:
        record = object.__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: object) -> None:
        self.state = state

    def value(self, resolver: _Resolver) -> object:
        resolver.need(False, f"holds a bare {type(self).__name__.strip('_').lower()}")


class _Type(_Record):
    """numpy.ndarray and builtins.object: names inside other calls, without values of their own."""


class Placeholder(_Record):
    """Stands where a pickle held something admitted but not read: a set, a PyTorch tensor."""

    def value(self, resolver: _Resolver) -> object:
        return self


class _Dtype(_Record):
    def value(self, resolver: _Resolver) -> object:
        code = self.args[0] if self.args else None
        known = isinstance(code, str) and _PLAIN_DTYPE.fullmatch(code)
        resolver.need(known, f"holds an array with elements {code!r}")
        # (version, byte order, sub-array, field names, fields, ...): only plain elements are admitted
        state = (3, "=", None, None, None) if self.state is None else cast("tuple[object, ...]", self.state)
        resolver.need(all(part is None for part in state[2:5]), "holds an array of records")
        resolver.need(state[1] in ("<", ">", "|", "="), "holds an array with an unknown byte order")
        dtype: np.dtype[Any] = np.dtype(cast(str, code))
        return dtype if state[1] == "|" else dtype.newbyteorder(cast(Any, state[1]))


class _Array(_Record):
    """numpy's `_reconstruct(ndarray, (0,), b'b')` and the state that fills it."""

    def value(self, resolver: _Resolver) -> object:
        state = cast("tuple[object, ...]", self.state or ())[-4:]
        sound = len(self.args) == 3 and self.args[0] is _Type and len(state) == 4
        resolver.need(sound, "holds a malformed array")
        shape, kind, fortran, content = state
        if not cast("np.dtype[Any]", resolver.resolve(kind)).hasobject:
            return resolver.numbers(content, kind, shape, bool(fortran))
        items = cast("list[object]", content if isinstance(content, list) else ())
        resolver.need(len(items) == math.prod(resolver.shape(shape)), "holds a malformed object array")
        out = np.empty(len(items), object)
        for index, item in enumerate(items):
            out[index] = resolver.resolve(item)
        return out.reshape(resolver.shape(shape))


class _FromBuffer(_Record):
    """numpy's form in protocol 5: (bytes, dtype, shape, order)."""

    def value(self, resolver: _Resolver) -> object:
        raw, kind, shape, order = self.args
        return resolver.numbers(raw, kind, shape, order == "F")


class _Scalar(_Record):
    def value(self, resolver: _Resolver) -> object:
        kind, raw = self.args
        return cast(object, resolver.numbers(raw, kind, (), fortran=False)[()])


class _Encode(_Record):
    """`_codecs.encode(text, 'latin1')` and `bytes()`: bytes in older protocols. No other encoding."""

    def value(self, resolver: _Resolver) -> object:
        text, encoding = self.args or ("", "latin1")
        sound = isinstance(text, str) and encoding in ("latin1", "latin-1")
        resolver.need(sound, "asks to encode text in another way than latin-1")
        return cast(str, text).encode("latin1")


class _Instance(_Record):
    """An object with attributes."""

    def attribute(self, resolver: _Resolver, name: str) -> object:
        state = cast("dict[object, object]", self.state or {})
        resolver.need(name in state, f"holds a {type(self).__name__.strip('_')} without {name!r}")
        return state[name]


class _Reconstructor(_Record):
    """`copyreg._reconstructor(cls, object, None)`: an instance in protocols 0 and 1."""

    def value(self, resolver: _Resolver) -> object:
        kind, base, initial = self.args
        sound = isinstance(kind, type) and issubclass(kind, _Instance) and base is _Type and initial is None
        resolver.need(sound, "holds a malformed instance")
        inner = cast("type[_Instance]", kind)()
        inner.__setstate__(self.state)
        return inner.value(resolver)


class _Ch(_Instance):
    """chumpy.ch.Ch: an array kept as `x`."""

    def value(self, resolver: _Resolver) -> object:
        content = resolver.resolve(self.attribute(resolver, "x"))
        if isinstance(content, int | float):
            return np.asarray(content)
        return resolver.array(self.attribute(resolver, "x"), "biuf", "a chumpy array is not one of numbers")


class _Sparse(_Instance):
    """scipy.sparse CSR; indices are checked before SciPy's compiled code may follow them."""

    def value(self, resolver: _Resolver) -> object:
        from scipy import sparse

        by_columns = isinstance(self, _SparseColumns)
        shape = resolver.shape(resolver.resolve(self.attribute(resolver, "_shape")))
        malformed = "holds a malformed sparse matrix"
        resolver.need(len(shape) == 2 and max(shape) < 1 << 31, malformed)
        data = resolver.array(self.attribute(resolver, "data"), "biuf", malformed)
        indices = resolver.array(self.attribute(resolver, "indices"), "iu", malformed)
        starts = resolver.array(self.attribute(resolver, "indptr"), "iu", malformed)
        major, minor = (shape[1], shape[0]) if by_columns else shape
        resolver.need(data.ndim == indices.ndim == starts.ndim == 1, malformed)
        resolver.need(len(data) == len(indices) and len(starts) == major + 1, malformed)
        inside = not indices.size or (int(indices.min()) >= 0 and int(indices.max()) < minor)
        resolver.need(inside, "holds a sparse matrix whose indices leave its shape")
        ascending = bool((np.diff(starts.astype(np.int64)) >= 0).all())
        resolver.need(ascending and starts[0] == 0 and starts[-1] == len(indices), malformed)
        make = sparse.csc_matrix if by_columns else sparse.csr_matrix
        return make((data, indices, starts), shape=shape)


class _SparseColumns(_Sparse):
    """scipy.sparse CSC."""


_ADMITTED: dict[tuple[str, str], type[_Record]] = {
    ("numpy", "ndarray"): _Type,
    ("builtins", "object"): _Type,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encode,
    ("builtins", "bytes"): _Encode,
    ("copyreg", "_reconstructor"): _Reconstructor,
    ("chumpy.ch", "Ch"): _Ch,
    ("builtins", "set"): Placeholder,
    ("collections", "OrderedDict"): Placeholder,
    ("torch._utils", "_rebuild_tensor"): Placeholder,
    ("torch._utils", "_rebuild_tensor_v2"): Placeholder,
    ("torch.storage", "_load_from_bytes"): Placeholder,
}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _Array
    _ADMITTED[f"{_core}.multiarray", "scalar"] = _Scalar
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _FromBuffer
for _module in ("scipy.sparse.{}", "scipy.sparse._{}"):
    for _form in ("matrix", "array"):
        _ADMITTED[_module.format("csc"), f"csc_{_form}"] = _SparseColumns
        _ADMITTED[_module.format("csr"), f"csr_{_form}"] = _Sparse
