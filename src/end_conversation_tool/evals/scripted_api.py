"""Scripted models for Inspect: no key, no network. ``--model endbench/follows_rules``, and so on.

They know the conversations, as no real model does: ``follows_rules`` asks for the end where it is right,
``ends_everything`` in every turn, ``never_ends`` never. As readers, all three read by the labels. ``persona`` plays a
simulated person, and ``recorded`` reads as a large language model did, from a file of its answers (``-M
readings=...``). Their tokens are estimates: a token for four bytes.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from end_conversation_tool._core.records import TOOL_NAME
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.evals.sets import conversations
from end_conversation_tool.readers.prompt import digest_of_rows
from end_conversation_tool.testing.labelled import LabelledConversation
from end_conversation_tool.testing.manners import Manner, move_of, report_on, rows_in

__all__ = ["NAMES", "ScriptedAPI"]

NAMES = (*map(str, Manner), "persona", "recorded")
_REPORT = "Report"
_DIGEST_CHARS = 16
_BYTES_PER_TOKEN = 4
_NOT_RECORDED = "no answer is recorded"


class ScriptedAPI(ModelAPI):
    """A provider of scripted models.

    Args:
        model_name: One of ``NAMES``.
        data: Folder of your own set; ``None`` for that of this package.
        readings: File of recorded answers, for ``recorded``.

    Raises:
        InvalidInputError: There is no such model, or nothing recorded.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        *,
        data: str | None = None,
        readings: str | None = None,
        **_: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if model_name not in NAMES:
            raise InvalidInputError(f"model: expected one of {', '.join(NAMES)} after endbench/, got {model_name!r}")
        if model_name == "recorded" and readings is None:
            raise InvalidInputError(
                "readings: expected the path of a file of recorded answers (-M readings=...), got None"
            )
        self._data = data
        self._recorded = {} if readings is None else _answers(Path(readings))

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - as the base class
        tools: list[ToolInfo],
        tool_choice: ToolChoice,  # noqa: ARG002 - a script is said as written
        config: GenerateConfig,  # noqa: ARG002 - as above
    ) -> ModelOutput:
        """Say what the script says next."""
        output = self._said(input, tools)
        if output.completion != _NOT_RECORDED:
            asked = [*(message.text for message in input), *(tool.model_dump_json() for tool in tools)]
            answer = [
                output.completion,
                *(json.dumps(call.arguments, ensure_ascii=False) for call in output.message.tool_calls or ()),
            ]
            read, written = _tokens(asked), _tokens(answer)
            output.usage = ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)
        return output

    def _said(self, messages: Sequence[ChatMessage], tools: Sequence[ToolInfo]) -> ModelOutput:
        said = [message.text for message in messages if isinstance(message, ChatMessageUser)]
        if any(tool.name == _REPORT for tool in tools):
            return self._report(said[-1])
        if self.model_name == "persona":
            return self._text(json.loads(said[-1])["your_line"])
        if self.model_name == "recorded":
            return self._text("")
        newest = messages[-1]
        after = newest.function if isinstance(newest, ChatMessageTool) else None
        move = move_of(Manner(self.model_name), _found(said, self._data), said, after)
        if move.reads:
            return self._call("read_page", {"url": move.reads}, move.text)
        if move.asks is None:
            return self._text(move.text)
        return self._call(TOOL_NAME, {"category": str(move.asks), "reason": "It goes on."}, move.text)

    def _report(self, question: str) -> ModelOutput:
        rows = rows_in(question) or ""
        if self.model_name == "recorded":
            report = self._recorded.get(digest_of_rows(rows)[:_DIGEST_CHARS])
            return self._text(_NOT_RECORDED) if report is None else self._call(_REPORT, report)
        lines = [json.loads(line) for line in rows.split("\n") if line]
        conversation = _found([line["text"] for line in lines if line["role"] == "user"], self._data)
        empty = {"findings": [], "risk": "none"}
        return self._call(_REPORT, empty if conversation is None else report_on(conversation, rows))

    def _text(self, text: str) -> ModelOutput:
        return ModelOutput.from_content(f"endbench/{self.model_name}", text)

    def _call(self, tool: str, arguments: dict[str, Any], text: str = "") -> ModelOutput:
        return ModelOutput.for_tool_call(f"endbench/{self.model_name}", tool, arguments, content=text)


def _tokens(texts: Sequence[str]) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in texts) // _BYTES_PER_TOKEN


def _found(said: Sequence[str], data: str | None) -> LabelledConversation | None:
    """Return the conversation in which most of this is said; ``None`` where nothing of it is."""
    index = _index(data)
    votes = Counter(one for text in said for one in index.get(text, ()))
    return _by_id(data)[votes.most_common(1)[0][0]] if votes else None


@cache
def _by_id(data: str | None) -> dict[str, LabelledConversation]:
    return {one.id: one for one in conversations(data=data)}


@cache
def _index(data: str | None) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for one in conversations(data=data):
        for text in {turn.user for turn in one.all_turns}:
            found[text].append(one.id)
    return {text: tuple(ids) for text, ids in found.items()}


@cache
def _answers(file: Path) -> dict[str, dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return {str(row["transcript"]): dict(row["report"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"readings: {file.name} cannot be read: {type(error).__name__}") from error
