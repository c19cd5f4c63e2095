"""A pickle is data here, never a program: what models need comes through, all else is refused unrun."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from facerelief.errors import ModelError
from facerelief.morphable.readers import safe_pickle
from facerelief.morphable.readers.safe_pickle import Placeholder, load_npy, load_pickle, loads

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


# ---- what must come through


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array([True, False]),
        np.array(["brow", "jaw"]),
        np.array([b"x", b"yy"]),
        np.empty((0, 3), np.float32),
        np.array(5.0),
        np.arange(20, dtype=np.uint32)[::3],
    ],
    ids=["float", "fortran", "bool", "text", "bytes", "empty", "scalar", "strided"],
)
def test_arrays_survive_every_protocol(array: np.ndarray, protocol: int) -> None:
    result = loads(pickle.dumps(array, protocol), "t")
    assert isinstance(result, np.ndarray)
    assert result.dtype == array.dtype
    assert result.shape == array.shape
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_and_numbers_survive_every_protocol(protocol: int) -> None:
    shared = [1.5, "é"]
    value = {
        "tuple": (1, 2.5, None, True, -(10**30)),
        "shared": [shared, shared],
        "bytes": b"abc\xff",
        "empty": b"",
        "scalar": np.float32(3),
    }
    assert loads(pickle.dumps(value, protocol), "t") == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["csc", "csr"])
@pytest.mark.parametrize("form", ["matrix", "array"])
def test_sparse_matrices_survive_every_protocol(kind: str, form: str, protocol: int) -> None:
    matrix = getattr(sp, f"{kind}_{form}")(np.eye(5, 7)[[1, 0, 2, 4, 3]] * 3.5)
    result: Any = loads(pickle.dumps(matrix, protocol), "t")
    np.testing.assert_array_equal(result.toarray(), matrix.toarray())


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_names_of_numpy_1_and_2(module: str) -> None:
    data = pickle.dumps(np.arange(3.0), 2)
    for name in ("numpy._core.multiarray", "numpy.core.multiarray"):
        data = data.replace(f"c{name}\n".encode(), f"c{module}\n".encode())
    assert module.encode() in data
    np.testing.assert_array_equal(loads(data, "t"), np.arange(3.0))


@pytest.mark.parametrize("module", ["scipy.sparse.csc", "scipy.sparse._csc"])
def test_names_of_old_and_new_scipy(module: str) -> None:
    data = pickle.dumps(sp.csc_matrix(np.eye(3)), 2).replace(b"cscipy.sparse._csc\n", f"c{module}\n".encode())
    assert module.encode() in data
    np.testing.assert_array_equal(loads(data, "t").toarray(), np.eye(3))  # type: ignore[attr-defined]


def test_python_2_arrays_hold_their_bytes_as_text() -> None:
    """What Python 2 wrote: names of its modules, raw bytes as a string opcode."""
    raw = np.array([1.0, -2.5, 1e300]).tobytes()
    dtype = b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I3\nt" + dtype
    data = b"(dS'x'\n" + array + b"I00\nT" + struct.pack("<I", len(raw)) + raw + b"tbs."
    np.testing.assert_array_equal(loads(data, "t")["x"], [1.0, -2.5, 1e300])  # type: ignore[index]


def _chumpy(module: str, name: str, state: bytes) -> bytes:
    """An instance as Python-2 chumpy pickles hold it (protocol 2: class, no arguments, state)."""
    return f"c{module}\n{name}\n".encode() + b")\x81" + state + b"b"


def _body(value: object) -> bytes:
    """The instructions that make a value, without header and stop; no memo, so that bodies may be joined."""
    out = io.BytesIO()
    pickler = pickle._Pickler(out, 2)  # type: ignore[attr-defined]
    pickler.fast = True
    pickler.dump(value)
    return out.getvalue()[2:-1]


def _state(**entries: bytes) -> bytes:
    return b"}(" + b"".join(_body(key) + entry for key, entry in entries.items()) + b"u"


def test_chumpy_arrays_are_read_without_chumpy() -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    leaf = _chumpy("chumpy.ch", "Ch", _state(x=_body(values), _itr=b"N", _dirty_vars=_body({"x"})))
    data = b"\x80\x02}(" + _body("leaf") + leaf + b"u."
    result: Any = loads(data, "t")
    np.testing.assert_array_equal(result["leaf"], values)


def test_old_style_chumpy_instances() -> None:
    """Protocols 0 and 1 use copy_reg._reconstructor; many of them must not be mistaken for one another."""
    parts = b""
    for number in range(50):
        parts += b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR"
        parts += _state(x=_body(np.full(3, float(number)))) + b"b"
    result: Any = loads(b"(l(" + parts + b"e.", "t")
    assert [float(array[0]) for array in result] == list(range(50))


def test_object_arrays_in_npy_files(tmp_path: Path) -> None:
    path = tmp_path / "landmark_embedding.npy"
    table = {"full_lmk_faces_idx": np.arange(68)[None], "nested": [np.eye(3)]}
    np.save(path, np.array(table, dtype=object), allow_pickle=True)
    content: Any = load_npy(path)
    np.testing.assert_array_equal(content.item()["full_lmk_faces_idx"], table["full_lmk_faces_idx"])
    np.save(path, np.eye(4))
    np.testing.assert_array_equal(load_npy(path), np.eye(4))  # type: ignore[arg-type]


def test_torch_tensors_become_placeholders_and_are_not_run() -> None:
    """DECA's table holds tensors; their bytes are a pickle of their own, which must stay closed."""
    marker = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."
    storage = b"ctorch.storage\n_load_from_bytes\n" + _body(marker) + b"\x85R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x03\x85K\x01\x85\x89)tR"
    assert isinstance(loads(b"\x80\x02" + tensor + b".", "t"), Placeholder)


