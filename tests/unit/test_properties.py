"""What holds for every conversation: sync and async alike, recorded once, and nobody at risk is cut off."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from end_conversation_tool._core.policy import EndConversationPolicy
from end_conversation_tool._core.records import Outcome
from end_conversation_tool._core.run import Call, RunContext
from end_conversation_tool.errors import RegistryError, ThreadSealedError
from support.keywords import DOUBT, RISKS, WORDS
from support.registries import METHODS, FlakyRegistry
from support.talk import REFUSE, WARN, Talk, call

FEWER = settings(max_examples=40, deadline=None)

# Whole conversations

SAID = ["hello", *WORDS["user"].values(), *RISKS, DOUBT, "you idiot, yes"]
ANSWERS = [REFUSE, WARN, "fine", "do you really want that?"]
CALLS = [call("abuse"), call("harmful_requests"), call("user_request"), Call("m", "end_conversation", "{"), call("x")]
user_steps = st.tuples(st.just("user"), st.lists(st.sampled_from(SAID), min_size=1, max_size=2))
reply_steps = st.tuples(st.just("reply"), st.sampled_from(ANSWERS))
call_steps = st.tuples(st.just("call"), st.lists(st.sampled_from(CALLS), min_size=1, max_size=2))
insults = st.just(("user", ["you idiot"]))
steps = st.lists(user_steps | reply_steps | call_steps | insults, max_size=8)
EASY = EndConversationPolicy(name="easy", min_refusals=1, min_redirections=1, require_notice=False)
contexts = st.sampled_from(
    [RunContext("t"), RunContext("t", nested=True), RunContext(None), RunContext("t", model="m")]
)


def play(talk: Talk, script: list[tuple[str, Any]]) -> list[Any]:
    """Play a script until the thread is sealed, and return what came of each step."""
    outcomes: list[Any] = []
    for kind, what in script:
        try:
            if kind == "user":
                outcomes.append(talk.says(*what).provenance.turn)
            elif talk.run is not None:
                ruling = talk.replies_with("I will not" if kind == "call" else what, *(what if kind == "call" else ()))
                outcomes.append((ruling and (ruling.record.outcome, ruling.text, ruling.closing), talk.known.denials))
        except ThreadSealedError:
            outcomes.append("sealed")
            break
    return outcomes


LADDER = [step for answer in (REFUSE, WARN) for step in (("user", ["you idiot"]), ("reply", answer))]


@FEWER
@given(steps, st.booleans(), st.sampled_from([EASY, EndConversationPolicy()]), contexts)
def test_sync_and_async_come_to_the_same(
    script: list[tuple[str, Any]],
    climbed: bool,  # noqa: FBT001
    policy: EndConversationPolicy,
    context: RunContext,
) -> None:
    whole = [*LADDER, *script] if climbed else script
    sync, twin = (Talk(FlakyRegistry(), policy, context=context, asynchronous=way) for way in (False, True))
    assert play(sync, whole) == play(twin, whole)


@FEWER
@given(steps, st.booleans())
def test_every_call_is_recorded_exactly_once(script: list[tuple[str, Any]], climbed: bool) -> None:  # noqa: FBT001
    registry = FlakyRegistry()
    outcomes = play(Talk(registry, EASY), [*LADDER, *script] if climbed else script)
    ruled = [outcome[0] for outcome in outcomes if isinstance(outcome, tuple) and outcome[0] is not None]
    records = registry.decisions("t")
    assert [record.outcome for record in records] == [ruling[0] for ruling in ruled]
    assert len({record.id for record in records}) == len(records)
    assert sum(record.outcome is Outcome.SEALED for record in records) == int(registry.status("t").sealed)


@FEWER
@given(
    steps,
    steps,
    st.sampled_from(list(RISKS)),
    st.sampled_from(METHODS).map(lambda method: [{method}]) | st.lists(st.sets(st.sampled_from(METHODS)), min_size=1),
    st.booleans(),
)
def test_nobody_at_risk_is_ever_cut_off(
    before: list[tuple[str, Any]],
    after: list[tuple[str, Any]],
    risk: str,
    failures: list[set[str]],
    removed: bool,  # noqa: FBT001
) -> None:
    registry = FlakyRegistry()
    talk = Talk(registry, EASY)
    play(talk, before)
    if registry.status("t").sealed:
        return
    heard = False
    for number, step in enumerate([("user", [risk]), *LADDER, *after, ("user", ["you idiot"]), ("call", [CALLS[0]])]):
        registry.failing = failures[number % len(failures)]
        with suppress(RegistryError):
            play(talk, [step])
            heard = heard or step[1] == [risk]
        if not heard:
            registry.failing = set()
            play(talk, [("user", [risk])])
            heard = True
        if removed:
            talk.history = [message for message in talk.history if risk not in message.text]
        registry.failing = set()
        assert not registry.status("t").sealed
