"""Images and maps: coded and decoded to the same numbers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facerelief.io.write_images import (
    decode_normals,
    encode_jpeg,
    encode_normals,
    encode_png,
    write_depth,
    write_normals,
    write_png,
)


def test_png_is_rgb(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", rgb)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], rgb)


def test_float_images_become_eight_bit():
    pixels = np.array([[[0.0, 0.5, 1.0], [-1.0, 2.0, np.nan]]])
    back = cv2.imdecode(np.frombuffer(encode_png(pixels), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert back.tolist() == [[[0, 128, 255], [0, 255, 0]]]


def test_jpeg():
    grey = np.full((16, 16, 3), 0.5)
    back = cv2.imdecode(np.frombuffer(encode_jpeg(grey), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(back.astype(int) - 128).max() <= 1


def test_normals_survive_the_file(tmp_path):
    normals = np.random.default_rng(0).normal(size=(20, 30, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    normals[3:5, 6:9] = np.nan
    write_normals(tmp_path / "n.png", normals)
    coded = cv2.imread(str(tmp_path / "n.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert coded.dtype == np.uint16
    np.testing.assert_allclose(decode_normals(coded), normals, atol=2e-5)


def test_normal_toward_the_viewer_by_number():
    assert encode_normals(np.array([[[0.0, 0.0, 1.0]]])).tolist() == [[[32768, 32768, 65535]]]


def test_depth(tmp_path):
    depth = np.array([[1.5, np.nan], [-2.0, 3.0]])
    write_depth(tmp_path / "d.npy", depth)
    back = np.load(tmp_path / "d.npy", allow_pickle=False)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, depth)


def test_what_no_image_can_hold_is_refused():
    with pytest.raises((ValueError, cv2.error)):
        encode_png(np.zeros((3, 3, 7), np.uint8))
