"""What a guarded step of a raw Anthropic loop gives back: what to append, what to run, whether to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from end_conversation_tool._core.prompts import conversation_end, no_further_step_text, not_run_text
from end_conversation_tool._core.records import TOOL_NAME, DecisionRecord
from end_conversation_tool._core.run import Ruling
from end_conversation_tool._doors.anthropic.wire import Response, get, has_calls, is_user_turn, result_block
from end_conversation_tool.errors import InvalidInputError

__all__ = ["TurnOutcome", "outcome_of"]


@dataclass(frozen=True, slots=True)
class TurnOutcome:
    """What became of one response.

    Attributes:
        ended: Whether the conversation has ended with it.
        conversation_end: For readers, once it ended: ``ended``, ``category``, ``statement``, ``ended_at``, ``options``.
        refused: Whether the provider refused (``stop_reason`` is ``refusal``). The refused turn must leave the history,
            or every further request is refused too: ``extend`` sees to it.
        again: Whether the model is to be asked again, without the user, once the results are appended.
        tool_calls: The calls of your own tools that are to be run now.
        decision: The decision on the model's request to end, where it made one.
        answer: What the model is told about that request.
        closing: What to show the user as the last word of this turn: the statement, the notice, or that somebody is
            still there when the model used up its attempts; empty where there is none. It is in ``messages`` too.
    """

    ended: bool = False
    conversation_end: dict[str, Any] | None = None
    refused: bool = False
    again: bool = False
    tool_calls: tuple[Any, ...] = ()
    decision: DecisionRecord | None = None
    answer: str = ""
    closing: str = ""
    _content: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    _results: Mapping[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def statement(self) -> str:
        """What to tell the user when the conversation has ended; empty otherwise."""
        return str(self.conversation_end["statement"]) if self.conversation_end else ""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What belongs to the history now, when you run no tools of your own; see ``with_results``."""
        return self.with_results()

    def with_results(self, results: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
        """Return what belongs to the history now: the response, and one result for each of its calls.

        A call that has no result gets one that says that it was not run. A refused response leaves nothing.

        Args:
            results: A ``tool_result`` block for each of ``tool_calls``.

        Raises:
            InvalidInputError: A result answers no call that is to be run.
        """
        open_calls = {str(get(call, "id")): call for call in self.tool_calls}
        given = {_answered(position, result, open_calls): dict(result) for position, result in enumerate(results)}
        unrun = {
            call_id: result_block(call, no_further_step_text(str(get(call, "name"))), is_error=True)
            for call_id, call in open_calls.items()
        }
        if self.refused or not self._content:
            return []
        said: list[dict[str, Any]] = [{"role": "assistant", "content": list(self._content)}]
        found = {**self._results, **unrun, **given}
        order = [block["id"] for block in self._content if block["type"] == "tool_use"]
        answered = [{"role": "user", "content": [found[call_id] for call_id in order]}] if order else []
        closed = [{"role": "assistant", "content": self.closing}] if self.closing else []
        return [*said, *answered, *closed]

    def extend(self, messages: list[Any], results: Sequence[Mapping[str, Any]] = ()) -> None:
        """Bring a history up to date, in place.

        Args:
            messages: The history that was sent. After a refusal the refused user turn is taken out of it.
            results: As for ``with_results``.
        """
        if self.refused:
            del messages[_start_of_turn(messages) :]
        messages += self.with_results(results)


def outcome_of(response: Response, ruling: Ruling | None) -> TurnOutcome:
    """Return the outcome of a response that was ruled on."""
    if response.reply.refused:
        return TurnOutcome(
            refused=True, decision=ruling.record if ruling else None, answer=ruling.text if ruling else ""
        )
    seal = ruling.seal if ruling else None
    stops = ruling is not None and ruling.ends_run
    results: dict[str, dict[str, Any]] = {}
    for call in response.calls:
        name = str(get(call, "name"))
        if ruling is not None and name == TOOL_NAME:
            results[str(get(call, "id"))] = result_block(call, ruling.text, is_error=seal is None)
        elif stops:
            text = not_run_text(name) if seal is not None else no_further_step_text(name)
            results[str(get(call, "id"))] = result_block(call, text, is_error=True)
    return TurnOutcome(
        ended=seal is not None,
        conversation_end=conversation_end(seal) if seal is not None else None,
        again=not stops and (bool(response.calls) or response.stop_reason == "pause_turn"),
        tool_calls=() if stops else response.own_calls,
        decision=ruling.record if ruling else None,
        answer=ruling.text if ruling else "",
        closing=ruling.closing if ruling else "",
        _content=response.content,
        _results=results,
    )


def _answered(position: int, result: Mapping[str, Any], open_calls: Mapping[str, Any]) -> str:
    call_id = result.get("tool_use_id") if isinstance(result, Mapping) else None
    if call_id not in open_calls:
        raise InvalidInputError(
            f"results.{position}.tool_use_id: expected the id of one of tool_calls, got {type(call_id).__name__}"
        )
    return str(call_id)


def _start_of_turn(messages: Sequence[Any]) -> int:
    """Return the index of the newest user message that begins a turn: what it follows is a finished answer."""
    for index in range(len(messages) - 1, 0, -1):
        before = messages[index - 1]
        if is_user_turn(messages[index]) and get(before, "role") != "user" and not has_calls(before):
            return index
    return 0
