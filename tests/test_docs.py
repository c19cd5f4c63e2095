"""The documents tell the truth: examples run, commands and options exist, links lead somewhere.

Blocks marked ```python run are executed in order, one namespace a page, in an empty folder; those written as
a session (>>>) must print what the page says.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


class Block(NamedTuple):
    info: str
    line: int
    """Of the block's first line of text, from 1."""
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    inside: list[str] | None = None
    info, start = "", 0
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if inside is None and line.startswith("```"):
            info, start, inside = line[3:].strip(), number + 1, []
        elif inside is not None and line.rstrip() == "```":
            yield Block(info, start, "\n".join(inside) + "\n")
            inside = None
        elif inside is not None:
            inside.append(line)
    assert inside is None, f"{page}: the block of line {start} has no end"


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.info == "python run"]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if runnable(p)], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for block in runnable(page):
        if ">>>" not in block.text:
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
            exec(code, names)
            continue
        parsed = doctest.DocTestParser().get_doctest(block.text, names, page.name, str(page), block.line - 1)
        told: list[str] = []
        runner.run(parsed, out=told.append, clear_globs=False)
        names.update(parsed.globs)
        assert not told, "".join(told)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    broken = [x for x in links if x and "://" not in x and not (page.parent / x).exists()]
    assert not broken, f"{page.relative_to(ROOT)}: no such file: {broken}"


def commands() -> list[tuple[str, str, tuple[str, ...]]]:
    """(page, subcommand, options) of every `facerelief ...` line in the pages' shell blocks."""
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for page, name in zip(PAGES, IDS, strict=True):
        for block in blocks(page):
            if block.info in ("sh", "console"):
                text = re.sub(r"\$\(.*?\)", "", block.text)
                for words in re.findall(r"(?:^|&& |\$ )facerelief ([^\n&|]*)", text, re.MULTILINE):
                    verbs = re.match(r"(?:(?:model|evaluate|synthesize|dataset|train) )?\w+", words)
                    options = tuple(re.findall(r"(?<=\s)--?[a-z][\w-]*", words))
                    found.append((name, verbs[0] if verbs else "", options))
    return found


@pytest.mark.parametrize(("page", "verb", "options"), sorted(set(commands())))
def test_commands_and_options_exist(page: str, verb: str, options: tuple[str, ...]) -> None:
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    call = [sys.executable, "-m", "facerelief", *verb.split(), "--help"]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, f"{page}: facerelief {verb}: {done.stderr or done.stdout}"
    missing = [option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", done.stdout)]
    assert not missing, f"{page}: facerelief {verb} has no {missing}"


def test_the_readme_has_exactly_its_two_commands() -> None:
    shell = [block.text for block in blocks(ROOT / "README.md") if block.info == "sh"]
    assert len(shell) == 2, "README.md holds two ```sh blocks, which .ci/run runs"
    assert all(text.count("\n") == 1 for text in shell), "each of them is one line"


def test_no_page_names_this_machine() -> None:
    for page in PAGES:
        found = re.search(r"(?<![\w.])/(?:work|root|home|Users|tmp)/\S*", page.read_text("utf-8"))
        assert not found, f"{page.relative_to(ROOT)} names {found[0]}"
