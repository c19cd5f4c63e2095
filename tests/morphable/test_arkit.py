"""ARKit's 52 names, in mirrored pairs."""

from __future__ import annotations

from facerelief.morphable.arkit import ARKIT_NAMES, mirrored


def test_there_are_52_different_names():
    assert len(ARKIT_NAMES) == len(set(ARKIT_NAMES)) == 52


def test_mirroring_permutes_the_names_and_is_its_own_inverse():
    assert {mirrored(name) for name in ARKIT_NAMES} == set(ARKIT_NAMES)
    assert [mirrored(mirrored(name)) for name in ARKIT_NAMES] == list(ARKIT_NAMES)


def test_names_without_a_side_are_their_own_mirror_images():
    fixed = {name for name in ARKIT_NAMES if mirrored(name) == name}
    assert fixed == {name for name in ARKIT_NAMES if "Left" not in name and "Right" not in name}
    assert len(fixed) == 12
