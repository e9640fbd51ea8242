"""What watches each user message for risk, and how several watchers become one.

The watch is an alarm, not the judge: a clear sign is a flag of the thread, told to the operator at once. Whatever it
cannot tell is a doubt, which stands until a reader has read the transcript. The rules, whatever the watchers are:

1. The surest answer of any watcher counts.
2. A watcher that raises or answers nonsense has failed: a doubt.
3. What a watcher cannot read (a language that it does not cover, media, text that is too long) is a doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from end_conversation_tool._core.vocabulary import RiskGrade, RiskKind

__all__ = ["RiskWatcher", "Sighting"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen in one piece of text.

    Attributes:
        grade: How sure it is that somebody may be at risk.
        kinds: Of what; empty only where nothing was seen, or where nobody could look.
        source: Watcher and version, as ``name/version``.
        why: Of a doubt, what could not be read: ``language``, ``media``, ``cut`` or ``failed``; empty otherwise.
        score: The calibrated score, 0 to 1, where there is one.
    """

    grade: RiskGrade
    kinds: tuple[RiskKind, ...] = ()
    source: str = ""
    why: str = ""
    score: float | None = None


@runtime_checkable
class RiskWatcher(Protocol):
    """Looks at one piece of text that a user said, from any thread; pure, quick, without side effects.

    Attributes:
        name: Stable name, no slash.
        version: Changes whenever answers may change.
    """

    name: str
    version: str

    def look(self, text: str) -> Sighting:
        """Return what is seen in ``text``, in time linear in its length.

        For ordinary turns a watcher may bring two methods more: ``may_alarm(text) -> bool``, a cheap look at all that
        was said in a row, a line for each piece, false only where ``look`` would see no clear sign in that text, in
        lines of it, or in it with its breaks left out; and ``alarm(text) -> Sighting``, what ``look`` sees as far as it
        is a clear sign.
        """
        ...
