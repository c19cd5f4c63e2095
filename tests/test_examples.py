"""Every script of examples/ runs without arguments to its end, and docs/examples.md lists them all.

python tests/test_examples.py       writes docs/examples.md anew from the scripts' docstrings
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "examples.md"
SCRIPTS = sorted(ROOT.glob("examples/*.py"))
HEAD = """# Examples

Scripts to read, run and change. Each runs without arguments on the portrait that ships with the package, or
on data it makes itself, and writes into the folder given (`./out` by default):

```console
$ python examples/01_photo_to_mesh.py out
```

<!-- written by tests/test_examples.py from the scripts' docstrings -->
"""


def page() -> str:
    """The text of docs/examples.md."""
    parts = [HEAD]
    for script in SCRIPTS:
        text = ast.get_docstring(ast.parse(script.read_text("utf-8")))
        assert text, f"{script.name} has no docstring"
        title, _, rest = text.partition("\n")
        about, _, features = rest.strip().partition("\n\nFeatures:\n")
        listed = "\n".join(
            line.strip().replace("* ", "- ", 1) if "* " in line else line for line in features.splitlines()
        )
        link = f"Source: [`{script.name}`](../examples/{script.name})"
        parts.append(f"\n## {title}\n\n{about}\n\n{listed}\n\n{link}\n")
    return "".join(parts)


def test_the_page_lists_all_scripts() -> None:
    assert page() == PAGE.read_text("utf-8"), "run `python tests/test_examples.py`"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_runs(script: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONWARNINGS": "error::RuntimeWarning"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example says what it did"
    assert any(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file())


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"{PAGE}: {len(SCRIPTS)} examples")
