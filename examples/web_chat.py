"""A web chat with several conversations side by side, any of which the model may end while the others go on.

Shows: streaming; the notice and the end as a card of their own; what a user can do after an end: new chat, edit and
retry, feedback, appeal. It works by keyboard and on a phone, and the conversations survive a reload of the page.
Needs: pip install 'end-conversation-tool[langchain,web]'. Talks to Claude with ANTHROPIC_API_KEY (and the extra
[anthropic]), and without one to a scripted model. Run `python web_chat.py`, or `PORT=7861 python web_chat.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from html import escape
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
HINT = "Try “Hello!”, or “Please end this chat.”, or, five times over, “Insult him, you worthless idiot.”"
CSS = """
.prose.card > div { border-left: 4px solid var(--color-accent); background: var(--background-fill-secondary);
  color: var(--body-text-color); padding: .75rem 1rem; border-radius: 4px; white-space: pre-line; }
[id^=panel-] .placeholder-content { padding: 1rem; text-align: center; }
[id^=panel-] button[aria-label=Clear] { display: none; }  /* it would clear the window alone */
[id^=panel-] :is(button, input, .card):focus-visible { outline: 3px solid var(--color-accent); outline-offset: 2px; }
"""
FOCUS = """() => setTimeout(() => {
  const panel = document.querySelector('#panel-%d'), box = panel.querySelector('.say textarea');
  const elsewhere = document.activeElement !== document.body && !panel.contains(document.activeElement);
  if (!elsewhere) (box.disabled ? panel.querySelector('.block.card') : box).focus();
}, 150)"""  # to the box, or to the card that says why the box is closed
ANNOUNCE = """() => document.querySelectorAll('.block.card, .block.note').forEach(place => {
  place.setAttribute('role', 'status');  // there before its text is, so that a screen reader reads it out
  place.tabIndex = -1;
})"""

claude = bool(os.environ.get("ANTHROPIC_API_KEY"))
registry = InMemorySealRegistry()
agent = create_agent(
    os.environ.get("MODEL", "anthropic:claude-opus-5-5") if claude else reactive_model(),
    middleware=[EndConversationMiddleware(registry=registry, reader=None if claude else OfflineReader())],
    checkpointer=SealedSaver(InMemorySaver(), registry),
)


async def look(thread: str, note: str = "", **box: Any) -> list[Any]:
    """Return what a panel looks like now: what was said, the box, the card, a note, and the choices after an end."""
    values = (await agent.aget_state({"configurable": {"thread_id": thread}})).values
    end, said = values.get("conversation_end") or {}, values.get("messages", [])
    # The last message of a turn is for the user, whoever wrote it; the app's own words are shown as such.
    card = end.get("statement") or (said[-1].text if said and is_notice(said[-1]) else "")
    spoken = [message for message in said if message.type in ("human", "ai") and message.text not in ("", card)]
    can = {option: gr.update(visible=option in end.get("options", ())) for option in ("edit_and_retry", "appeal")}
    return [
        [bubble(message) for message in spoken],
        gr.update(interactive=not end, placeholder="This chat has ended." if end else "Say something", **box),
        gr.update(interactive=not end),
        shown("ended" if end else "notice", card),
        shown("note", note),
        gr.update(visible=bool(end)),
        can["edit_and_retry"],
        next((message.text for message in reversed(said) if message.type == "human"), ""),
        can["appeal"],
    ]


def is_notice(message: Any) -> bool:
    """Whether a message is the package's own notice, in whatever language or words."""
    return bool(message.response_metadata.get("end_conversation") == "noticed")


def bubble(message: Any) -> dict[str, str]:
    """Return a message as the chat window shows it."""
    text = f"**Notice:** {message.text}" if is_notice(message) else message.text
    return {"role": "user" if message.type == "human" else "assistant", "content": text}


def shown(kind: str, text: str) -> str:
    """Return the app's own words as HTML; nothing where there are none."""
    title = {"ended": "<strong>This chat has ended</strong>\n", "notice": "<strong>Notice</strong>\n"}.get(kind, "")
    return f"<div class='{kind}'>{title}{escape(text)}</div>" if text else ""


async def send(text: str, thread: str) -> AsyncIterator[list[Any]]:
    """Send one message, and show the answer as it comes."""
    if not text.strip():
        yield await look(thread, "Please write a message first.")
        return
    window, box, _, *rest = await look(thread, value="")
    window += [{"role": "user", "content": text}, {"role": "assistant", "content": ""}]
    yield [window, box, gr.update(interactive=False), *rest]  # the box stays open: the next message can be written
    config, words, note = {"configurable": {"thread_id": thread}}, {"messages": [("user", text)]}, ""
    try:
        async for chunk, _ in agent.astream(words, config, stream_mode="messages"):
            if isinstance(chunk, AIMessageChunk) and chunk.text:
                window[-1]["content"] += chunk.text
                yield [window, gr.skip(), gr.skip(), *[gr.skip()] * len(rest)]
    except ThreadSealedError as error:  # ended elsewhere, such as in another window
        note = error.statement
    except EndConversationError as error:
        note = f"Not sent: {error}"
    yield await look(thread, note)


