"""Check that a wheel holds the package data and no more than it should: python .ci/check_wheel.py FILE.whl"""

import sys
import zipfile
from pathlib import Path

DATA = (
    "py.typed",
    "data/open_model.npz",
    "data/motion.npz",
    "data/face.schema.json",
    "data/examples/astronaut.jpg",
    "data/mediapipe/face_detection.onnx",
    "data/mediapipe/face_landmarks.onnx",
    "data/open_model2.npz",
    "data/mediapipe/iris.onnx",
    "data/nets/coarse.onnx",
    "data/nets/tracking.onnx",
    "data/nets/fine.onnx",
    "data/nets/e2far.onnx",
    "data/nets/landmarks.onnx",
    "data/nets/skin.onnx",
)
LIMIT_MB = 40

wheel = Path(sys.argv[1])
with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
missing = [name for name in DATA if f"facerelief/{name}" not in names]
foreign = [name for name in names if not name.startswith(("facerelief/", "facerelief-"))]
legal = [name for name in ("LICENSE", "NOTICE") if not any(n.endswith(f"/licenses/{name}") for n in names)]
size = wheel.stat().st_size / 1e6
print(f"wheel: {size:.1f} MB, {len(names)} files")
if missing or foreign or legal or size > LIMIT_MB:
    sys.exit(f"{wheel.name}: missing {missing + legal}, foreign {foreign}, at most {LIMIT_MB} MB allowed")
