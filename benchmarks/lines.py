"""Count the lines of code: neither blank, nor comment, nor docstring. By room, and in all."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

_NOTHING = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def code_lines(text: str) -> int:
    """Return how many lines of a module hold code."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for item in body if isinstance(body, list) else []:
            value = item.value if isinstance(item, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                documented.update(range(item.lineno, (item.end_lineno or item.lineno) + 1))
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NOTHING:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - documented)


def main() -> None:
    """Print the counts of a folder, by default those of the package."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "src" / "end_conversation_tool"
    rooms: Counter[str] = Counter()
    for file in root.rglob("*.py"):
        parts = file.relative_to(root).parts
        rooms[parts[0] if len(parts) > 1 else "(top)"] += code_lines(file.read_text(encoding="utf-8"))
    for room, count in sorted(rooms.items()):
        print(f"{count:6,}  {room}")
    print(f"{sum(rooms.values()):6,}  in all")


if __name__ == "__main__":
    main()
