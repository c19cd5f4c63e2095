"""`facerelief gallery`: pictures of .glb files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from facerelief.cli import options
from facerelief.cli.console import note, say
from facerelief.errors import FacereliefError


@dataclass(frozen=True)
class Gallery:
    """Render .glb heads: front, 45 degrees, profile, smile, open jaw, closed eyes.

    Reads any .glb file with ARKit's names, and shows it as an engine does: with its materials, normal map and
    normals, without back faces. The background shows where one sees through a head.

    Examples:
        facerelief gallery out -o pictures
        facerelief gallery out/photo/face0/face.glb -o pictures
    """

    inputs: Annotated[options.Arguments, arg(metavar="GLB|FOLDER")]
    """Files, or folders in which .glb files are looked for."""
    out: options.OutFolder
    """Folder for one sheet a file."""
    size: Annotated[int, options.Range(64, 2048)] = 640
    """Side of each picture, px."""

    def run(self) -> int:
        """Render all files. Returns the exit code."""
        from facerelief.facefolder.gallery import gallery_sheet
        from facerelief.io.read_glb import read_glb
        from facerelief.io.write_images import write_png

        files = [(path, path.parent) for path in self.inputs if not path.is_dir()]
        files += [(f, path) for path in self.inputs if path.is_dir() for f in sorted(path.rglob("*.glb"))]
        if not files:
            note("error: no .glb file there")
            return 1
        self.out.mkdir(parents=True, exist_ok=True)
        failed = 0
        for file, root in files:
            name = "_".join(Path(file).relative_to(root).with_suffix("").parts)
            try:
                write_png(self.out / f"{name}.png", gallery_sheet(read_glb(file), self.size))
                say(f"{file}: {self.out / name}.png")
            except FacereliefError as error:
                failed += 1
                note(f"error: {error}")
        return 1 if failed == len(files) else 0
