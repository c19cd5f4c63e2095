"""Print the README's shell block of the number given: 1 installs and reconstructs, 2 tests."""

import re
import sys
from pathlib import Path

text = Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")
commands = re.findall(r"^```sh\n(.+?)\n```$", text, re.MULTILINE | re.DOTALL)
if len(commands) != 2:
    sys.exit(f"README.md has {len(commands)} ```sh blocks, expected 2")
print(commands[int(sys.argv[1]) - 1])
