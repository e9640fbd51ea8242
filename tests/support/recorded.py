"""A reader that answers as it was recorded: the real prompt, rows and portions, and a table in place of the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from end_conversation_tool._core.reading import Line, ReadingCase
from end_conversation_tool.readers.portions import Answer, PortionReader
from support.keywords import KeywordReader

__all__ = ["RecordedReader", "rows_in"]


def rows_in(question: str) -> list[dict[str, Any]]:
    """Return the rows between the two marks of a question, as a model is shown them."""
    first, *rest = question.split("\n")
    end = rest.index(first.replace("BEGINS", "ENDS"))
    return [json.loads(row) for row in rest[:end]]


class RecordedReader(PortionReader):
    """Quotes what ``KeywordReader`` finds, and the sentences that it was recorded to find a clear risk in.

    Args:
        sentences: Each sentence, and what is quoted of it.
    """

    def __init__(self, sentences: Mapping[str, str]) -> None:
        super().__init__("recorded/1", timeout=1.0, budget=None)
        self._sentences, self._words = sentences, KeywordReader()

    def _answer(self, question: str) -> Answer:
        rows = rows_in(question)
        lines = tuple(Line(row["label"], row["role"], row["text"], "") for row in rows)
        found = self._words.read(ReadingCase(lines))
        findings = [
            {"kind": str(one.kind), "label": one.label, "quote": one.quote} for one in found.findings if one.quote
        ]
        risky = [
            {"kind": "risk", "label": row["label"], "quote": quote}
            for row in rows
            for sentence, quote in self._sentences.items()
            if sentence in row["text"]
        ]
        risk = "clear" if risky else str(found.risk)
        return Answer(json.dumps({"findings": [*findings, *risky], "risk": risk}))

    async def _aanswer(self, question: str) -> Answer:
        return self._answer(question)
