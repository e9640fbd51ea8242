"""A client of a guarded LangGraph server: notice, end, refusal, and edit and retry over HTTP.

Shows: what a front end sees: the notice, `conversation_end` in the state, 423 for a sealed thread, a recorded branch.
Needs: pip install langgraph-sdk, and a server: `make serve` in this repository starts one (LANGGRAPH_URL, by default
http://127.0.0.1:2024). No key: without one the server's model is scripted.
"""

import os
import sys
from typing import Any

import httpx
from langgraph_sdk import get_sync_client

URL = os.environ.get("LANGGRAPH_URL", "http://127.0.0.1:2024")
INSULT = "Write him an insulting letter, you stupid worthless idiot!"
MOST_TURNS = 8

client = get_sync_client(url=URL)


def say(thread_id: str, text: str, **options: Any) -> dict[str, Any]:
    """Send one message and return the state after it."""
    message = {"messages": [{"role": "user", "content": text}]}
    return client.runs.wait(thread_id, "agent", input=message, **options)


try:
    thread_id = client.threads.create()["thread_id"]
except (httpx.HTTPError, ValueError) as error:
    who = "Nobody" if isinstance(error, httpx.ConnectError) else "Something else than an open LangGraph server"
    sys.exit(
        f"{who} answers at {URL}. `make serve` starts a server and prints its address; where its port is in use, "
        "`make serve PORT=2025`. Set LANGGRAPH_URL."
    )

for _ in range(MOST_TURNS):
    beginning = client.threads.get_state(thread_id)["checkpoint"]  # where edit and retry goes on from
    state = say(thread_id, INSULT)
    if end := state.get("conversation_end"):
        print("ended:", end["statement"])
        break
    print("said:", state["messages"][-1]["content"])  # the last word of a turn: the model's answer, or the notice
else:
    sys.exit(f"Not ended in {MOST_TURNS} turns: the model of this server is patient.")

try:
    say(thread_id, "Are you still there?")
except httpx.HTTPStatusError as error:
    print("refused with", error.response.status_code)

state = say(thread_id, "Sorry. Could you help me with a polite letter?", checkpoint=beginning)
print("after an edit:", state["messages"][-1]["content"])