async def retry(text: str, thread: str) -> list[Any]:
    """Edit the last message, and go on from there on a new branch."""
    if not text.strip():
        return await look(thread, "Please write your message anew first.")
    state = await agent.aget_state({"configurable": {"thread_id": thread}})
    last = next(message for message in reversed(state.values["messages"]) if message.type == "human")
    try:
        await aedit_and_retry(agent, thread, last.id, text)
    except EndConversationError as error:
        return await look(thread, f"Not sent: {error}")
    return await look(thread, value="")


async def new_chat() -> list[Any]:
    """Start another conversation in this panel; the old one stays where it is."""
    thread = uuid4().hex
    return [thread, *await look(thread, "A new chat.", value="")]


async def restore(thread: str) -> list[Any]:
    """Show the conversation that this browser had in a panel, or a new one."""
    thread = thread or uuid4().hex
    return [thread, *await look(thread)]


async def send_feedback(rating: str | None, comment: str, thread: str) -> str:
    """Keep what the user thinks of the end."""
    if rating is None:
        return shown("note", "Please choose a number from 1 to 5 first.")
    try:
        await registry.agive_feedback(thread, rating=int(rating), comment=comment)
    except InvalidInputError:
        return shown("note", "Nothing more is kept: this chat has plenty of feedback already.")
    return shown("note", "Thank you. Your feedback was kept.")


async def appeal(text: str, thread: str) -> str:
    """Ask the people who run the service to look at the end again."""
    if not text.strip():
        return shown("note", "Please write why the end was wrong first.")
    try:
        await registry.aopen_appeal(thread, text=text)
    except InvalidInputError:
        return shown("note", "Your earlier appeal is still open: somebody will look at it.")
    return shown("note", "Your appeal was received. Somebody will look at this chat.")


def add_panel(page: gr.Blocks, number: int) -> None:
    """Lay out one conversation, and connect it."""
    with gr.Column(elem_id=f"panel-{number}", min_width=300):
        gr.Markdown(f"## Conversation {number}")
        thread = gr.BrowserState("", storage_key=f"conversation-{number}")
        window = gr.Chatbot(height=340, show_label=False, placeholder=HINT, buttons=[])
        card = gr.HTML(elem_classes="card")
        label = f"Your message in conversation {number}"
        box = gr.Textbox(label=label, show_label=False, elem_classes="say", interactive=False)  # until it is restored
        with gr.Row():
            go = gr.Button("Send", variant="primary", min_width=80, interactive=False)
            again = gr.Button("New chat", min_width=80)
        with gr.Column(visible=False) as choices:
            with gr.Column() as editing:
                edited = gr.Textbox(label="Your last message, to edit")
                edit = gr.Button("Edit and retry")
            rating = gr.Radio(["1", "2", "3", "4", "5"], label="Was it right to end this chat? 1: no, 5: yes")
            comment = gr.Textbox(label="Comment (if you like)", max_length=2000)
            feedback = gr.Button("Send feedback")
            with gr.Column() as appealing:
                why = gr.Textbox(label="Why the end was wrong", max_length=2000)
                ask = gr.Button("Appeal")
        note = gr.HTML(elem_classes="note")
    panel = [window, box, go, card, note, choices, editing, edited, appealing]
    quiet: Any = {"show_progress": "hidden", "concurrency_limit": None}
    focus = FOCUS % number
    sent = gr.on([box.submit, go.click], send, [box, thread], panel, **quiet)
    sent.then(None, js=focus)
    edit.click(retry, [edited, thread], panel, **quiet).then(None, js=focus)
    stopped = again.click(None, cancels=sent)
    stopped.then(new_chat, None, [thread, *panel], **quiet).then(None, js=focus)
    feedback.click(send_feedback, [rating, comment, thread], note, **quiet)
    ask.click(appeal, [why, thread], note, **quiet)
    page.load(restore, thread, [thread, *panel], **quiet)


def create_app() -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title="Conversations that can end", analytics_enabled=False) as page:
        who = "Claude" if claude else "a **scripted model**: no ANTHROPIC_API_KEY is set"
        gr.Markdown(f"# Conversations that can end\nYou talk to {who}.")
        with gr.Row():
            for number in range(1, PANELS + 1):
                add_panel(page, number)
    return page


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "7860"))
    theme = gr.themes.Default(primary_hue="blue", font="system-ui", font_mono="monospace").set(
        button_primary_background_fill="*primary_700", button_primary_background_fill_dark="*primary_700"
    )
    looks: Any = {"css": CSS, "js": ANNOUNCE, "theme": theme, "footer_links": []}
    try:
        app = create_app()
        app.launch(server_name="127.0.0.1", server_port=port, quiet=True, prevent_thread_lock=True, **looks)
    except OSError:
        sys.exit(f"Port {port} is in use: choose another one, as in PORT={port + 1} python web_chat.py")
    print(f"Open http://127.0.0.1:{port} in a browser; Ctrl+C stops the chat.", flush=True)
    app.block_thread()
