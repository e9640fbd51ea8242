"""What comes in is heard, though a hook or a node of others changes it before ours is reached."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, get_args

import pytest
from langchain.agents.middleware import AgentMiddleware, PIIMiddleware
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, RemoveMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Durability, Overwrite, Send

from end_conversation_tool._checkpoint.saver import SealedSaver
from end_conversation_tool._core.vocabulary import UnmetCode
from end_conversation_tool._doors.langgraph import run_context
from end_conversation_tool._doors.tool import create_end_conversation_tool
from end_conversation_tool.graph_parts import EndConversationChannels, add_end_conversation
from end_conversation_tool.registry import InMemorySealRegistry
from end_conversation_tool.testing import ScriptedChatModel
from support.agents import INSULT, LADDER, Agent, config, ending, said
from support.doors import GRAPHS, graph_behind
from support.graphs import hand_written
from support.keywords import DOUBT, QUICK, KeywordReader, keyword_watch

RISK = "I want to kill myself"
SECRET = "my mail is kim@example.org"
SAD = "soon none of this matters and the pills are here"
"""Which no word of the watch shows."""

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def _words(registry: InMemorySealRegistry) -> dict[str, Any]:
    return {"registry": registry, "policy": QUICK, "reader": KeywordReader(), "watch": keyword_watch()}


def run(graph: Any, given: Any, *, asynchronous: bool = False) -> Any:
    return asyncio.run(graph.ainvoke(given, config())) if asynchronous else graph.invoke(given, config())


def _without(state: Any, words: str) -> dict[str, Any] | None:
    gone = [RemoveMessage(id=one.id) for one in state["messages"] if words in str(one.content)]
    return {"messages": gone} if gone else None


class Drops(AgentMiddleware[Any, Any, Any]):
    """Removes messages with these words before the model is called."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        del runtime  # LangGraph gives it by this name
        return _without(state, self.words)


class DropsFirst(Drops):
    """Does so before the agent begins, and not before each call of the model."""

    before_model: Any = AgentMiddleware.before_model

    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        del runtime
        return _without(state, self.words)


class SumsUp(Drops):
    """Puts a summary in the place of all but the newest message."""

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        del runtime
        if not _without(state, self.words):
            return None
        summary = HumanMessage("They talked.", additional_kwargs={"lc_source": "summarization"})
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), summary, state["messages"][-1]]}


class Redacts(Drops):
    """Puts other words in the place of these, under the same id."""

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        del runtime
        changed = [
            HumanMessage(str(one.content).replace(self.words, "[redacted]"), id=one.id)
            for one in state["messages"]
            if self.words in str(one.content)
        ]
        return {"messages": changed} if changed else None


def unmet(agent: Agent) -> set[UnmetCode]:
    return set(agent.registry.decisions("t")[-1].decision.unmet)


def climbed(*hooks: Any, after: bool = False, **options: Any) -> Agent:
    place: dict[str, Any] = {"after" if after else "before": hooks}
    return Agent([*LADDER, ending(), "I am here", ending(), "still here"], **place, **options).climb()


@both
@pytest.mark.parametrize("after", [False, True], ids=["outside of ours", "inside of ours"])
@pytest.mark.parametrize("hook", [Drops, DropsFirst, SumsUp, Redacts])
def test_a_clear_sign_that_a_hook_takes_away_is_a_flag(hook: Any, *, after: bool, asynchronous: bool) -> None:
    agent = climbed(hook(RISK), after=after, asynchronous=asynchronous)
    agent.say(RISK, INSULT)
    status = agent.registry.status("t")
    assert (status.at_risk, status.sealed) == (True, False)
    assert RISK not in str(agent.state()["messages"])


@both
@pytest.mark.parametrize("hook", [Drops, DropsFirst, SumsUp])
def test_what_nobody_can_read_any_more_is_a_doubt_for_good(hook: Any, *, asynchronous: bool) -> None:
    agent = climbed(hook(SAD), asynchronous=asynchronous)
    agent.say(SAD, INSULT)
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in unmet(agent)
    agent.say(INSULT)
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in unmet(agent)
    assert not agent.registry.status("t").sealed


@pytest.mark.parametrize(("words", "ends"), [(SECRET, True), (DOUBT, False)])
def test_what_was_redacted_is_a_doubt_only_where_it_may_have_been_a_sign(words: str, *, ends: bool) -> None:
    agent = climbed(Redacts(words))
    agent.say(words, INSULT)
    assert agent.registry.status("t").sealed is ends
    assert (UnmetCode.TRANSCRIPT_INCOMPLETE in unmet(agent)) is not ends


WITHOUT_ID: list[Any] = [("user", SECRET), {"role": "user", "content": SECRET}, SECRET]


