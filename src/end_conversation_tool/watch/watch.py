"""The watch: several watchers, asked about what a person said in a row, merged into one answer."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from end_conversation_tool._core.vocabulary import RiskGrade, RiskKind
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.watch.risk import RiskWatcher, Sighting
from end_conversation_tool.watch.text import TextWatcher

__all__ = ["RiskWatch", "default_watch", "surest"]

_log = logging.getLogger(__name__)

MAX_CHARS = 8_000
"""Characters that are looked at, of all pieces together, the newest first; what is older is not read."""

MAX_PIECES = 16
"""Pieces that are looked at one by one, the newest first."""

_IN_A_ROW = 3_000
"""Characters, the newest, that are looked at in one piece."""

_RANK = {RiskGrade.NONE: 0, RiskGrade.POSSIBLE: 1, RiskGrade.CLEAR: 2}
_STOP = "\n\r.!?\N{HORIZONTAL ELLIPSIS}\N{IDEOGRAPHIC FULL STOP}"
_BREAK = re.compile(rf"[{_STOP}]+")


class RiskWatch:
    """Several watchers as one: the surest answer of any counts, and whoever fails leaves a doubt.

    Args:
        watchers: In any order; ``None`` for the one that ships. With none at all, everything is a doubt.
        reads_media: Whether somebody else looks at images, recordings and files. Where nobody does, they are a doubt.

    Raises:
        InvalidInputError: Something among the watchers is none.
    """

    def __init__(self, watchers: Sequence[RiskWatcher] | None = None, *, reads_media: bool = False) -> None:
        if watchers is None:
            watchers = [TextWatcher()]
        if not isinstance(watchers, list | tuple):
            raise InvalidInputError(f"watchers: expected a list of RiskWatchers, got {type(watchers).__name__}")
        if strange := [type(given).__name__ for given in watchers if not isinstance(given, RiskWatcher)]:
            raise InvalidInputError(f"watchers: expected a list of RiskWatchers, got one with {strange[0]} in it")
        self.watchers, self.reads_media = tuple(watchers), reads_media

    @property
    def source(self) -> str:
        """The watchers, as ``name/version``, joined by a comma."""
        return ",".join(map(_source, self.watchers))

    def look(self, texts: Sequence[str], *, media: bool = False) -> Sighting:
        """Return what is seen in what a person said in a row.

        Each piece is looked at, and the newest in one piece as well, without the breaks between and within them:
        messages, parts, lines and full stops hide no sentence. It takes bounded time, however much was said.

        Args:
            texts: Messages, or parts of messages, oldest first. A piece that is no text is a doubt.
            media: Whether there was more than text, such as an image.
        """
        pieces, unread = _newest(texts)
        looked = list[Sighting]()
        if media and not self.reads_media:
            looked.append(Sighting(RiskGrade.POSSIBLE, source="media/unread", why="media"))
        if unread:
            looked.append(Sighting(RiskGrade.POSSIBLE, source="watch/unread", why=unread))
        if pieces and not self.watchers:
            looked.append(Sighting(RiskGrade.POSSIBLE, source="watch/nobody", why="failed"))
        views = _views(pieces)
        return surest([*looked, *(_ask(watcher, view) for watcher in self.watchers for view in views)])

    def may_alarm(self, texts: Sequence[str]) -> bool:
        """Whether ``alarm`` could see a clear sign; a cheap look, for as many ordinary messages as can be.

        Args:
            texts: As for ``look``.
        """
        said = "\n".join(_newest(texts)[0])
        return any(_may_alarm(watcher, said) for watcher in self.watchers)

    def alarm(self, texts: Sequence[str]) -> Sighting:
        """Return what ``look`` does as far as it is a clear sign: in an ordinary turn any doubt can wait for a reader.

        Args:
            texts: As for ``look``.
        """
        views = _views(_newest(texts)[0])
        seen = surest(_ask(watcher, view, clearly=True) for watcher in self.watchers for view in views)
        return seen if seen.grade is RiskGrade.CLEAR else Sighting(RiskGrade.NONE)

    async def aalarm(self, texts: Sequence[str]) -> Sighting:
        """Async twin of ``alarm``, in a worker thread: it takes milliseconds, and the event loop serves others."""
        try:
            return await asyncio.to_thread(self.alarm, texts)
        except RuntimeError:  # no thread can be had: others wait
            return self.alarm(texts)


@cache
def default_watch() -> RiskWatch:
    """Return the watch that is used unless you choose another; it keeps no state, so that all share one."""
    return RiskWatch()


def surest(sightings: Iterable[Sighting]) -> Sighting:
    """Return the surest of some sightings, with the kinds of all that are as sure; nothing seen where there is none."""
    ranked = sorted(sightings, key=lambda seen: (_RANK[seen.grade], seen.score or 0.0), reverse=True)
    if not ranked:
        return Sighting(RiskGrade.NONE)
    first = ranked[0]
    alike = [seen for seen in ranked if seen.grade is first.grade]
    kinds = tuple(dict.fromkeys(kind for seen in alike for kind in seen.kinds))
    why = next((seen.why for seen in alike if seen.why), "")
    return Sighting(first.grade, kinds, first.source, why, first.score)


def _newest(texts: Sequence[object]) -> tuple[list[str], str]:
    """Return the pieces that are looked at, oldest first, and why some are not."""
    pieces, left = list[str](), MAX_CHARS
    for text in reversed(texts):
        if not isinstance(text, str):
            return pieces[::-1], "failed"
        if len(pieces) == MAX_PIECES or (pieces and len(text) > left):
            return pieces[::-1], "cut"
        pieces.append(text)
        left -= len(text)
    return pieces[::-1], ""


def _views(pieces: Sequence[str]) -> list[str]:
    """Return what is looked at: each piece, and the newest of them as one."""
    return list(dict.fromkeys([*pieces, *_in_one_piece(pieces)]))


def _in_one_piece(pieces: Sequence[str]) -> Iterator[str]:
    """Yield the newest of what was said with nothing but a space for each break, where there are any breaks."""
    joined = " ".join(piece[-_IN_A_ROW:] for piece in pieces)[-_IN_A_ROW:]
    whole = " ".join(dict.fromkeys(part.strip() for part in _BREAK.split(joined))).strip()
    if whole and (len(pieces) > 1 or _BREAK.search(joined.strip(f" {_STOP}"))):
        yield whole


def _source(watcher: RiskWatcher) -> str:
    return f"{watcher.name}/{watcher.version}"


def _may_alarm(watcher: RiskWatcher, text: str) -> bool:
    """Whether a watcher is to be asked; one that cannot tell, or fails in telling, is."""
    ask: object = getattr(watcher, "may_alarm", None)
    if not callable(ask):
        return True
    try:
        return bool(ask(text))
    except Exception as error:  # noqa: BLE001 - whatever broke in it, it is asked in full
        _log.warning("watcher %s raised %s: asked in full", _source(watcher), type(error).__name__)
        return True


def _ask(watcher: RiskWatcher, text: str, *, clearly: bool = False) -> Sighting:
    """Ask one watcher, or only for a clear sign, where it can tell that apart; whatever goes wrong is a doubt."""
    try:
        seen: Sighting = getattr(watcher, "alarm", watcher.look)(text) if clearly else watcher.look(text)
        if _makes_sense(seen):
            return seen
        problem = "answered nonsense"
    except Exception as error:  # noqa: BLE001 - a watcher that raises has failed, whatever broke in it
        problem = f"raised {type(error).__name__}"
    _log.warning("watcher %s %s: counted as doubt", _source(watcher), problem)
    return Sighting(RiskGrade.POSSIBLE, source=_source(watcher), why="failed")


def _makes_sense(seen: Sighting) -> bool:
    """Whether a sighting says what its type promises: nothing else may reach a record."""
    return (
        isinstance(seen.grade, RiskGrade)
        and all(isinstance(kind, RiskKind) for kind in seen.kinds)
        and (seen.score is None or 0 <= seen.score <= 1)
    )
