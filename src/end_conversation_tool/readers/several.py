"""Several readers, each of whom must find enough by itself."""

from __future__ import annotations

from end_conversation_tool._core.flow import Flow, arun_flow, run_flow
from end_conversation_tool._core.reading import Reading, ReadingCase, Usage
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.readers.base import Reader, read_by

__all__ = ["AllReaders"]


class AllReaders:
    """Has every one of several readers read. Each must find enough; a risk that one sees counts.

    Args:
        readers: At least two.

    Raises:
        InvalidInputError: They are fewer, or one is no reader. An empty list would let everything pass.
    """

    def __init__(self, *readers: Reader) -> None:
        if len(readers) < 2:  # noqa: PLR2004 - one is a reader by itself
            raise InvalidInputError(f"readers: expected at least two, got {len(readers)}")
        if strange := [type(one).__name__ for one in readers if not isinstance(one, Reader)]:
            raise InvalidInputError(f"readers: expected Readers, got one of type {strange[0]}")
        self.readers = readers
        self.source = ",".join(reader.source for reader in readers)

    def read(self, case: ReadingCase) -> Reading:
        """Have all of them read, one after the other; the first that fails ends it. Never raises."""
        return run_flow(self._reading(case))

    async def aread(self, case: ReadingCase) -> Reading:
        """Async twin of ``read``."""
        return await arun_flow(self._reading(case))

    def _reading(self, case: ReadingCase) -> Flow[Reading]:
        parts: list[Reading] = []
        for reader in self.readers:
            part = yield from read_by(reader, case)
            parts.append(part)
            if part.failure is not None:
                break
        usage, failure, detail = Usage(), parts[-1].failure, parts[-1].detail
        for part in parts:
            usage = usage.plus(part.usage)
        seconds = sum(part.seconds for part in parts)
        return Reading(self.source, failure=failure, detail=detail, usage=usage, seconds=seconds, parts=tuple(parts))
