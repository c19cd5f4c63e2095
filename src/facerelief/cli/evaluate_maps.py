"""`facerelief evaluate maps`: agreement of normal maps with the relief they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import note, say
from facerelief.errors import FacereliefError


@dataclass(frozen=True)
class Maps:
    """Measure how well a face's normal map shows its relief.

    Renders the head with its normal map in the photo's pose and compares its normals with normals.png on
    visible skin, degrees.

    Examples:
        facerelief evaluate maps out/photo/face0
    """

    faces: Annotated[options.Arguments, arg(metavar="FACE")]
    """Face folders made by reconstruct."""
    size: Annotated[int, options.Range(64, 8192)] = 2048
    """Side of the normal map, texels."""

    def run(self) -> int:
        """Measure all faces. Returns the exit code."""
        from facerelief.facefolder import load_reconstruction
        from facerelief.lab.evaluation.photos.map_agreement import map_agreement

        done = 0
        for folder in self.faces:
            try:
                r = load_reconstruction(folder)
                found = map_agreement(r, self.size)
            except (FacereliefError, ValueError) as error:
                note(f"error: {folder}: {error}")
                continue
            done += 1
            say(
                f"{folder}: {found.pixels} px, median {found.median:.2f} deg, 90 % below {found.p90:.1f} "
                f"(without the map {found.smooth_median:.2f}, {found.smooth_p90:.1f})"
            )
        return 0 if done else 1
