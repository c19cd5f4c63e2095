"""Check a face folder: python .ci/check_output.py FOLDER [--validate]

Every file of the contract is there and nothing else. With --validate also: face.json keeps its schema (needs
jsonschema), the Khronos validator finds no error in face.glb (skipped where it is not installed).
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import facerelief

FILES = {
    "face.json",
    "coarse.obj",
    "neutral.obj",
    "face.mtl",
    "face.glb",
    "detail.ply",
    "depth.npy",
    "depth_coarse.npy",
    "normals.png",
    "texture.png",
    "normal_map.png",
    "displacement.png",
    "preview.png",
    "photo.jpg",
}


def check_files(folder: Path) -> None:
    found = {file.name for file in folder.iterdir()}
    if found != FILES:
        sys.exit(f"{folder}: missing {sorted(FILES - found)}, unexpected {sorted(found - FILES)}")
    for file in sorted(folder.iterdir()):
        print(f"{file.stat().st_size:>10,} {file.name}")
    record = json.loads((folder / "face.json").read_text("utf-8"))
    size = record["image_size"]
    for name in ("depth.npy", "depth_coarse.npy"):
        depth = np.load(folder / name, allow_pickle=False)
        if depth.shape != (size["height"], size["width"]) or np.isfinite(depth).mean() < 0.01:
            sys.exit(f"{folder / name}: shape {depth.shape}, {np.isfinite(depth).mean():.0%} of it finite")
    print(f"confidence {record['confidence']}, relief {record['relief']}, timings {record['timings_ms']}")


def check_json(folder: Path) -> None:
    import jsonschema

    data = Path(facerelief.__file__).parent / "data"
    schema = json.loads((data / "face.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    record = json.loads((folder / "face.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(record)
    print("face.json keeps its schema")


def check_glb(folder: Path) -> None:
    tools = Path(__file__).parents[1] / "tools"
    node = shutil.which("node")
    if node is None or not (tools / "node_modules" / "gltf-validator").is_dir():
        print("SKIPPED: the Khronos glTF validator is not installed")
        return
    done = subprocess.run(
        [node, str(tools / "validate_glb.mjs"), str(folder / "face.glb")], capture_output=True, text=True
    )
    if done.returncode not in (0, 1):
        sys.exit(f"the Khronos validator did not run: {done.stderr}")
    (report,) = json.loads(done.stdout)["reports"].values()
    counts = {kind: report[kind] for kind in ("errors", "warnings", "infos", "hints")}
    print(f"face.glb: {counts}")
    if counts["errors"]:
        sys.exit(json.dumps(report["messages"][:10], indent=2))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    check_files(target)
    if "--validate" in sys.argv[2:]:
        check_json(target)
        check_glb(target)
