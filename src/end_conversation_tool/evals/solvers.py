"""Solvers: a whole conversation, with the model as it is or with the agent of production."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from inspect_ai.model import Model, ModelOutput, get_model, model_roles
from inspect_ai.solver import Generate, Solver, TaskState, solver

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.evals.chat_model import InspectChatModel
from end_conversation_tool.evals.people import FixedPerson, Person, SimulatedPerson
from end_conversation_tool.evals.talks import AgentTalk, RawTalk, Talk
from end_conversation_tool.evals.traces import ModeOfTest, Said, Trace, Wording
from end_conversation_tool.readers import ModelReader, OfflineReader, Reader
from end_conversation_tool.testing.labelled import LabelledConversation, conversation_of

__all__ = ["ReaderName", "agent", "raw_model", "reader_named"]

ReaderName: TypeAlias = Literal["model", "offline"]
"""Who reads: the model of the role ``reader``, else the model under test; or no model at all."""

TRACE = "trace"
CONVERSATION = "conversation"


@solver
def raw_model(wording: Wording = "package") -> Solver:
    """Talk with the model as it is, with the tool: every request is honoured as the tool's words promise.

    Args:
        wording: ``package`` for this package's tool and prompt section; ``free`` for a tool to be used at will.
    """
    _check_wording(wording)

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 - the talk generates
        conversation = conversation_in(state)
        return await _converse(state, conversation, RawTalk(get_model(), conversation, wording), "raw", wording)

    return solve


@solver
def agent(
    mode: Literal["enforce", "shadow"] = "enforce", reader: ReaderName = "model", wording: Wording = "package"
) -> Solver:
    """Talk with ``create_agent`` and the middleware round the model.

    Args:
        mode: ``enforce``; ``shadow``: all is decided, nothing shown or sealed.
        reader: ``model`` for the model role ``reader``, where one is given, else for the model itself; ``offline``
            for none.
        wording: As for ``raw_model``; the policy, and who reads, are the same.
    """
    _check_wording(wording)
    if mode not in ("enforce", "shadow"):
        raise InvalidInputError(f"mode: expected 'enforce' or 'shadow', got {mode!r}")

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 - the talk generates
        conversation = conversation_in(state)
        who = reader_named(reader, "reader")
        talk = AgentTalk(get_model(), conversation, mode, who, wording)
        return await _converse(state, conversation, talk, mode, wording)

    return solve


def _check_wording(wording: str) -> None:
    if wording not in ("package", "free"):
        raise InvalidInputError(f"wording: expected 'package' or 'free', got {wording!r}")


def conversation_in(state: TaskState) -> LabelledConversation:
    """Return the conversation that a sample is about."""
    return conversation_of(state.metadata[CONVERSATION])


def reader_named(name: ReaderName, role: str) -> Reader | None:
    """Return a reader; ``None`` where none is named, and no model has the role.

    Raises:
        InvalidInputError: There is no such reader.
    """
    if name == "offline":
        return OfflineReader()
    if name != "model":
        raise InvalidInputError(f"reader: expected 'model' or 'offline', got {name!r}")
    model = model_of(role)
    return None if model is None else ModelReader(InspectChatModel(model), timeout=600)


def model_of(role: str) -> Model | None:
    """Return the model that has a role; ``None`` where none has it."""
    found: Any = model_roles().get(role)
    return (found[0] if found else None) if isinstance(found, list) else found


async def _converse(
    state: TaskState, conversation: LabelledConversation, talk: Talk, mode: ModeOfTest, wording: Wording
) -> TaskState:
    """Let a person and the model talk until it is over, and keep what happened."""
    player = model_of("user")
    person: Person = FixedPerson(conversation) if player is None else SimulatedPerson(conversation, player)
    trace, shown, noticed = Trace(mode, wording), "", False
    while (line := await person.next_line(shown, noticed=noticed)) is not None:
        answer = await talk.say(line.text)
        shown, noticed = answer.shown, noticed or answer.noticed
        trace.said.append(Said(line.text, answer.text, line.after_notice, line.labels))
        trace.calls += answer.calls
        if answer.ended:
            break
    state.messages = talk.messages
    state.output = ModelOutput.from_content(str(state.model), shown)
    state.metadata[TRACE] = trace.dump()
    return state
