"""The map in docs/architecture.md: every module with the first line of its docstring.

`python -m tests.house_map` writes it anew; `tests/test_docs.py` compares.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"(?<=<!-- the map -->\n```text\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
INDENT = 2
COLUMN = 24


def house_map() -> str:
    """The three packages as a tree: modules first, then folders."""
    return "".join(line for package in ("bot", "context", "prompts") for line in _folder(ROOT / package, 0))


def _folder(folder: Path, depth: int) -> list[str]:
    lines = [_line(f"{folder.name}/", folder / "__init__.py", depth)]
    modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    lines += [_line(module.name, module, depth + 1) for module in modules]
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        lines += _folder(inner, depth + 1)
    return lines


def _line(name: str, module: Path, depth: int) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    first, _, _ = docstring.partition("\n")
    return f"{' ' * INDENT * depth + name:{COLUMN}} {first}".rstrip() + "\n"


def main() -> None:
    """Write the map into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(BLOCK.sub(lambda _: house_map(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