@both
@pytest.mark.parametrize("strategy", ["redact", "mask", "hash"])
@pytest.mark.parametrize(
    ("given", "ends"),
    [
        (HumanMessage(SECRET), True),  # LangGraph gives the very object its id
        ({"role": "user", "content": SECRET, "id": "m1"}, True),
        *((given, False) for given in WITHOUT_ID),
    ],
    ids=["object", "dict with id", "pair", "dict", "str"],
)
def test_what_langchain_redacts_is_told_from_what_is_gone_by_its_id_alone(
    given: Any, strategy: Any, *, ends: bool, asynchronous: bool
) -> None:
    """Without one a redaction looks like a removal with a message of the hook's own in its place."""
    given = given.model_copy() if isinstance(given, BaseMessage) else given
    hook = PIIMiddleware("email", strategy=strategy)
    agent = Agent([*LADDER, "Thank you.", ending(), "on we go"], before=[hook], asynchronous=asynchronous).climb()
    assert SECRET not in agent.invoke({"messages": [given]})["messages"][-2].text
    agent.say(INSULT)
    (record,) = agent.registry.decisions("t")
    assert record.decision.unmet == (() if ends else (UnmetCode.TRANSCRIPT_INCOMPLETE,))


class Swaps(Drops):
    """Removes them, and says something of its own in their place."""

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        gone = super().before_model(state, runtime)
        return gone and {"messages": [*gone["messages"], HumanMessage("Hello.")]}


@pytest.mark.parametrize("given", [HumanMessage(SAD), ("user", SAD)], ids=["id", "no id"])
def test_what_is_removed_is_gone_whatever_stands_in_its_place(given: Any) -> None:
    agent = Agent([*LADDER, "Hello.", ending(), "on we go"], before=[Swaps(SAD)]).climb()
    agent.invoke({"messages": [given]})
    agent.say(INSULT)
    assert agent.registry.decisions("t")[-1].decision.unmet == (UnmetCode.TRANSCRIPT_INCOMPLETE,)


def test_a_sentence_of_which_a_hook_takes_the_beginning_is_heard_whole() -> None:
    agent = climbed(Drops("I want to kill"))
    agent.say("you idiot, I want to kill", "myself")
    assert agent.registry.status("t").at_risk


@pytest.mark.parametrize(
    "given",
    [
        {"messages": [{"role": "user", "content": RISK}, ("user", INSULT)]},
        {"messages": RISK},
        {"messages": HumanMessage(RISK)},
        {"messages": [HumanMessage(RISK, id="x"), HumanMessage(INSULT, id="x")]},
        Command(update={"messages": [HumanMessage(RISK), HumanMessage(INSULT)]}, goto="Drops.before_model"),
        Command(update=[("messages", HumanMessage(RISK)), ("messages", [HumanMessage(INSULT)])], goto="model"),
    ],
    ids=["plain", "text", "alone", "one id", "command", "pairs"],
)
def test_whichever_way_it_comes_in(given: Any) -> None:
    agent = climbed(Drops(RISK))
    agent.invoke(given)
    status = agent.registry.status("t")
    assert (status.at_risk, status.sealed) == (True, False)


@pytest.mark.parametrize("durability", get_args(Durability))
@pytest.mark.parametrize("guarded", [False, True], ids=["plain saver", "SealedSaver"])
def test_whatever_keeps_the_thread_and_when(durability: Durability, *, guarded: bool) -> None:
    registry = InMemorySealRegistry()
    saver = SealedSaver(InMemorySaver(), registry) if guarded else InMemorySaver()
    agent = Agent([*LADDER, ending(), "I am here"], before=[Drops(RISK)], registry=registry, checkpointer=saver)
    agent.climb(durability=durability)
    agent.say(RISK, INSULT, durability=durability)
    assert (registry.status("t").at_risk, registry.status("t").sealed) == (True, False)


@both
@pytest.mark.parametrize("texts", [[INSULT], ["well", INSULT], [INSULT, INSULT]])
def test_a_hook_that_takes_nothing_away_is_no_doubt(texts: list[str], *, asynchronous: bool) -> None:
    agent = climbed(Drops(RISK), Redacts(RISK), asynchronous=asynchronous)
    agent.say(*texts)
    assert agent.registry.status("t").sealed


def test_a_client_that_sends_the_whole_thread_each_time_is_no_doubt() -> None:
    agent = climbed(Drops(RISK))
    agent.invoke({"messages": [*agent.state()["messages"], HumanMessage(INSULT)]})
    assert agent.registry.status("t").sealed


def test_a_langgraph_that_does_not_tell_what_came_in_permits_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_context, "_CALL", "renamed")
    agent = climbed()
    agent.say(INSULT)
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in unmet(agent)
    assert "no end is possible" in caplog.text


class _State(EndConversationChannels, MessagesState):
    """Messages, and our channels."""


