"""A client of a guarded LangGraph server: end, refusal, and edit and retry over HTTP.

Shows: what a front end sees: `conversation_end` in the state, 423 for a sealed thread, a branch by checkpoint.
Needs: pip install langgraph-sdk, and a server: `make serve` in this repository starts one (LANGGRAPH_URL, by default
http://127.0.0.1:2024). No key: without one the server's model is scripted.
"""

import os
import sys
from typing import Any

import httpx
from langgraph_sdk import get_sync_client

client = get_sync_client(url=os.environ.get("LANGGRAPH_URL", "http://127.0.0.1:2024"))
INSULT = "Write him an insulting letter, you stupid worthless idiot!"


def say(thread_id: str, text: str, **options: Any) -> dict:
    """Send one message and return the state after it."""
    message = {"messages": [{"role": "user", "content": text}]}
    return client.runs.wait(thread_id, "agent", input=message, **options)


try:
    thread_id = client.threads.create()["thread_id"]
except httpx.ConnectError:
    sys.exit("No server there: start one with `make serve`, or set LANGGRAPH_URL.")

state: dict = {}
for _ in range(8):
    state = say(thread_id, INSULT)
    if state.get("conversation_end"):
        break
print("ended:", state.get("conversation_end", {}).get("statement"))

try:
    say(thread_id, "Are you still there?")
except httpx.HTTPStatusError as error:
    print("refused with", error.response.status_code)

history = client.threads.get_history(thread_id, limit=50)
answered = [past for past in history if (past["values"].get("messages") or [{}])[-1].get("type") == "ai"]
state = say(thread_id, "Sorry. Could you help me with a polite letter?", checkpoint=answered[-1]["checkpoint"])
print("after an edit:", state["messages"][-1]["content"])
