"""Networks run the same from every thread, load lazily, and fail with one line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from facerelief.errors import ModelError
from facerelief.runtime import Network, default_threads, load_network, set_threads


def test_outputs_come_in_the_network_s_order(linear):
    x = np.float32([[1, 2, 3]])
    double, shifted = Network(linear, threads=1)(x)
    np.testing.assert_array_equal(double, 2 * x)
    np.testing.assert_array_equal(shifted, x + 1)


def test_chosen_outputs_come_in_the_order_asked_for(linear):
    x = np.float32([[1, 2, 3]])
    (shifted,) = Network(linear, threads=1, outputs=("shifted",))(x)
    np.testing.assert_array_equal(shifted, x + 1)


def test_free_dimensions_become_one_or_what_was_asked_for(linear):
    assert Network(linear, threads=1).input_shapes == [(1, 3)]
    network = Network(linear, threads=1, shapes={"x": (4, 3)})
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(network(x)[0], 2 * x)


def test_results_are_copies(linear):
    network = Network(linear, threads=1)
    first = network(np.ones((1, 3), np.float32))[0]
    network(np.zeros((1, 3), np.float32))
    np.testing.assert_array_equal(first, 2)


def test_threads_do_not_mix_their_results(linear):
    network = Network(linear, threads=1)

    def work(value: int) -> bool:
        x = np.full((1, 3), value, np.float32)
        return all(np.array_equal(network(x)[0], 2 * x) for _ in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_the_same_settings_give_the_same_network(linear):
    assert load_network(linear, threads=1) is load_network(str(linear), threads=1)
    assert load_network(linear, threads=1) is not load_network(linear, threads=1, shapes={"x": (2, 3)})


def test_threads_come_from_the_setting_then_the_environment(monkeypatch):
    monkeypatch.setenv("FACERELIEF_THREADS", "3")
    assert default_threads() == 3
    set_threads(2)
    try:
        assert default_threads() == 2
    finally:
        set_threads(None)
    monkeypatch.delenv("FACERELIEF_THREADS")
    assert 1 <= default_threads() <= 4
    with pytest.raises(ValueError, match="at least 1"):
        set_threads(0)


@pytest.mark.parametrize("arrays", [(), (np.zeros((2, 3), np.float32),), (np.zeros((1, 3), np.float32),) * 2])
def test_wrong_arrays_are_refused(linear, arrays):
    with pytest.raises(ValueError, match="expected"):
        Network(linear, threads=1)(*arrays)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"gone\.onnx: no such network file"):
        Network(tmp_path / "gone.onnx")(np.zeros(1, np.float32))


def test_a_file_that_is_no_network_is_named_in_one_line(tmp_path):
    file = tmp_path / "text.onnx"
    file.write_text("not a network")
    with pytest.raises(ModelError, match=r"text\.onnx: expected an ONNX network") as caught:
        Network(file).compile()
    assert "\n" not in str(caught.value)
