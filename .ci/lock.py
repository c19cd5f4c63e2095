"""Write requirements/ci.txt: the versions with which CI tests. python .ci/lock.py

pip resolves the package with all extras that CI installs, without installing anything, and the versions it
chose become constraints (`pip install -c requirements/ci.txt ...`). torch stays out: the extra `train` pins
it, and its CPU builds carry a local version that differs from index to index.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "requirements" / "ci.txt"
EXTRAS = "dev,train,scale,plots,docs"
HEAD = "# Versions with which CI tests, as constraints for pip. Renew: python .ci/lock.py\n"

command = [
    sys.executable,
    "-m",
    "pip",
    "install",
    "--dry-run",
    "--ignore-installed",
    "--quiet",
    "--report",
    "-",
]
done = subprocess.run([*command, f"{ROOT}[{EXTRAS}]"], check=True, stdout=subprocess.PIPE, text=True)
chosen = {
    entry["metadata"]["name"].lower().replace("_", "-"): entry["metadata"]["version"].partition("+")[0]
    for entry in json.loads(done.stdout)["install"]
}
left_out = ("facerelief", "torch", "triton", "nvidia-", "cuda-")
lines = [f"{name}=={version}\n" for name, version in sorted(chosen.items()) if not name.startswith(left_out)]
FILE.write_text(HEAD + "".join(lines), "utf-8")
print(f"{FILE.relative_to(ROOT)}: {len(lines)} packages")
