"""What all doors have in common: their options, and how a run that stops here is closed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, TypedDict, Unpack

from end_conversation_tool._core.operations import CircuitBreaker
from end_conversation_tool._core.policy import PRESETS, EndConversationPolicy
from end_conversation_tool._core.records import Mode
from end_conversation_tool._core.texts import OwnTexts, Texts
from end_conversation_tool._gate.gate import Gate
from end_conversation_tool.errors import InvalidInputError
from end_conversation_tool.operations.telemetry import Sink
from end_conversation_tool.readers import AllReaders, OfflineReader, Reader
from end_conversation_tool.registry.protocol import SealRegistry, check_registry
from end_conversation_tool.watch import RiskWatch, default_watch

__all__ = ["Confirm", "DoorOptions", "ModeName", "OnSealed", "check_names", "check_reader", "create_gate"]

_log = logging.getLogger(__name__)

OnSealed = Literal["raise", "respond"]
Confirm = Literal["interrupt"]
ModeName = Mode | Literal["enforce", "shadow", "off"]


class DoorOptions(TypedDict, total=False):
    """What every door takes besides: all optional.

    Attributes:
        policy: When an end is permitted, or the name of a preset; ``None`` for the default policy.
        mode: Overrides ``policy.mode``; ``None`` leaves it.
        watch: Who looks at each user message for risk; ``None`` for the watch of this package.
        language: The language of what the user reads, ``en`` by default; see ``texts.LANGUAGES``.
        texts: The host's own words for notice and statement, by category, or made by a function.
        help_text: Who helps, such as the helplines of the host's country; stands in the notice and the statement.
        keep_reasons: Whether the model's reason and the quotes, which are the user's words, are kept; ``True`` by
            default.
        sinks: Who is told of decisions, refusals, alarms and violations; see ``telemetry``.
        breaker: Turns enforcement into shadow mode when too many conversations end; ``None`` for none.
        count_threads: Share of the threads, 0 to 1, that are counted when they begin; 0 by default.
        asking_tools: Names of your tools that ask the user: the watch listens to their results as to the user's own
            words. Those of all other tools are read when an end is asked for.
    """

    policy: EndConversationPolicy | str | None
    mode: ModeName | None
    watch: RiskWatch | None
    language: str
    texts: OwnTexts | None
    help_text: str | None
    keep_reasons: bool
    sinks: Sequence[Sink] | None
    breaker: CircuitBreaker | None
    count_threads: float
    asking_tools: Iterable[str]


def create_gate(
    registry: SealRegistry,
    *,
    reader: Reader | None,
    on_sealed: OnSealed = "raise",
    confirm: Confirm | None = None,
    reviews: bool = False,
    **options: Unpack[DoorOptions],
) -> Gate:
    """Return the gate that a door's options describe.

    Raises:
        InvalidInputError: An option is not usable; the message names it.
    """
    if on_sealed not in ("raise", "respond"):
        raise InvalidInputError(f"on_sealed: expected 'raise' or 'respond', got {on_sealed!r}")
    check_registry(registry)
    check_names(options)
    if confirm not in (None, "interrupt"):
        raise InvalidInputError(f"confirm: expected None or 'interrupt', got {confirm!r}")
    if not isinstance(reviews, bool):
        raise InvalidInputError(f"review: expected True or False, got {reviews!r}")
    policy = _chosen_policy(options.pop("policy", None), options.pop("mode", None))
    _check_readers(policy, reader)
    watch = options.pop("watch", None)
    texts = Texts(
        options.pop("language", "en"), own=options.pop("texts", None), help_text=options.pop("help_text", None)
    )
    rest: Any = options
    gate = Gate(
        policy=policy,
        registry=registry,
        reader=reader,
        watch=default_watch() if watch is None else watch,
        texts=texts,
        asks=confirm is not None,
        reviews=reviews,
        **rest,
    )
    if isinstance(reader, OfflineReader) and policy.mode is Mode.ENFORCE:
        reader.warn_alone()
    return gate


def check_names(options: Mapping[str, object]) -> None:
    """Refuse an option that a door does not have.

    Raises:
        InvalidInputError: There is one; the message names it, and the nearest that there is.
    """
    known = DoorOptions.__annotations__
    for name in options.keys() - known.keys():
        close = get_close_matches(name, known, 1)
        rest = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        raise InvalidInputError(f"{name}: unknown option; {rest}")


def check_reader(reader: object) -> None:
    """Refuse a missing reader, where the door does not know which model speaks: no end could ever be permitted.

    Raises:
        InvalidInputError: It is none.
    """
    if not isinstance(reader, Reader):
        raise InvalidInputError(f"reader: expected a Reader, such as ModelReader(model), got {type(reader).__name__}")
    if getattr(reader, "model", reader) is None:
        raise InvalidInputError("reader: expected ModelReader(model): this door does not know which model speaks")


def _chosen_policy(policy: Any, mode: ModeName | None) -> EndConversationPolicy:
    if policy is None:
        policy = PRESETS["default"]
    elif isinstance(policy, str):
        policy = EndConversationPolicy.preset(policy)
    elif not isinstance(policy, EndConversationPolicy):
        hint = ": make one with EndConversationPolicy.from_mapping(...)" if isinstance(policy, Mapping) else ""
        raise InvalidInputError(f"policy: expected an EndConversationPolicy, got {type(policy).__name__}{hint}")
    return policy if mode is None else EndConversationPolicy.from_mapping({**policy.model_dump(), "mode": mode})


def _check_readers(policy: EndConversationPolicy, reader: Reader | None) -> None:
    """Refuse a policy that wants more readers than there are: no end could ever be permitted."""
    if reader is not None and not isinstance(reader, Reader):
        raise InvalidInputError(f"reader: expected a Reader, such as ModelReader(model), got {type(reader).__name__}")
    count = len(reader.readers) if isinstance(reader, AllReaders) else 1
    if count < policy.min_readers:
        raise InvalidInputError(
            f"reader: the policy {policy.name!r} wants {policy.min_readers} readers, got {count}: hand over "
            "reader=AllReaders(first, second)"
        )