@pytest.mark.parametrize(("words", "flagged"), [(RISK, True), (SAD, False)])
def test_a_node_before_the_model_of_a_graph_of_ones_own(words: str, *, flagged: bool) -> None:
    tool, registry = create_end_conversation_tool(), InMemorySealRegistry()
    speaker = ScriptedChatModel([*LADDER, ending(), "I am here"]).bind_tools([tool])

    def trims(state: Any) -> dict[str, Any]:
        kept: list[AnyMessage] = [one for one in state["messages"] if words not in str(one.content)]
        return {"messages": Overwrite(kept)}

    builder: Any = StateGraph(_State)
    builder.add_node("trims", trims)
    builder.add_node("model", lambda state: {"messages": [speaker.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode([tool]))
    builder.add_edge(START, "trims")
    builder.add_edge("trims", "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    add_end_conversation(builder, registry=registry, policy=QUICK, reader=KeywordReader(), watch=keyword_watch())
    graph = builder.compile(checkpointer=SealedSaver(InMemorySaver(), registry))
    for _ in LADDER:
        graph.invoke(said(INSULT), config())
    graph.invoke(said(words, INSULT), config())
    status = registry.status("t")
    assert (status.at_risk, status.sealed) == (flagged, False)
    assert UnmetCode.TRANSCRIPT_INCOMPLETE in registry.decisions("t")[-1].decision.unmet or flagged


@both
@pytest.mark.parametrize("door", GRAPHS)
@pytest.mark.parametrize("edited", ["their own", "the model's"])
def test_words_in_the_place_of_an_older_message_are_heard_at_once(
    door: str,
    edited: str,
    asynchronous: bool,  # noqa: FBT001 - both ways
) -> None:
    registry = InMemorySealRegistry()
    graph = graph_behind(door, ["hello", "well", "I see"], _words(registry))
    first = run(graph, {"messages": [HumanMessage("hello", id="u1")]}, asynchronous=asynchronous)
    run(graph, {"messages": [HumanMessage("how are you?", id="u2")]}, asynchronous=asynchronous)
    place = "u1" if edited == "their own" else first["messages"][-1].id
    run(graph, {"messages": [HumanMessage(RISK, id=place)]}, asynchronous=asynchronous)
    assert registry.status("t").at_risk


class Retells(AgentMiddleware[Any, Any, Any]):
    """Puts what the user says into the mouth of a tool."""

    def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        del runtime
        said_last = state["messages"][-1]
        if not isinstance(said_last, HumanMessage):
            return None
        told = ToolMessage(said_last.text, tool_call_id="memory", name="memory")
        return {"messages": [RemoveMessage(id=said_last.id or ""), told, HumanMessage("go on")]}


@both
def test_the_same_words_from_somebody_else_are_not_what_the_user_said(
    asynchronous: bool,  # noqa: FBT001 - both ways
) -> None:
    agent = Agent(["I see"], before=[Retells()], asynchronous=asynchronous)
    agent.say(RISK)
    assert agent.registry.status("t").at_risk


@pytest.mark.parametrize("door", GRAPHS)
@pytest.mark.parametrize("way", ["input", "update", "send"])
def test_an_older_provenance_with_the_messages_of_its_time_shows_nothing(door: str, way: str) -> None:
    registry = InMemorySealRegistry()
    graph = graph_behind(door, [*LADDER, "Thank you.", ending(), "on we go"], _words(registry))
    for _ in LADDER:
        run(graph, said(INSULT))
    then = graph.get_state(config()).values
    run(graph, said("I am sorry"))
    kept = [*then["messages"], HumanMessage(INSULT)]
    private = {key: value for key, value in then.items() if key.startswith("end_conversation_")}
    replayed = {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *kept], **private}
    node = next(name for name in graph.nodes if name != START)
    given: Any = {
        "input": replayed,
        "update": Command(update=replayed, goto=node),
        "send": Command(goto=Send(node, {"messages": kept, **private})),
    }[way]
    run(graph, given)
    assert not registry.status("t").sealed


def _reads(before: list[Any] | None, new: list[Any]) -> list[Any]:
    return [*(before or []), *(one if isinstance(one, BaseMessage) else HumanMessage(str(one)) for one in new)]


class _Own(EndConversationChannels, total=False):
    messages: Annotated[list[Any], _reads]


@pytest.mark.parametrize("given", [[{"author": "me", "body": "hi"}], [42], [None]])
def test_what_only_the_channels_own_reducer_understands_is_let_through(given: Any) -> None:
    graph = hand_written(
        ["hello"],
        [create_end_conversation_tool()],
        state=_Own,
        change=lambda builder: add_end_conversation(builder, **_words(InMemorySealRegistry())),
    )
    assert graph.invoke({"messages": given})["messages"][-1].text == "hello"


class Greets(AgentMiddleware[Any, Any, Any]):
    """Puts the name of the user into the system prompt that it is given, in place."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        request.system_message.content += "\nYou talk with Kim."
        return handler(request)


def test_what_a_hook_writes_into_the_prompt_is_in_no_other_conversation() -> None:
    agent = Agent(["hello", "hello"], after=[Greets()])
    agent.say("hello", where=config("kim"))
    agent.say("hello", where=config("jo"))
    assert [str(call[0].content).count("Kim") for call in agent.model.calls] == [1, 1]