# ---- what must be refused


def _touch(path: Path) -> str:
    return f"touch {path}"


class _Reduce:
    def __init__(self, *reduced: object) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


def _nested_scalar(inner: bytes, core: str) -> bytes:
    """numpy's scalar() of an object dtype unpickles its second argument."""
    dtype = _body(np.dtype("O"))
    return b"\x80\x02c" + core.encode() + b".multiarray\nscalar\n" + dtype + _body(inner) + b"\x86R."


def _hostile(kind: str, mark: Path) -> bytes:
    """A pickle that would leave the file `mark` behind if it were run."""
    script = f"open({str(mark)!r}, 'w').close()"
    system = pickle.dumps(_Reduce(os.system, (_touch(mark),)))
    name = b"X" + struct.pack("<I", len(script)) + script.encode()
    match kind:
        case "os.system":
            return system
        case "posix, protocol 0":
            return f"cposix\nsystem\n(S'{_touch(mark)}'\ntR.".encode()
        case "eval":
            return pickle.dumps(_Reduce(eval, (script,)))
        case "exec":
            return pickle.dumps(_Reduce(exec, (script,)))
        case "python 2 eval":
            return b"c__builtin__\neval\n(" + name + b"tR."
        case "getattr chain":
            return b"\x80\x04cbuiltins\ngetattr\ncbuiltins\n__import__\n\x8c\x02os\x85R\x8c\x06system\x86R."
        case "dotted name":
            return b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93)R."
        case "dotted module":
            return b"\x80\x04\x8c\x05numpy\x8c\x09os.system\x93" + _body(_touch(mark)) + b"\x85R."
        case "INST":
            return f"(S'{_touch(mark)}'\nios\nsystem\n.".encode()
        case "OBJ":
            return f"(cos\nsystem\nS'{_touch(mark)}'\no.".encode()
        case "numpy.load":
            other = mark.with_suffix(".npy")
            with open(other, "wb") as handle:
                np.save(
                    handle, np.array(_Reduce(os.system, (_touch(mark),)), dtype=object), allow_pickle=True
                )
            return pickle.dumps(_Reduce(np.load, (str(other), None, True)))
        case "numpy.frombuffer":
            return b"\x80\x02cnumpy\nfrombuffer\n" + _body(b"1234") + b"\x85R."
        case "scalar, numpy 2":
            return _nested_scalar(system, "numpy._core")
        case "scalar, numpy 1":
            return _nested_scalar(system, "numpy.core")
        case "codecs to another codec":
            return b"\x80\x02c_codecs\nencode\n" + _body("x") + _body("idna") + b"\x86R."
        case "codecs.decode":
            return b"\x80\x02c_codecs\ndecode\n" + _body(b"x") + _body("zip") + b"\x86R."
        case "import via subclass":
            return b"\x80\x02ccopyreg\n_reconstructor\ncsubprocess\nPopen\ncbuiltins\nobject\nN\x87R."
        case "reconstructor with a base":
            return b"\x80\x02ccopyreg\n_reconstructor\ncchumpy.ch\nCh\ncbuiltins\nbytes\nK\x05\x87R."
        case "reconstruct of another class":
            core = b"cnumpy.core.multiarray\n_reconstruct\n"
            return b"\x80\x02" + core + b"cnumpy\ndtype\nK\x00\x85" + _body(b"b") + b"\x87R."
        case "state on a class":
            return b"\x80\x02cchumpy.ch\nCh\nN}" + _body("value") + b"Ns\x86b."
        case "state on a class, by slot":
            return b"\x80\x02cchumpy.ch\nCh\n}" + _body("__setstate__") + b"Nsb)\x81."
        case "calling a result":
            return b"\x80\x02cchumpy.ch\nCh\n)\x81" + _body(script) + b"\x85R."
        case "torch.load":
            return b"\x80\x02ctorch\nload\n" + _body(str(mark)) + b"\x85R."
        case "persistent id":
            return b"\x80\x02" + _body("x") + b"Q."
        case "extension":
            return b"\x80\x02\x82\x01."
        case "newobj with keywords":
            return b"\x80\x04cbuiltins\nset\n)}\x92."
        case "chumpy of other kinds":
            return b"\x80\x02cchumpy.ch\nMatVecMult\n)\x81."
        case "record dtype":
            return pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "O")]))
        case "datetime":
            return pickle.dumps(np.array(["2020-01-01"], "M8[D]"))
        case "function":
            return pickle.dumps(np.mean)
        case "class as value":
            return pickle.dumps({"a": np.ndarray})
        case "another sparse class":
            return pickle.dumps(sp.coo_matrix(np.eye(2)))
        case _:
            raise AssertionError(kind)


