"""face.glb in real Blender: mesh, blendshapes, joints, materials. Skips without the package bpy.

bpy belongs in an environment of its own: FACERELIEF_BLENDER names its Python
(python3.11 -m venv blender && blender/bin/pip install bpy).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from facerelief.facefolder.head_glb import GlbOptions, encode_head_glb
from facerelief.facefolder.maps import head_maps

SCRIPT = """
import bpy, json, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[-1])
head = next(o for o in bpy.data.objects if o.type == "MESH" and o.data.shape_keys)
rig = next(o for o in bpy.data.objects if o.type == "ARMATURE")
def place(weight):
    keys = head.data.shape_keys.key_blocks
    for key in keys[1:]:
        key.value = 0.0
    keys["jawOpen"].value = weight
    made = head.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return [tuple(v.co) for v in made.data.vertices]
still, open_ = place(0.0), place(1.0)
bone = rig.pose.bones["head"]
bone.rotation_mode = "XYZ"
bone.rotation_euler = (0, 0.5, 0)
turned = place(0.0)
def apart(a, b):
    return max(sum((x - y) ** 2 for x, y in zip(p, q)) ** 0.5 for p, q in zip(a, b))
skin = next(m for m in bpy.data.materials if m.name.startswith("skin"))
print("FOUND" + json.dumps({
    "keys": [k.name for k in head.data.shape_keys.key_blocks[1:]],
    "bones": sorted(b.name for b in rig.data.bones),
    "size": list(head.dimensions),
    "jaw": apart(still, open_),
    "turned": apart(still, turned),
    "normal_map": any(n.type == "NORMAL_MAP" for n in skin.node_tree.nodes),
}))
"""


def test_blender_opens_the_head(tmp_path, toy_reconstruction):
    python = os.environ.get("FACERELIEF_BLENDER", "")
    if not Path(python).is_file():
        pytest.skip("FACERELIEF_BLENDER does not name a Python with bpy")
    r = toy_reconstruction
    options = GlbOptions(visemes=True)
    data = encode_head_glb(r.model, r.neutral, head_maps(r, 64), identity=r.identity, options=options)
    (tmp_path / "a.glb").write_bytes(data)
    command = [python, "-c", SCRIPT, str(tmp_path / "a.glb")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert lines, done.stderr[-2000:]
    found = json.loads(lines[0].removeprefix("FOUND"))
    assert found["bones"] == ["head", "jaw", "leftEye", "neck", "rightEye"]
    assert len(found["keys"]) == 72
    assert "jawOpen" in found["keys"]
    assert 0.1 < max(found["size"]) < 0.4  # metres
    assert found["jaw"] > 0.002
    assert found["turned"] > 0.01
    assert found["normal_map"]
