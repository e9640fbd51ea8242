"""What a SQL registry does, as flows: the bodies that the sync and the async driver share.

A flow that writes runs in one transaction, and takes the thread's row lock before it looks at the thread: so a flag
that is committed first vetoes every seal, and a seal that is committed first stands.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from sqlalchemy import Insert, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from end_conversation_tool._core.records import DecisionRecord, Record, ThreadStatus
from end_conversation_tool.errors import InvalidInputError, RegistrySchemaError
from end_conversation_tool.registry.erasure import erased_id
from end_conversation_tool.registry.listing import microseconds
from end_conversation_tool.registry.protocol import ThreadEvent
from end_conversation_tool.registry.sql.driver import Flow
from end_conversation_tool.registry.sql.schema import decisions, events, thread_key, threads
from end_conversation_tool.registry.sql.triggers import TRIGGERS, advisory_key
from end_conversation_tool.registry.transitions import Change, Transition
from end_conversation_tool.registry.untouched import untouched

T = TypeVar("T")
R = TypeVar("R", bound=Record)

READ_STATE = "SELECT state FROM ect_threads WHERE thread_key = "
"""The one statement of an ordinary turn; the driver adds its own mark for the parameter."""


def change_thread(dialect: str, thread_id: str, transition: Transition[T]) -> Flow[T]:
    """Lock the thread, run the transition, and write what it makes of it.

    Raises:
        InvalidInputError: The transition refuses its arguments, or a decision of that id is kept already.
        RegistrySchemaError: The state of the thread cannot be read.
    """
    before = yield from lock_thread(dialect, thread_id)
    return (yield from commit(dialect, thread_id, before, transition(before)))


def lock_thread(dialect: str, thread_id: str, *, create: bool = True) -> Flow[ThreadStatus]:
    """Lock the thread until the end of the transaction, and return its state.

    Args:
        dialect: The engine.
        thread_id: The thread.
        create: Whether a thread never heard of gets a row: needed only when its state is to change.
    """
    key = thread_key(thread_id)
    if dialect == "postgresql":
        # The triggers on checkpoints wait for this one: a row lock cannot keep them off a row that is not there yet.
        yield select(func.pg_advisory_xact_lock(advisory_key(key)))
    if create:
        values = {"thread_key": key, **thread_columns(ThreadStatus(thread_id=thread_id))}
        yield insert_unless_there(dialect, threads, values)
    return (yield from read_thread(thread_id, lock=True))


def read_thread(thread_id: str, *, lock: bool = False) -> Flow[ThreadStatus]:
    """Return the state of a thread."""
    found = select(threads.c.state).where(threads.c.thread_key == thread_key(thread_id))
    # FOR UPDATE on PostgreSQL; SQLite ignores it, its transaction has locked the whole file already.
    rows = yield found.with_for_update() if lock else found
    return load_status(thread_id, rows[0][0] if rows else None)


def commit(dialect: str, thread_id: str, before: ThreadStatus, change: Change[T]) -> Flow[T]:
    """Write what became of a thread."""
    key = thread_key(thread_id)
    if change.decision is not None:
        yield from keep_decision(dialect, change.decision)
    for event in change.events:
        yield put_event(key, event)
    if change.status is not before:
        yield update(threads).where(threads.c.thread_key == key).values(**thread_columns(change.status))
    return change.result


def put_event(key: str, event: ThreadEvent) -> Insert:
    """Return the statement that adds a line to the audit trail."""
    return events.insert().values(
        thread_key=key,
        at=microseconds(event.at),
        kind=event.kind.value,
        subject=event.subject,
        policy_version=event.policy_version,
        model=event.model,
        event=event.model_dump_json(),
    )


def keep_decision(dialect: str, record: DecisionRecord) -> Flow[None]:
    """Keep a decision.

    Raises:
        InvalidInputError: One of that id is kept already.
    """
    values = {
        "id": record.id,
        "thread_key": thread_key(record.thread_id),
        "decided_at": microseconds(record.decided_at),
        "outcome": record.outcome.value,
        "category": None if record.category is None else record.category.value,
        "mode": record.mode.value,
        "policy_version": record.decision.policy_version,
        "model": record.model,
        "turn": record.turn,
        "unmet": " ".join(record.decision.unmet),
        "risk": " ".join(record.risk_kinds),
        "breaker": record.breaker_tripped,
        "record": record.model_dump_json(),
    }
    if not (yield insert_unless_there(dialect, decisions, values).returning(decisions.c.number)):
        raise InvalidInputError("record.id: expected a new id, got the id of a decision that is kept already")


def past_events(thread_id: str) -> Flow[tuple[ThreadEvent, ...]]:
    """Return the changes of a thread's state, oldest first."""
    mine = events.c.thread_key == thread_key(thread_id)
    rows = yield select(events.c.event).where(mine).order_by(events.c.number)
    return tuple(load(ThreadEvent, row[0]) for row in rows)


def guard_checkpoints(dialect: str) -> Flow[None]:
    """Put the triggers on the table ``checkpoints`` of this database, unless this version of them is there."""
    triggers = TRIGGERS[dialect]
    if dialect == "postgresql":
        yield text("SELECT pg_advisory_xact_lock(6015379240178)")  # one process after the other
    if not (yield text(triggers.there).bindparams(version=triggers.version)):
        for statement in triggers.statements:
            yield text(statement.replace(":", "\\:"))


def load_status(thread_id: str, state: str | None) -> ThreadStatus:
    """Return the status that ``state`` holds; ``None`` is a thread never heard of.

    Raises:
        RegistrySchemaError: It cannot be read, or belongs to another thread.
    """
    if state is None:
        return untouched(thread_id)
    status = load(ThreadStatus, state)
    if status.thread_id == erased_id(thread_id):
        return status.model_copy(update={"thread_id": thread_id})
    if status.thread_id != thread_id:
        raise RegistrySchemaError("the registry is corrupt: the row of a thread holds the state of another thread")
    return status


def load(model: type[R], stored: str) -> R:
    """Return a stored record; a ``RegistrySchemaError`` when it cannot be read."""
    try:
        return model.model_validate_json(stored)
    except ValidationError as error:
        where = sorted({".".join(str(part) for part in known["loc"]) or "(whole)" for known in error.errors()})
        # Not chained: pydantic's error quotes what is stored, which may be a user's words.
        raise RegistrySchemaError(
            "the registry is corrupt, or is being written by a newer version: "
            f"a stored {model.__name__} cannot be read (at {', '.join(where[:5])})"
        ) from None


def thread_columns(status: ThreadStatus) -> dict[str, object]:
    """Return the columns of a thread's row."""
    return {
        "thread_id": status.thread_id,
        "sequence": status.sequence,
        "branch": status.branch,
        "sealed": status.sealed,
        "at_risk": status.at_risk,
        "state": status.model_dump_json(),
    }


def insert_unless_there(dialect: str, table: object, values: dict[str, object]) -> Insert:
    """Return an INSERT that does nothing where a row of that key exists; both engines spell it alike."""
    if dialect == "postgresql":
        return postgresql.insert(table).values(**values).on_conflict_do_nothing()  # type: ignore[arg-type]
    return sqlite.insert(table).values(**values).on_conflict_do_nothing()  # type: ignore[arg-type]
