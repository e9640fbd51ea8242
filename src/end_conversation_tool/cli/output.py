"""What the command line prints and how it fails: plain text, stable exit codes, never a traceback for bad input."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from end_conversation_tool.errors import EndConversationError, RegistryError

__all__ = ["EPILOG", "Exit", "escaped", "fail", "note", "print_json", "reporting_errors", "stdout"]


class Exit(IntEnum):
    """The exit codes. Stable: scripts test for them."""

    OK = 0
    FOUND = 1
    USAGE = 2
    REGISTRY = 3


EPILOG = (
    "Exit codes: 0 done; 1 done, but something is amiss (a broken line in a file, a reading that failed, a thread "
    "that nobody knows); "
    "2 wrong usage or unusable input; 3 the registry cannot be reached or used; 130 interrupted."
)

# Control characters but line break and tab, lone surrogates, and direction marks, which make a line read as something
# else than it is.
_OBEYED_BY_TERMINALS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def escaped(text: str) -> str:
    r"""Return ``text`` with everything that a terminal would obey, line breaks and tabs aside, written as ``\xNN``."""
    return _OBEYED_BY_TERMINALS.sub(lambda found: _escape(found[0]), text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def stdout(*, width: int | None = None, wrap: bool = True) -> Console:
    """Return the console for results; made anew, so that it follows a redirected ``sys.stdout``.

    Args:
        width: Columns to use where stdout is no terminal; ``None`` for the usual 80.
        wrap: Whether to break long lines; ``False`` leaves that to the terminal, and lines whole for other programs.
    """
    columns = None if sys.stdout.isatty() else width
    return Console(file=sys.stdout, width=columns, soft_wrap=not wrap, highlight=False, markup=False, emoji=False)


def note(text: str, style: str = "dim") -> None:
    """Print a remark to stderr."""
    Console(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True).print(
        Text(escaped(text), style=style)
    )


def fail(text: str, code: Exit) -> NoReturn:
    """Print what is wrong to stderr, and leave."""
    note(f"error: {text}", "bold red")
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    """Print a value as JSON, in ASCII, so that no text in it reaches a terminal raw."""
    typer.echo(json.dumps(value, indent=2))


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Turn the errors that input can cause into a line on stderr and an exit code.

    Raises:
        typer.Exit: 2 for bad input, a file that cannot be read or a missing extra; 3 for the registry.
    """
    try:
        yield
    except RegistryError as error:
        fail(str(error), Exit.REGISTRY)
    except (EndConversationError, ImportError) as error:
        fail(str(error), Exit.USAGE)
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{error.filename or 'file'}: {error.strerror or type(error).__name__}", Exit.USAGE)
