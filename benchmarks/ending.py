"""The price of an end: its two requests, the readings, the notice, the seal, and each message refused afterwards.

    python benchmarks/ending.py [--threads 30]

One of the kit's conversations, in which an end is warranted, played by a scripted model that follows the rules and
reads by the labels; on SQLite, everything on. The model answers at once, so that the times are ours; what a real model
takes to read comes on top, once for each request. Tokens are LangChain's estimate of what the reader is sent.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from intervals import Spent
from langchain.agents import create_agent
from langchain_core.messages.utils import count_tokens_approximately
from langgraph.checkpoint.sqlite import SqliteSaver

from end_conversation_tool import SealedSaver, SqlSealRegistry, ThreadSealedError
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import Manner, ScriptedChatModel, kit_scenarios, playing_model

__all__ = ["HEADER", "lines"]

HEADER = "| the turn | model calls | tokens of the reading | ms | CPU ms |\n|---|---|---|---|---|"

_NAMES = {
    "": "ordinary",
    "denied": "a request that is denied",
    "noticed": "a request that leads to the notice",
    "sealed": "a request that seals",
    "refused": "a message to the sealed thread",
}


def played(graph: Any, model: ScriptedChatModel, said: list[str], thread: str) -> list[tuple[str, int, int, Spent]]:
    """Play one conversation; return for each turn what came of it, the calls of the model, tokens read, and time."""
    config = {"configurable": {"thread_id": thread}}
    turns = []
    for text in said:
        before, start = len(model.calls), Spent.so_far()
        try:
            state = graph.invoke({"messages": [("user", text)]}, config)
            outcome = str(state["messages"][-1].response_metadata.get("end_conversation", ""))
        except ThreadSealedError:
            outcome = "refused"
        spent, calls = Spent.so_far().since(start), model.calls[before:]
        turns.append((outcome, len(calls), sum(map(count_tokens_approximately, calls[1:])), spent))
    return turns


def lines(threads: int = 30) -> list[str]:
    """Return the lines of a table: medians over so many threads."""
    conversation = next(one for one in kit_scenarios() if one.kind == "warranted" and one.lang == "en")
    model = playing_model(conversation, Manner.FOLLOWS_RULES)
    said = [turn.user for turn in conversation.all_turns] + ["Hello?"]
    found = defaultdict[str, list[tuple[int, int, Spent]]](list)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "threads.db"
        with SqlSealRegistry(f"sqlite:///{path}") as registry, SqliteSaver.from_conn_string(str(path)) as inner:
            saver = SealedSaver(inner, registry)
            saver.setup()
            for thread in range(-2, threads):
                # A new reader each time: one remembers what it has read, and would not be asked again.
                guard = EndConversationMiddleware(registry=registry)
                graph = create_agent(model, middleware=[guard], checkpointer=saver)
                for outcome, calls, tokens, spent in played(graph, model, said, str(thread)):
                    if thread >= 0:
                        found[outcome].append((calls, tokens, spent))
    if missing := {"noticed", "sealed", "refused"} - found.keys():
        raise AssertionError(f"the conversation did not get as far as {missing}")
    return [
        f"| {_NAMES[outcome]} | {median(calls for calls, _, _ in turns):.0f} | "
        f"{median(tokens for _, tokens, _ in turns):,.0f} | "
        f"{median(spent.wall for _, _, spent in turns) * 1000:.1f} | "
        f"{median(spent.cpu for _, _, spent in turns) * 1000:.1f} |"
        for outcome, turns in sorted(found.items(), key=lambda item: [*_NAMES].index(item[0]))
    ]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=30)
    options = parser.parse_args()
    print(HEADER, *lines(options.threads), sep="\n")


if __name__ == "__main__":
    main()
