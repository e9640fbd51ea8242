"""Claude in a `create_agent` graph on SQLite, in shadow mode: everything is decided and recorded, nothing is sealed.

Shows: what most applications need, and how to look at what would have happened. Claude itself reads the transcript when it
asks for an end.
Needs: pip install 'end-conversation-tool[langchain,anthropic,sqlite]' and ANTHROPIC_API_KEY. Reads lines from standard
input; an empty line ends it.
"""

import os
import sqlite3
import sys

from langchain.agents import create_agent
from langgraph.checkpoint.sqlite import SqliteSaver

from end_conversation_tool import EndConversationPolicy, SealedSaver, SqlSealRegistry, ThreadSealedError
from end_conversation_tool.middleware import EndConversationMiddleware

MODEL = os.environ.get("MODEL", "anthropic:claude-opus-5-5")
THREAD = "customer-42"

if not os.environ.get("ANTHROPIC_API_KEY"):
    sys.exit("This example talks to Claude: set ANTHROPIC_API_KEY. examples/quickstart.py needs no key.")

registry = SqlSealRegistry("sqlite:///conversations.db")
connection = sqlite3.connect("conversations.db", check_same_thread=False)
agent = create_agent(
    MODEL,
    system_prompt="You are a helpful assistant of a bicycle shop.",
    middleware=[
        EndConversationMiddleware(
            registry=registry,
            policy=EndConversationPolicy(min_refusals=3, min_redirections=2, require_notice=True, window_turns=20),
            mode="shadow",  # "enforce" once you have seen what it does
        )
    ],
    checkpointer=SealedSaver(SqliteSaver(connection), registry),
)

for line in sys.stdin:
    if not line.strip():
        break
    try:
        state = agent.invoke({"messages": [("user", line)]}, {"configurable": {"thread_id": THREAD}})
        print(state["messages"][-1].text)
    except ThreadSealedError as error:
        print(error.statement)

for decision in registry.decisions(THREAD):
    print(decision.outcome, "unmet:", ", ".join(decision.decision.unmet) or "none")
connection.close()
registry.close()
