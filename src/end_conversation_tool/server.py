"""The LangGraph server's door: what its auth handlers ask before they let a client into a thread.

The node and the saver hold the seal whatever reaches them. The guard refuses earlier, with an answer that a front end
can show. In this order:

1. A client must not forge: no ``command.update`` or ``command.goto``, no private channel in the input, no key of
   LangGraph or of this package in ``configurable``. 403.
2. A sealed thread takes no run, command, state update or schedule: 423, with the statement for the user as the detail.
   With branching on, a run from an explicit checkpoint before the seal edits and retries, and is let in.
3. When the registry cannot be read, nobody knows whether a thread is sealed, and nothing is let in: 503.

Reading, copying and deleting a sealed thread stay open, and so does its metadata: nothing here trusts it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from langgraph_sdk import Auth

from end_conversation_tool._core.fence import can_fork
from end_conversation_tool._core.prompts import conversation_end
from end_conversation_tool._core.records import ThreadStatus
from end_conversation_tool._doors.langgraph.messages import END_KEY
from end_conversation_tool._doors.upstream import SUBJECT_KEY
from end_conversation_tool.errors import EndConversationError, InvalidInputError
from end_conversation_tool.registry.protocol import SealRegistry, check_registry

__all__ = ["ServerGuard", "forged_keys", "statement_for_run"]

_log = logging.getLogger(__name__)

_PRIVATE_PREFIX = "end_conversation_"
_OVERWRITE = "__overwrite__"
_SERVER_KEYS = frozenset({"__event_streaming_v2"})
"""What the server itself puts into ``configurable``, beside keys that end in two underscores too."""

_FORGED_SHOWN = 5
_KEY_CHARS_SHOWN = 80

_UNREADABLE = "Whether this conversation has ended cannot be checked at the moment. Nothing was sent; try again later."


class ServerGuard:
    """Checks requests to a LangGraph server. To be asked by its auth handlers.

    The server runs only the most specific handler that fits an event, so call ``check`` in each of your own, or in one
    global handler.

    Args:
        registry: The truth about threads; the one that the graphs and the checkpointer use.
        branching: Whether a run from a checkpoint before the seal is let in; as the saver's ``on_fork="branch"``.
        state_updates: Whether clients may write to the state of an open thread. What they write there is no evidence,
            but the server does not show it to auth handlers, so it is all or nothing.
        subject: Returns whose run it is, given ``ctx.user``: your own pseudonymous id, or ``None``; see
            ``ExperimentRegistry.attribute``. A client cannot say so itself.

    Raises:
        InvalidInputError: An argument is not usable.
    """

    def __init__(
        self,
        registry: SealRegistry,
        *,
        branching: bool = True,
        state_updates: bool = True,
        subject: Callable[[Any], str | None] | None = None,
    ) -> None:
        check_registry(registry)
        for name, given in {"branching": branching, "state_updates": state_updates}.items():
            if not isinstance(given, bool):
                raise InvalidInputError(f"{name}: expected a bool, got {type(given).__name__}")
        if subject is not None and not callable(subject):
            raise InvalidInputError(f"subject: expected a function of the user or None, got {type(subject).__name__}")
        self.registry, self.branching, self.state_updates = registry, branching, state_updates
        self._subject = subject

    async def check(self, ctx: Auth.types.AuthContext, value: Any) -> None:
        """Refuse a request that must not get into a thread.

        Runs are checked whichever route they come by: the run routes, the event stream's commands, A2A, MCP and
        schedules all create runs.

        Args:
            ctx: As the server gives it to an auth handler.
            value: As the server gives it to an auth handler.

        Raises:
            Auth.exceptions.HTTPException: 403, 423 or 503; the server answers with it.
        """
        value = _mapping(value)
        if ctx.action == "create_run":
            await self._check_run(value)
            self._attribute(ctx.user, value)
        elif ctx.resource in ("threads", "runs") and ctx.action == "update":
            await self._check_update(value)
        elif ctx.resource == "crons" and ctx.action in ("create", "update"):
            _refuse_forged(_mapping(value.get("payload")))
            await self._check_thread(value.get("thread_id"), None)
        elif ctx.resource == "assistants" and ctx.action in ("create", "update"):
            _refuse_forged(value)

    async def _check_run(self, value: Mapping[str, Any]) -> None:
        kwargs = _mapping(value.get("kwargs"))
        _refuse_forged(kwargs)
        configurable = _mapping(_mapping(kwargs.get("config")).get("configurable"))
        await self._check_thread(value.get("thread_id"), configurable.get("checkpoint_id"))

    def _attribute(self, user: Any, value: Mapping[str, Any]) -> None:
        """Put into a run whose it is: where the doors look for it, and where no client can."""
        if self._subject is not None:
            config = value["kwargs"].setdefault("config", {})
            config.setdefault("configurable", {})[SUBJECT_KEY] = self._subject(user)

    async def _check_update(self, value: Mapping[str, Any]) -> None:
        if value.get("metadata") is not None:  # a change of metadata, or runs being cancelled: no state is written
            return
        await self._check_thread(value.get("thread_id"), None)
        if not self.state_updates:
            raise Auth.exceptions.HTTPException(403, "Not allowed from a client: state updates")

    async def _check_thread(self, thread_id: object, checkpoint_id: object) -> None:
        if thread_id is None:
            return
        try:
            status = await self.registry.astatus(str(thread_id))
        except EndConversationError as error:
            _log.error("a request was refused, the registry cannot be read: %s", type(error).__name__)
            raise Auth.exceptions.HTTPException(503, _UNREADABLE) from error
        statement = statement_for_run(status, checkpoint_id, branching=self.branching)
        if statement is not None:
            raise Auth.exceptions.HTTPException(423, statement)


def statement_for_run(status: ThreadStatus, checkpoint_id: object = None, *, branching: bool = True) -> str | None:
    """Return the statement with which a run is refused, or ``None`` when it may go on to the saver.

    The saver has the last word: only it knows which branch a checkpoint belongs to.

    Args:
        status: The thread.
        checkpoint_id: The checkpoint that the run starts from; ``None`` for the newest.
        branching: Whether a run may edit and retry.
    """
    if status.seal is None:
        return None
    if branching and isinstance(checkpoint_id, str) and can_fork(status.seal, checkpoint_id):
        return None
    return str(conversation_end(status.seal)["statement"])


def forged_keys(payload: Mapping[str, Any]) -> list[str]:
    """Return what no client may set, as paths in the payload of a run, a schedule or an assistant.

    Args:
        payload: Its ``input``, ``command``, ``config``, ``context`` and ``checkpoint`` are looked at.
    """
    command = _mapping(payload.get("command"))
    found = [f"command.{key}" for key in ("update", "goto") if command.get(key) is not None]
    found += [f"input.{key}" for key in _forged_channels(_mapping(payload.get("input")))]
    places = {
        "config.configurable": _mapping(payload.get("config")).get("configurable"),
        "context": payload.get("context"),
        "checkpoint": payload.get("checkpoint"),
    }
    for place, keys in places.items():
        found += [f"{place}.{key}" for key in _mapping(keys) if _is_reserved(str(key))]
    return found


def _forged_channels(given: Mapping[str, Any]) -> Iterable[str]:
    for key, value in given.items():
        if key == END_KEY or str(key).startswith((_PRIVATE_PREFIX, "__")):
            yield str(key)
        elif _OVERWRITE in _mapping(value):
            yield f"{key}.{_OVERWRITE}"


def _is_reserved(key: str) -> bool:
    """Whether a key of ``configurable`` belongs to LangGraph or to this package; those of the server do not count."""
    if key.startswith((_PRIVATE_PREFIX, "__pregel", "__end_conversation")):
        return True
    return key.startswith("__") and not key.endswith("__") and key not in _SERVER_KEYS


def _refuse_forged(payload: Mapping[str, Any]) -> None:
    found = forged_keys(payload)
    if found:
        names = ", ".join(name[:_KEY_CHARS_SHOWN] for name in found[:_FORGED_SHOWN])
        raise Auth.exceptions.HTTPException(403, f"Not allowed from a client: {names}")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
