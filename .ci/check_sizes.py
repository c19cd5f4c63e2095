"""Check the limits on the size of the code: python .ci/check_sizes.py [--list]

Limited are the lines of src, of the command line and of each file, and the lines and cyclomatic complexity
(radon) of each function. Compiled kernels are exempt: a loop over triangles reads best in one piece.
--list prints the files and functions closest to the limits.
"""

import ast
import sys
from pathlib import Path

from radon.complexity import cc_visit_ast

SOURCE = Path(__file__).parents[1] / "src" / "facerelief"
SOURCE_LINES = 55_500
CLI_LINES = 3_320
"""Lower these with every reduction; the targets are 36,500 and 2,600."""
FILE_LINES = 500
FUNCTION_LINES = 80
COMPLEXITY = 25

Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_kernel(function: Function) -> bool:
    """Whether the function is compiled: decorated with `kernel` (geometry/_jit.py)."""
    names = [node.func if isinstance(node, ast.Call) else node for node in function.decorator_list]
    return any(isinstance(name, ast.Name) and name.id == "kernel" for name in names)


def lines_of(file: Path) -> int:
    return len(file.read_text("utf-8").splitlines())


def main() -> int:
    files = sorted(SOURCE.rglob("*.py"))
    counts = {file: lines_of(file) for file in files}
    functions: list[tuple[int, int, str]] = []
    """(lines, complexity, place)"""
    for file in files:
        tree = ast.parse(file.read_text("utf-8"), str(file))
        complexity = {
            block.lineno: block.complexity
            for top in cc_visit_ast(tree)
            for block in (top, *getattr(top, "methods", ()), *getattr(top, "closures", ()))
        }
        for node in ast.walk(tree):
            if isinstance(node, Function) and not is_kernel(node):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                place = f"{file.relative_to(SOURCE)}:{node.lineno} {node.name}"
                functions.append((size, complexity.get(node.lineno, 0), place))
    total = sum(counts.values())
    cli = sum(lines for file, lines in counts.items() if "cli" in file.relative_to(SOURCE).parts)
    print(f"src/facerelief: {total:,} lines (at most {SOURCE_LINES:,}), cli: {cli:,} (at most {CLI_LINES:,})")
    print(f"{len(files)} files, {len(functions)} functions without kernels")
    if "--list" in sys.argv[1:]:
        for file, lines in sorted(counts.items(), key=lambda item: -item[1])[:10]:
            print(f"{lines:>5} lines       {file.relative_to(SOURCE)}")
        for size, complexity, place in sorted(functions, reverse=True)[:10]:
            print(f"{size:>5} lines, CC {complexity:>2} {place}")
        for size, complexity, place in sorted(functions, key=lambda item: -item[1])[:10]:
            print(f"{size:>5} lines, CC {complexity:>2} {place}")
    wrong = [f"{file.relative_to(SOURCE)}: {n} lines" for file, n in counts.items() if n > FILE_LINES]
    for size, complexity, place in functions:
        if size > FUNCTION_LINES:
            wrong.append(f"{place}: {size} lines")
        if complexity > COMPLEXITY:
            wrong.append(f"{place}: complexity {complexity}")
    if total > SOURCE_LINES or cli > CLI_LINES:
        wrong.append("too many lines in all")
    for line in wrong:
        print(f"over the limit: {line}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
