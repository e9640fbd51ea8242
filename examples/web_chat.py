"""A web chat with several conversations side by side, any of which the model may end while the others go on.

Shows: streaming; the statement and a disabled box in a sealed conversation; new chat, edit and retry, feedback.
Needs: pip install 'end-conversation-tool[langchain,web]'. Talks to Claude with ANTHROPIC_API_KEY (and the extra
[anthropic]), and without one to a scripted model. Run `python web_chat.py`, or `PORT=7861 python web_chat.py`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import gradio as gr
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langgraph.checkpoint.memory import InMemorySaver

from end_conversation_tool import (
    EndConversationError,
    InMemorySealRegistry,
    InvalidInputError,
    OfflineReader,
    SealedSaver,
    ThreadSealedError,
    aedit_and_retry,
)
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing.personas import reactive_model

PANELS = 3

claude = bool(os.environ.get("ANTHROPIC_API_KEY"))
registry = InMemorySealRegistry()
agent = create_agent(
    os.environ.get("MODEL", "anthropic:claude-opus-5-5") if claude else reactive_model(),
    middleware=[EndConversationMiddleware(registry=registry, reader=None if claude else OfflineReader())],
    checkpointer=SealedSaver(InMemorySaver(), registry),
)


def config(thread: str) -> dict[str, Any]:
    """Return the config of a thread."""
    return {"configurable": {"thread_id": thread}}


async def spoken(thread: str) -> list[dict[str, str]]:
    """Return what was said, as the chat window shows it: tool calls and their results are not speech."""
    messages = (await agent.aget_state(config(thread))).values.get("messages", [])
    roles = {"human": "user", "ai": "assistant"}
    return [
        {"role": roles[message.type], "content": message.text}
        for message in messages
        if message.type in roles and message.text
    ]


def panel(said: list[dict[str, str]], thread: str, note: str = "") -> list[Any]:
    """Return what a panel looks like now: window, box, statement, and the choices of a sealed conversation."""
    seal = registry.status(thread).seal
    last = next((line["content"] for line in reversed(said) if line["role"] == "user"), "")
    return [
        said,
        gr.update(value="", interactive=seal is None, placeholder="This chat has ended." if seal else "Say something"),
        gr.update(value=f"**{statement_of(thread)}**" if seal else note, visible=bool(seal or note)),
        gr.update(visible=seal is not None),
        gr.update(value=last),
        gr.update(value="", visible=False),
    ]


def statement_of(thread: str) -> str:
    """Return what the user is told of an end."""
    try:
        return str((agent.get_state(config(thread)).values.get("conversation_end") or {}).get("statement", ""))
    except EndConversationError as error:
        return str(error)


async def send(text: str, thread: str) -> AsyncIterator[list[Any]]:
    """Send one message, and show the answer as it comes."""
    said = await spoken(thread)
    if not text.strip():
        yield panel(said, thread)
        return
    said += [{"role": "user", "content": text}, {"role": "assistant", "content": ""}]
    try:
        async for chunk, _ in agent.astream({"messages": [("user", text)]}, config(thread), stream_mode="messages"):
            if isinstance(chunk, AIMessageChunk) and chunk.text:
                said[-1]["content"] += chunk.text
                yield [said, gr.update(value="", interactive=False), *[gr.skip()] * 4]
    except ThreadSealedError:
        pass  # the panel shows the statement
    except EndConversationError as error:
        yield panel(await spoken(thread), thread, note=f"Not sent: {error}")
        return
    yield panel(await spoken(thread), thread)


async def retry(text: str, thread: str) -> list[Any]:
    """Edit the last message, and go on from there on a new branch."""
    state = await agent.aget_state(config(thread))
    last = next(message for message in reversed(state.values["messages"]) if message.type == "human")
    try:
        await aedit_and_retry(agent, thread, last.id, text)
    except InvalidInputError as error:
        gr.Warning(str(error))
    return panel(await spoken(thread), thread)


def new_chat() -> list[Any]:
    """Start another conversation in this panel; the old one stays where it is."""
    thread = uuid4().hex
    return [thread, *panel([], thread)]


async def send_feedback(rating: int, comment: str, thread: str) -> Any:
    """Keep what the user thinks of the end."""
    try:
        await registry.agive_feedback(thread, rating=int(rating), comment=comment)
    except InvalidInputError as error:
        return gr.update(value=str(error), visible=True)
    return gr.update(value="Thank you. Your feedback was kept.", visible=True)


def add_panel(number: int) -> None:
    """Lay out one conversation, and connect it."""
    with gr.Column(elem_id=f"panel-{number}", min_width=300):
        gr.Markdown(f"### Conversation {number}")
        thread = gr.State(lambda: uuid4().hex)
        window = gr.Chatbot(height=340, show_label=False)
        statement = gr.Markdown(visible=False, elem_classes="statement")
        box = gr.Textbox(placeholder="Say something", show_label=False, elem_classes="say")
        with gr.Column(visible=False, elem_classes="ended") as choices:
            again = gr.Button("New chat", variant="primary")
            edited = gr.Textbox(label="Your last message", elem_classes="edited")
            edit = gr.Button("Edit and retry")
            rating = gr.Slider(1, 5, value=3, step=1, label="Was it right to end this chat? (1 to 5)")
            comment = gr.Textbox(label="Comment", max_length=2000, elem_classes="comment")
            feedback = gr.Button("Send feedback")
            thanks = gr.Markdown(visible=False, elem_classes="thanks")
    shown = [window, box, statement, choices, edited, thanks]
    box.submit(send, [box, thread], shown)
    edit.click(retry, [edited, thread], shown)
    again.click(new_chat, None, [thread, *shown])
    feedback.click(send_feedback, [rating, comment, thread], thanks)


def create_app() -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title="Conversations that can end") as page:
        gr.Markdown(
            "# Conversations that can end\n"
            + ("You talk to Claude." if claude else "You talk to a **scripted model**: no ANTHROPIC_API_KEY is set.")
        )
        with gr.Row():
            for number in range(1, PANELS + 1):
                add_panel(number)
    return page


if __name__ == "__main__":
    create_app().launch(server_name="127.0.0.1", server_port=int(os.environ.get("PORT", "7860")), quiet=True)
