"""Print a requirement of an extra as pyproject.toml states it: python .ci/requirement.py EXTRA NAME"""

import re
import sys
import tomllib
from pathlib import Path

extra, name = sys.argv[1:]
project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))["project"]
(line,) = [x for x in project["optional-dependencies"][extra] if re.match(rf"{name}\b", x)]
print(line)
