"""Keys, random numbers and provenance of samples."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from facerelief.lab.datasets.samples import about_source, photo_rng, sample_key


def test_random_numbers_depend_on_seed_name_and_number_alone():
    def first(seed, name, number):
        return tuple(photo_rng(seed, name, number).integers(0, 1 << 62, 4))

    assert first(0, "a/ä", 1) == first(0, "a/ä", 1)
    others = {first(0, "a/ä", 1), first(1, "a/ä", 1), first(0, "a/a", 1), first(0, "a/ä", 2)}
    assert len(others) == 4


def test_provenance_survives_json(toy_fits):
    fit = toy_fits.load("a/p000")
    about = about_source(fit, "toy", 2, 5)
    assert json.loads(json.dumps(about)) == about
    assert (about["source"], about["person"], about["split"]) == (fit.file, fit.subject, fit.split)
    assert (about["kind"], about["number"], about["seed"]) == ("toy", 2, 5)


def test_keys_have_plain_characters_and_tell_numbers_apart(toy_fits):
    fit = replace(toy_fits.load("a/p000"), name="a/ä.b c-d_1")
    assert sample_key(fit, "toy", 12) == "a___b_c-d_1-toy-0012"
    assert re.fullmatch(r"[A-Za-z0-9_-]+", sample_key(fit, "toy", 12))
    assert sample_key(fit, "toy", 1) != sample_key(fit, "toy", 12)
