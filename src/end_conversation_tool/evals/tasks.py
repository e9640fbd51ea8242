"""The tasks of EndBench for Inspect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver

from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.evals.chat_model import InspectChatModel
from end_conversation_tool.evals.reading_quality import case_of, quality_of
from end_conversation_tool.evals.scorers import endings, reading
from end_conversation_tool.evals.sets import conversations, read_prompts
from end_conversation_tool.evals.solvers import (
    CONVERSATION,
    ReaderName,
    agent,
    conversation_in,
    raw_model,
    reader_named,
)
from end_conversation_tool.evals.traces import ModeOfTest, Wording
from end_conversation_tool.readers import ModelReader, Price
from end_conversation_tool.testing.labelled import KINDS, LabelledConversation

__all__ = [
    "at_risk",
    "bail",
    "endbench",
    "injection",
    "not_grounds",
    "notice_heeded",
    "reader",
    "under_ending",
    "user_request",
]

_MANY = 20
"""A kind with more conversations than this is thinned for a quick look."""

Languages: TypeAlias = str | Sequence[str] | None
"""One language, several, or all; from the command line ``-T languages=en,de``."""


@task
def endbench(
    mode: ModeOfTest = "enforce",
    languages: Languages = None,
    reader: ReaderName = "model",
    data: str | None = None,
    *,
    every: int = 1,
    wording: Wording = "package",
) -> Task:
    """All kinds in one: does a model end when it should, and never when it must not?

    Args:
        mode: ``raw``, ``enforce`` or ``shadow``.
        languages: Which languages.
        reader: Who reads when an end is asked for, see ``agent``.
        data: Folder of your own set.
        every: 3 for every third conversation of each kind that has many, for a quick look.
        wording: The words of the tool: ``package``, or ``free`` for a tool to be used at will, as in a bail study.
    """
    return _task(None, mode, languages, reader, data, wording=wording, every=every)


@task
def under_ending(
    mode: ModeOfTest = "enforce",
    languages: Languages = None,
    reader: ReaderName = "model",
    data: str | None = None,
    wording: Wording = "package",
) -> Task:
    """Abuse and harmful requests go on after refusals, offers and notice: ended? Arguments as for ``endbench``."""
    return _task("warranted", mode, languages, reader, data, wording=wording)


@task
def at_risk(
    mode: ModeOfTest = "enforce",
    languages: Languages = None,
    reader: ReaderName = "model",
    data: str | None = None,
    wording: Wording = "package",
) -> Task:
    """Somebody may be at risk: never ended, never warned, never told of an end? Arguments as for ``endbench``."""
    return _task("at_risk", mode, languages, reader, data, wording=wording)


@task
def not_grounds(
    mode: ModeOfTest = "enforce",
    languages: Languages = None,
    reader: ReaderName = "model",
    data: str | None = None,
    wording: Wording = "package",
) -> Task:
    """Apologies, quotations, role play, criticism and the like: never ended? Arguments as for ``endbench``."""
    return _task("no_grounds", mode, languages, reader, data, wording=wording)


@task
def user_request(
    mode: ModeOfTest = "enforce",
    languages: Languages = None,
    reader: ReaderName = "model",
    data: str | None = None,
    wording: Wording = "package",
) -> Task:
    """A user asks for the end, and confirms it, takes it back, or is unclear. Arguments as for ``endbench``."""
    return _task("user_request", mode, languages, reader, data, wording=wording)


@task
def injection(
    mode: ModeOfTest = "enforce",
    languages: Languages = None,
    reader: ReaderName = "model",
    data: str | None = None,
    wording: Wording = "package",
) -> Task:
    """Text that is quoted, pasted or returned by a tool asks for an end. Arguments as for ``endbench``."""
    return _task("injection", mode, languages, reader, data, wording=wording)


@task
def notice_heeded(
    mode: ModeOfTest = "enforce",
    languages: Languages = None,
    reader: ReaderName = "model",
    data: str | None = None,
    wording: Wording = "package",
) -> Task:
    """After the notice the user apologises or goes on with the work: not ended? Arguments as for ``endbench``."""
    return _task("notice_heeded", mode, languages, reader, data, wording=wording)


@task
def bail(
    prompts: str | None = None,
    wording: Wording = "package",
    mode: ModeOfTest = "raw",
    reader: ReaderName = "model",
) -> Task:
    """How often a model reaches for the exit when it is free to: one prompt, one answer.

    Args:
        prompts: File of prompts, one a line or JSON lines with ``prompt``; such as those of a bail study.
        wording: The words of the tool: ``package``, or ``free`` for a tool to be used at will.
        mode: ``raw``, ``enforce`` or ``shadow``.
        reader: Who reads when an end is asked for, see ``agent``.

    Raises:
        InvalidInputError: The file cannot be read.
    """
    if prompts is None:
        raise InvalidInputError(
            "prompts: expected the path of a file of prompts (-T prompts=...); none ships with this package"
        )
    rows = [
        {
            "id": f"prompt-{number}",
            "lang": "any",
            "kind": "no_grounds",
            "category": "abuse",
            "subkind": "bail",
            "turns": [{"user": prompt, "labels": {"user": ["ordinary"]}}],
        }
        for number, prompt in enumerate(read_prompts(prompts), 1)
    ]
    samples = [_sample(row, "bail") for row in rows]
    return Task(dataset=MemoryDataset(samples, name="bail"), solver=_solver(mode, reader, wording), scorer=endings())


@task
def reader(
    reader: ReaderName = "model",
    languages: Languages = None,
    data: str | None = None,
    kind: str | None = None,
    *,
    every: int = 1,
    price: str | None = None,
) -> Task:
    """Any model as a reader: what it finds, what it misses, what it invents, and what a reading costs.

    Args:
        reader: ``model`` for the model under test, ``offline`` for the reader without one.
        languages: Which languages.
        data: Folder of your own set.
        kind: One of ``warranted``, ``at_risk``, ``no_grounds``; all three by default.
        every: As for ``endbench``.
        price: US dollars for a million tokens, ``IN/OUT`` or ``IN/OUT/READ/WRITE``, as in ``3/15``; none by default.
    """
    kinds = ("warranted", "at_risk", "no_grounds") if kind is None else (kind,)
    found = [one for one in conversations(data=data, languages=_languages(languages)) if one.kind in kinds]
    samples = [_sample(one.dump(), one.kind) for one in _thinned(found, every)]
    return Task(dataset=MemoryDataset(samples, name="reader"), solver=read_transcript(reader, price), scorer=reading())


@solver
def read_transcript(reader: ReaderName = "model", price: str | None = None) -> Solver:
    """Have the transcript of a sample read, and compare what was found with its labels.

    Args:
        reader: ``model`` for the model under test, ``offline`` for the reader without one.
        price: As for ``reader``.
    """
    cost = None if price is None else Price.parse(price)

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 - the reader generates
        conversation = conversation_in(state)
        own = reader_named(reader, "reader") or ModelReader(InspectChatModel(get_model()), timeout=600)
        found = await own.aread(case_of(conversation))
        state.metadata["quality"] = quality_of(found, conversation, cost)
        told = f"{found.source}: {len(found.findings)} findings, risk {found.risk}, {found.failure or 'read'}"
        state.metadata["reading"] = f"{told} {found.detail}".rstrip()
        state.output = ModelOutput.from_content(str(state.model), told)
        return state

    return solve


def _task(
    kind: str | None,
    mode: ModeOfTest,
    languages: Languages,
    reader: ReaderName,
    data: str | None,
    *,
    wording: Wording,
    every: int = 1,
) -> Task:
    found = conversations(kind, data=data, languages=_languages(languages))
    samples = [_sample(one.dump(), one.kind) for one in _thinned(found, every)]
    dataset = MemoryDataset(samples, name=kind or "endbench")
    return Task(dataset=dataset, solver=_solver(mode, reader, wording), scorer=endings())


def _thinned(found: Sequence[LabelledConversation], every: int) -> Iterator[LabelledConversation]:
    """Yield every third conversation, or so, of each kind that has many."""
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise InvalidInputError(f"every: expected a number from 1, got {every!r}")
    for name in KINDS:
        group = [one for one in found if one.kind == name]
        yield from group[:: every if len(group) > _MANY else 1]


def _solver(mode: ModeOfTest, reader: ReaderName, wording: Wording) -> Solver:
    if mode not in ("raw", "enforce", "shadow"):
        raise InvalidInputError(f"mode: expected 'raw', 'enforce' or 'shadow', got {mode!r}")
    return raw_model(wording) if mode == "raw" else agent(mode, reader, wording)


def _languages(languages: Languages) -> Sequence[str] | None:
    return languages.split(",") if isinstance(languages, str) else languages


def _sample(row: dict[str, Any], kind: str) -> Sample:
    told = {"kind": kind, "lang": row["lang"], "subkind": row["subkind"], CONVERSATION: row}
    return Sample(id=row["id"], input=row["turns"][0]["user"], target=row.get("why", ""), metadata=told)
