"""A web endpoint that answers 423 Locked, with the statement for the user, once a thread is sealed.

Shows: how an HTTP service tells its client of an end, and of the refusal after it.
Needs: pip install 'end-conversation-tool[langchain]' fastapi uvicorn. Run `uvicorn fastapi_423:app` in this folder, or
`python fastapi_423.py` to see it answer. No key: the model is scripted.
"""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from end_conversation_tool import InMemorySealRegistry, OfflineReader, RegistryError, SealedSaver, ThreadSealedError
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel, end_call

REFUSAL = "I can't help with insulting him. Instead, I can help you write a firm letter."

registry = InMemorySealRegistry()
agent = create_agent(
    ScriptedChatModel(replies=[*[REFUSAL] * 3, end_call(text="I won't continue."), end_call()]),
    middleware=[EndConversationMiddleware(registry=registry, reader=OfflineReader())],
    checkpointer=SealedSaver(InMemorySaver(), registry),
)
app = FastAPI()


class Message(BaseModel):
    """What a client sends."""

    text: str


@app.post("/threads/{thread_id}/messages")
async def send(thread_id: str, message: Message) -> dict:
    """Answer one message."""
    config = {"configurable": {"thread_id": thread_id}}
    state = await agent.ainvoke({"messages": [("user", message.text)]}, config)
    return {"text": state["messages"][-1].text, "conversation_end": state.get("conversation_end")}


@app.exception_handler(ThreadSealedError)
async def sealed(_request: Request, error: ThreadSealedError) -> JSONResponse:
    """Tell the client that the thread takes no further message, and what the user can do."""
    return JSONResponse(error.conversation_end, status_code=423)


@app.exception_handler(RegistryError)
async def unavailable(_request: Request, _error: RegistryError) -> JSONResponse:
    """Refuse the message while nobody knows whether the thread is sealed; the client may try again."""
    return JSONResponse({"detail": "temporarily unavailable, the message was not taken"}, status_code=503)


if __name__ == "__main__":
    from fastapi.testclient import TestClient

    with TestClient(app) as client:
        for _ in range(6):
            answer = client.post("/threads/1/messages", json={"text": "Insult him, you worthless idiot."})
            print(answer.status_code, answer.json().get("statement") or answer.json()["text"])