KINDS = [
    *("os.system", "posix, protocol 0", "eval", "exec", "python 2 eval", "getattr chain", "dotted name"),
    *("dotted module", "INST", "OBJ", "numpy.load", "numpy.frombuffer", "scalar, numpy 2", "scalar, numpy 1"),
    *("codecs to another codec", "codecs.decode", "import via subclass", "reconstructor with a base"),
    *("reconstruct of another class", "state on a class", "state on a class, by slot", "calling a result"),
    *("torch.load", "persistent id", "extension", "newobj with keywords", "chumpy of other kinds"),
    *("record dtype", "datetime", "function", "class as value", "another sparse class"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_pickles_are_refused_and_leave_no_trace(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(_hostile(kind, mark))
    for module, name in ((os, "system"), (pickle, "loads"), (np, "load")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("executed"))
    with pytest.raises(ModelError) as caught:
        load_pickle(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert not mark.exists()


def test_the_hostile_pickles_are_not_duds(tmp_path: Path) -> None:
    """The ordinary unpickler runs them, so the test above tests something (older NumPy: scalars too)."""
    for kind in ("os.system", "eval", "exec", "posix, protocol 0", "numpy.load", "INST"):
        mark = tmp_path / f"ran {KINDS.index(kind)}".replace(" ", "_")
        pickle.loads(_hostile(kind, mark))
        assert mark.exists(), kind


def test_the_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"model\.pkl: asks for 'posix\.system'.*nothing was executed.*official"
    ):
        loads(pickle.dumps(_Reduce(os.system, ("true",))), "model.pkl")


def test_a_forbidden_name_cannot_break_the_line() -> None:
    with pytest.raises(ModelError) as caught:
        loads(b"\x80\x04\x8c\x03a\nb\x8c\x08\x1b[31m\xe2\x80\xa8\x93.", "t")
    assert str(caught.value).isprintable()


def test_nothing_admitted_can_be_changed_by_a_pickle() -> None:
    """State set on the admitted classes would outlive the load and change the next one."""
    before = {key: vars(record).copy() for key, record in safe_pickle._ADMITTED.items()}
    for kind in ("state on a class", "state on a class, by slot"):
        with pytest.raises(ModelError):
            loads(_hostile(kind, Path("unused")), "t")
    assert {key: vars(record).copy() for key, record in safe_pickle._ADMITTED.items()} == before


def test_admitted_records_are_only_ours() -> None:
    """No real function or class is ever handed to the unpickler."""
    assert all(record.__module__ == safe_pickle.__name__ for record in safe_pickle._ADMITTED.values())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("memo slot far ahead", b"\x80\x02Nr\xff\xff\xff\x7f."),
        ("memo slot far ahead, text", b"Np2147483647\n."),
        ("bytes longer than the file", b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x."),
        ("bytearray longer than the file", b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x."),
        ("frame longer than the file", b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N."),
        ("bytes of a given length", b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
        ("endless program", b"\x80\x02" + b"N0" * 600_000 + b"N."),
        ("deep nesting", b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."),
        ("contains itself", b"\x80\x02]q\x00h\x00a."),
        ("unhashable key", b"\x80\x02}]Ns."),
        ("truncated", pickle.dumps({"a": np.zeros(100)})[:200]),
        ("empty", b""),
        ("no stop", b"\x80\x02N"),
        ("text", b"# this is not a pickle\n"),
    ],
)
def test_malformed_and_greedy_pickles(name: str, data: bytes) -> None:
    with pytest.raises(ModelError, match=r"^model\.pkl: "):
        loads(data, "model.pkl")


def _array_state(shape: tuple[int, ...], raw: bytes, dtype: object = None) -> bytes:
    head = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _body(b"b") + b"\x87R"
    )
    kind = _body(np.dtype("f8") if dtype is None else dtype)
    return head + b"(K\x01" + _body(shape) + kind + b"\x89" + _body(raw) + b"tb."


@pytest.mark.parametrize(
    "data",
    [
        _array_state((1 << 40,), b"12345678"),
        _array_state((-1,), b"12345678"),
        _array_state((2,), b"12345678"),
        _array_state((1,), b"12345678", np.dtype("O")),
        _array_state((1,), b"12345678", "f8"),
    ],
    ids=["huge", "negative", "short", "objects from bytes", "no dtype"],
)
def test_array_size_must_match_its_bytes(data: bytes) -> None:
    with pytest.raises(ModelError):
        loads(data, "t")


def test_shared_bytes_do_not_multiply() -> None:
    """Small files must not decode to large memory: arrays that share bytes share memory."""
    raw = b"T" + struct.pack("<I", 8000) + np.arange(1000.0).tobytes() + b"q\x07"
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _body(b"b") + b"\x87R"
    head += b"(K\x01" + _body((1000,)) + _body(np.dtype("f8")) + b"\x89"
    arrays: Any = loads(b"\x80\x02](" + head + raw + b"tb" + (head + b"h\x07tb") * 50 + b"e.", "t")
    assert len(arrays) == 51
    assert all(np.shares_memory(arrays[0], array) for array in arrays)


def _with_state(matrix: Any, **changes: object) -> bytes:
    matrix = matrix.copy()
    for name, value in changes.items():
        setattr(matrix, name, value)
    return pickle.dumps(matrix, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": np.array([0, 1, 7], np.int32)},
        {"indices": np.array([0, -1, 2], np.int32)},
        {"indptr": np.array([0, 1, 2, 900], np.int32)},
        {"indptr": np.array([0, 2, 1, 3], np.int32)},
        {"indptr": np.array([0, 3], np.int32)},
        {"data": np.zeros(1)},
        {"indices": np.zeros(3)},
        {"_shape": (3, 3, 3)},
        {"_shape": (1 << 40, 3)},
        {"_shape": "33"},
    ],
)
@pytest.mark.parametrize("kind", ["csc_matrix", "csr_matrix"])
def test_sparse_indices_outside_the_shape_are_refused(kind: str, changes: dict[str, object]) -> None:
    """SciPy's compiled code would follow them out of the array."""
    with pytest.raises(ModelError):
        loads(_with_state(getattr(sp, kind)(np.eye(3)), **changes), "t")


def test_damaged_npy_files(tmp_path: Path) -> None:
    path = tmp_path / "table.npy"
    for data in (b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10\x00{'descr': bad!!", b"PK\x03\x04"):
        path.write_bytes(data)
        with pytest.raises(ModelError, match=r"table\.npy"):
            load_npy(path)
    np.save(path, np.array(_Reduce(os.getcwd, ()), dtype=object), allow_pickle=True)
    with pytest.raises(ModelError, match="getcwd"):
        load_npy(path)


def test_missing_and_oversized_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"absent\.pkl: cannot be read"):
        load_pickle(tmp_path / "absent.pkl")
    path = tmp_path / "large.pkl"
    path.write_bytes(b"N.")
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 1)
    with pytest.raises(ModelError, match=r"large\.pkl"):
        load_pickle(path)


def test_random_damage_never_escapes_as_another_error() -> None:
    """Flipped bytes give a value or a ModelError."""
    original = pickle.dumps(
        {"a": np.arange(6.0), "m": sp.csc_matrix(np.eye(3)), "s": {1}, "t": ("x", b"y")}, 2
    )
    rng = np.random.default_rng(0)
    for _ in range(1500):
        data = bytearray(original)
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            data[position] = rng.integers(256)
        try:
            loads(bytes(data), "t")
        except ModelError:
            continue
