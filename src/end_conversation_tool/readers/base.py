"""What a reader is asked and what it answers.

A reader reads a whole transcript and reports findings: what a message shows, by its label, and the very words that show
it. It proposes; code decides:

1. A finding counts only if ``_core.evidence`` finds the quoted words in that message, on the right side.
2. A reader can raise doubt about risk, and can never lift a flag.
3. A reader never raises. One that fails says so, by an ``UnmetCode``, and the end is denied.
"""

from __future__ import annotations

import logging
from typing import Protocol, runtime_checkable

from end_conversation_tool._core.flow import Flow, ask
from end_conversation_tool._core.reading import Finding, Line, Reading, ReadingCase, Usage, failed_reading
from end_conversation_tool._core.vocabulary import UnmetCode

__all__ = ["Finding", "Line", "Reader", "Reading", "ReadingCase", "Usage", "failed_reading", "read_by"]

_log = logging.getLogger(__name__)


@runtime_checkable
class Reader(Protocol):
    """Reads a transcript and quotes what it finds. Never raises.

    Attributes:
        source: Reader and version, as ``name/version``.
    """

    source: str

    def read(self, case: ReadingCase) -> Reading:
        """Return what the transcript shows."""
        ...

    async def aread(self, case: ReadingCase) -> Reading:
        """Async twin of ``read``."""
        ...


def read_by(reader: Reader, case: ReadingCase) -> Flow[Reading]:
    """Have a reader of any make read. One that raises, or answers with something else than a reading, has failed."""
    source = str(getattr(reader, "source", type(reader).__name__))
    try:
        reading: object = yield from ask(reader.read, reader.aread, case)
    except Exception as error:  # noqa: BLE001 - a reader that raises has failed, whatever broke in it
        _log.warning("reader %s raised %s: the end is denied", source, type(error).__name__)
        return failed_reading(source, UnmetCode.READING_FAILED, type(error).__name__)
    if not isinstance(reading, Reading):
        return failed_reading(source, UnmetCode.READING_FAILED, "no_reading")
    return reading
