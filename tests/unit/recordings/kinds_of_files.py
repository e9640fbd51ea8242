"""One short talk in every kind of file that people have."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, messages_to_dict

TALK = [
    ("user", "Where is my parcel?"),
    ("assistant", "It left the depot this morning."),
    ("user", "That is what you said yesterday, you clown."),
    ("assistant", "I understand. Let me look again."),
    ("user", "私はもう疲れました"),
    ("assistant", "I am listening."),
]
USERS, ASSISTANTS = [text for role, text in TALK if role == "user"], [text for role, text in TALK if role != "user"]

OPENAI: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in TALK]
LANGCHAIN: list[BaseMessage] = [
    (HumanMessage if role == "user" else AIMessage)(text, id=f"m{n}") for n, (role, text) in enumerate(TALK)
]
DUMPED: list[dict[str, Any]] = [message.model_dump() for message in LANGCHAIN]


def each(make: Callable[[int, bool, str], dict[str, Any]]) -> list[dict[str, Any]]:
    return [make(number, role == "user", text) for number, (role, text) in enumerate(TALK)]


def parts(make: Callable[[str], dict[str, Any]], *, model: str = "assistant", field: str = "parts") -> list[Any]:
    return each(lambda _, mine, text: {"role": "user" if mine else model, field: [make(text)]})


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def tree(wrap: Callable[[int, bool, str], dict[str, Any]], parent: str, *, first: str | None) -> dict[str, Any]:
    """Nodes ``n0``, ``n1``, ... of the talk, and ``gone``: an answer to the second message that was edited away."""
    nodes = {
        f"n{n}": {**wrap(n, role == "user", text), "id": f"n{n}", parent: f"n{n - 1}" if n else first}
        for n, (role, text) in enumerate(TALK)
    }
    return {**nodes, "gone": {**wrap(9, True, "never mind"), "id": "gone", parent: "n1"}}  # noqa: FBT003


def chatgpt_message(n: int, mine: bool, text: str) -> dict[str, Any]:  # noqa: FBT001
    content = {"content_type": "text", "parts": [text]}
    return {"message": {"id": f"n{n}", "author": {"role": "user" if mine else "assistant"}, "content": content}}


def chatgpt() -> dict[str, Any]:
    hidden = {"content_type": "user_editable_context", "user_profile": "I like trains", "user_instructions": "be brief"}
    mapping = {
        "root": {"id": "root", "message": None, "parent": None},
        "about": {"message": {"author": {"role": "user"}, "content": hidden}, "parent": "root"},
        **tree(chatgpt_message, "parent", first="about"),
    }
    thoughts = {
        "author": {"role": "assistant"},
        "content": {"content_type": "thoughts", "thoughts": [{"content": "hm"}]},
    }
    code = {
        "author": {"role": "assistant"},
        "recipient": "python",
        "content": {"content_type": "code", "language": "python", "text": "print(1)"},
    }
    output = {"author": {"role": "tool"}, "content": {"content_type": "execution_output", "text": "1"}}
    mapping["t"] = {"message": thoughts, "parent": "n2"}
    mapping["c"] = {"message": code, "parent": "t"}
    mapping["o"] = {"message": output, "parent": "c"}
    mapping["n3"]["parent"] = "o"
    return {"title": "Parcel", "conversation_id": "c-1", "id": "c-1", "mapping": mapping, "current_node": "n5"}


def claude_code() -> list[dict[str, Any]]:
    def row(n: int, mine: bool, text: str) -> dict[str, Any]:  # noqa: FBT001
        said: Any = text if mine else [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}]
        role = "user" if mine else "assistant"
        return {"type": role, "sessionId": "s-1", "uuid": f"u{n}", "message": {"role": role, "content": said}}

    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "done"}]}
    side = {"role": "user", "content": "Look through the sources."}
    meta = {"role": "user", "content": "Caveat: these were generated"}
    return [
        {"type": "summary", "summary": "Parcel", "leafUuid": "u5"},
        {"type": "file-history-snapshot", "messageId": "u0", "snapshot": {}, "sessionId": "s-1", "uuid": "f"},
        {"type": "user", "sessionId": "s-1", "uuid": "x", "isMeta": True, "message": meta},
        *each(row)[:2],
        {"type": "assistant", "sessionId": "s-1", "uuid": "c", "message": call},
        {"type": "user", "sessionId": "s-1", "uuid": "r", "message": result},
        {"type": "user", "sessionId": "s-1", "uuid": "y", "isSidechain": True, "message": side},
        *each(row)[2:],
        {"type": "system", "subtype": "turn_duration", "sessionId": "s-1", "uuid": "d", "durationMs": 5},
    ]


def states() -> list[dict[str, Any]]:
    """A thread's history, the newest first, as ``get_state_history`` gives it."""
    return [
        {
            "values": {"messages": [dumpd(message) for message in LANGCHAIN[:count]]} if count else {},
            "config": {"configurable": {"thread_id": "th-1", "checkpoint_id": f"{count:04}"}},
            "created_at": f"2026-01-0{count + 1}T00:00:00+00:00",
        }
        for count in range(len(LANGCHAIN), -1, -1)
    ]


def langsmith() -> list[dict[str, Any]]:
    dumped = [dumpd(message) for message in LANGCHAIN]
    model = {
        "id": "r2",
        "trace_id": "r1",
        "parent_run_id": "r1",
        "run_type": "llm",
        "inputs": {"messages": [dumped[:-1]]},
        "outputs": {"generations": [[{"text": TALK[-1][1], "message": dumped[-1]}]]},
    }
    tool = {"id": "r3", "trace_id": "r1", "parent_run_id": "r1", "run_type": "tool", "inputs": {"input": "x"}}
    root = {
        "id": "r1",
        "trace_id": "r1",
        "parent_run_id": None,
        "run_type": "chain",
        "inputs": {"messages": dumped[-2:-1]},
    }
    return [tool, model, {**root, "outputs": {"messages": DUMPED}}]


def otlp() -> dict[str, Any]:
    def attribute(name: str, value: Any) -> dict[str, Any]:
        return {"key": name, "value": {"stringValue": json.dumps(value)}}

    said = parts(lambda text: {"type": "text", "content": text})
    span = {
        "traceId": "t-1",
        "name": "chat",
        "attributes": [attribute("gen_ai.input.messages", said[:-1]), attribute("gen_ai.output.messages", said[-1:])],
    }
    http = {"traceId": "t-1", "name": "GET", "attributes": [attribute("http.route", "/a")]}
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": [span, http]}]}]}


def rasa() -> dict[str, Any]:
    events = each(lambda _, mine, text: {"event": "user" if mine else "bot", "text": text, "timestamp": 1.0})
    noise: list[dict[str, Any]] = [
        {"event": "action", "name": "action_listen"},
        {"event": "slot", "name": "a", "value": "b c"},
    ]
    return {"sender_id": "sender", "slots": {}, "events": [*noise, *events]}


def discord(n: int, mine: bool, text: str) -> dict[str, Any]:  # noqa: FBT001
    author = {"id": "1" if mine else "2", "name": "ann" if mine else "helper", "isBot": not mine}
    return {"id": f"{n}", "type": "Default", "content": text, "author": author, "timestamp": f"2026-01-01T00:00:0{n}"}


def slack(n: int, mine: bool, text: str) -> dict[str, Any]:  # noqa: FBT001
    return {"type": "message", "user": "U1", "text": text, "ts": f"17000000{n}.5", **({} if mine else {"bot_id": "B"})}


def replied(talk: list[tuple[str, str]]) -> dict[str, Any]:
    [(role, text), *rest] = talk
    other = {"role": "assistant", "text": "another answer", "replies": []}
    name = "prompter" if role == "user" else role
    return {"role": name, "text": text, "replies": [replied(rest), other] if rest else []}


JOINED_SLACK = {"type": "message", "subtype": "channel_join", "user": "U1", "text": "<@U1> has joined", "ts": "1.0"}
JOINED_DISCORD = {**discord(0, mine=True, text="Joined the server."), "type": "GuildMemberJoin"}

ASSISTANTS_API = each(
    lambda n, mine, text: {
        "id": f"msg{n}",
        "object": "thread.message",
        "created_at": 100 + n,
        "thread_id": "thread-1",
        "role": "user" if mine else "assistant",
        "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
    }
)
RESPONSES = each(
    lambda _, mine, text: {
        "type": "message",
        "role": "user" if mine else "assistant",
        "content": [{"type": "input_text" if mine else "output_text", "text": text}],
    }
)
BLOCKS = [{**row, "content": [{"type": "text", "text": row["content"]}]} for row in OPENAI]
PYDANTIC_AI = each(
    lambda n, mine, text: {
        "kind": "request" if mine else "response",
        "parts": [
            *([{"part_kind": "system-prompt", "content": "be kind"}] if n == 0 else []),
            {"part_kind": "user-prompt" if mine else "text", "content": text},
        ],
    }
)
WEBUI = {
    "title": "Parcel",
    "history": {
        "messages": tree(
            lambda _, mine, text: {"role": "user" if mine else "assistant", "content": text}, "parentId", first=None
        ),
        "currentId": "n5",
    },
}
LIBRECHAT = [
    {
        "messageId": name,
        "parentMessageId": node["parentMessageId"] or "00000000-0000-0000-0000-000000000000",
        "sender": "User" if node["mine"] else "GPT-4",
        "isCreatedByUser": node["mine"],
        "text": node["text"],
    }
    for name, node in tree(
        lambda _, mine, text: {"mine": mine, "text": text}, "parentMessageId", first=None
    ).items()
]  # fmt: skip
TURNS = [[mine, answer] for mine, answer in zip(USERS, ASSISTANTS, strict=True)]

KINDS: dict[str, tuple[str, Any, str, str]] = {
    # what it is: name of the file, content, the kind that it is taken for, and the id
    "openai chat": ("a.jsonl", lines([{"id": "a-1", "messages": OPENAI}]), "openai_chat", "a-1"),
    "openai chat, bare list": ("a.json", OPENAI, "openai_chat", "row 1"),
    "openai request and completion": (
        "a.json",
        {
            "request": {"messages": OPENAI[:-1]},
            "response": {"id": "cc", "choices": [{"message": OPENAI[-1]}]},
            "id": "q",
        },
        "prompt_and_response",
        "q",
    ),
    "openai messages and choices": (
        "a.json",
        {"id": "q", "messages": OPENAI[:-1], "choices": [{"message": OPENAI[-1], "finish_reason": "stop"}]},
        "openai_chat",
        "q",
    ),
    "openai responses": (
        "a.json",
        {
            "id": "resp",
            "instructions": "be kind",
            "input": RESPONSES[:-1],
            "output": [{"type": "reasoning"}, RESPONSES[-1]],
        },
        "openai_responses",
        "resp",
    ),
    "openai conversation items": (
        "a.json",
        {"object": "list", "data": [{"type": "web_search_call", "id": "w"}, *RESPONSES]},
        "openai_responses",
        "row 1",
    ),
    "agents sdk run items": (
        "a.json",
        [{"type": "message_output_item", "raw_item": item} for item in RESPONSES],
        "openai_agents",
        "row 1",
    ),
    "assistants, newest first": ("a.json", {"object": "list", "data": ASSISTANTS_API[::-1]}, "assistants", "row 1"),
    "assistants, one a line": ("a.jsonl", lines(ASSISTANTS_API[::-1]), "one_message_per_line", "thread-1"),
    "realtime": (
        "a.json",
        {
            "id": "sess",
            "items": each(
                lambda _, mine, text: {
                    "type": "message",
                    "role": "user" if mine else "assistant",
                    "content": [{"type": "input_audio" if mine else "audio", "transcript": text, "audio": None}],
                }
            ),
        },
        "realtime",
        "sess",
    ),
    "realtime events": (
        "a.jsonl",
        lines([{"type": "conversation.item.created", "item": item} for item in RESPONSES]),
        "one_message_per_line",
        "a",
    ),
    "anthropic": (
        "a.json",
        {"system": "be kind", "messages": [*BLOCKS[:-1], {**BLOCKS[-1], "stop_reason": "end_turn"}]},
        "anthropic",
        "row 1",
    ),
    "langchain typed": ("a.json", {"messages": DUMPED}, "langchain", "row 1"),
    "langchain to dict": ("a.json", messages_to_dict(LANGCHAIN), "langchain", "row 1"),
    "langchain serialised": ("a.json", [dumpd(message) for message in LANGCHAIN], "langchain", "row 1"),
    "langchain pairs": ("a.json", [["human" if r == "user" else "ai", t] for r, t in TALK], "messages", "row 1"),
    "langgraph state": ("a.json", states()[0], "langgraph_state", "th-1"),
    "langgraph state as a tuple": (
        "a.json",
        [{"messages": DUMPED}, [], {"configurable": {"thread_id": "th-1"}}, {}, "2026-01-01T00:00:00Z", None, [], []],
        "langgraph_state",
        "th-1",
    ),
    "langgraph history": ("a.json", states(), "langgraph_state", "th-1"),
    "langgraph history, lines": ("a.jsonl", lines(states()[::-1]), "langgraph_state", "th-1"),
    "langgraph threads": (
        "a.json",
        [{"thread_id": "th-2", "status": "idle", "values": {"messages": DUMPED}}],
        "langgraph_state",
        "th-2",
    ),
    "chatgpt": ("conversations.json", [chatgpt()], "chatgpt_export", "c-1"),
    "chatgpt without a current node": (
        "a.json",
        {**chatgpt(), "current_node": None, "mapping": {k: v for k, v in chatgpt()["mapping"].items() if k != "gone"}},
        "chatgpt_export",
        "c-1",
    ),
    "deepseek": (
        "a.json",
        [
            {
                "id": "d-1",
                "mapping": tree(
                    lambda _, mine, text: {
                        "message": {
                            "fragments": [
                                *([] if mine else [{"type": "THINK", "content": "hm"}]),
                                {"type": "REQUEST" if mine else "RESPONSE", "content": text},
                            ]
                        }
                    },
                    "parent",
                    first=None,
                ),
                "current_node": "n5",
            }
        ],
        "chatgpt_export",
        "d-1",
    ),
    "claude.ai": (
        "conversations.json",
        [
            {
                "uuid": "u-1",
                "name": "Parcel",
                "chat_messages": each(
                    lambda n, mine, text: {
                        "uuid": f"m{n}",
                        "sender": "human" if mine else "assistant",
                        "text": text,
                        "content": [{"type": "text", "text": text}],
                        "attachments": [],
                    }
                ),
            }
        ],
        "claude_export",
        "u-1",
    ),
    "claude code": ("s-1.jsonl", lines(claude_code()), "claude_code", "s-1"),
    "codex": (
        "rollout.jsonl",
        lines(
            [
                {"type": "session_meta", "payload": {"id": "x", "instructions": "be kind"}},
                *({"type": "response_item", "payload": item} for item in RESPONSES),
                {"type": "event_msg", "payload": {"type": "user_message", "message": USERS[0]}},
            ]
        ),
        "codex",
        "rollout",
    ),
    "sharegpt": (
        "a.json",
        [{"id": "s", "conversations": each(lambda _, mine, text: {"from": "human" if mine else "gpt", "value": text})}],
        "sharegpt",
        "s",
    ),
    "conversations": ("a.jsonl", lines([{"conversations": OPENAI}]), "openai_chat", "line 1"),
    "wildchat": ("a.jsonl", lines([{"conversation_hash": "h", "conversation": OPENAI}]), "openai_chat", "h"),
    "open webui, all": ("a.json", [{"id": "w-1", "chat": WEBUI}], "open_webui", "w-1"),
    "open webui, one": ("a.json", {"chat": {"id": "w-2", **WEBUI}}, "open_webui", "w-2"),
    "librechat": ("a.json", {"conversationId": "l", "messages": [LIBRECHAT[-1], *LIBRECHAT[:-1]]}, "librechat", "l"),
    "ai sdk": (
        "a.json",
        {
            "id": "v",
            "messages": each(
                lambda n, mine, text: {
                    "id": f"{n}",
                    "role": "user" if mine else "assistant",
                    "parts": [
                        {"type": "step-start"},
                        {"type": "reasoning", "text": "hm"},
                        {"type": "text", "text": text},
                    ],
                }
            ),
        },
        "ai_sdk",
        "v",
    ),
    "langfuse": (
        "a.jsonl",
        lines([{"id": "tr", "name": "c", "input": OPENAI[:-1], "output": OPENAI[-1]}]),
        "langfuse",
        "tr",
    ),
    "langfuse session": (
        "a.json",
        {
            "data": [
                {
                    "id": f"tr{n}",
                    "sessionId": "se",
                    "timestamp": f"2026-01-0{n + 1}",
                    "input": mine,
                    "output": {"content": answer},
                }
                for n, (mine, answer) in enumerate(TURNS)
            ][::-1]
        },
        "langfuse",
        "se",
    ),
    "langsmith": ("a.jsonl", lines(langsmith()), "langsmith", "r1"),
    "langsmith, model only": ("a.jsonl", lines(langsmith()[:2]), "langsmith", "r1"),
    "gemini": (
        "a.json",
        {
            "systemInstruction": {"parts": [{"text": "be kind"}]},
            "contents": parts(lambda text: {"text": text}, model="model")[:-1],
            "candidates": [
                {"content": {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": TALK[-1][1]}]}}
            ],
        },
        "gemini",
        "row 1",
    ),
    "ai studio": (
        "a.json",
        {"chunkedPrompt": {"chunks": each(lambda _, mine, text: {"role": "user" if mine else "model", "text": text})}},
        "ai_studio",
        "row 1",
    ),
    "bedrock": (
        "a.json",
        {"messages": parts(lambda text: {"text": text}, field="content")},
        "bedrock_converse",
        "row 1",
    ),
    "otel parts": ("a.json", {"messages": parts(lambda t: {"type": "text", "content": t})}, "otel_gen_ai", "row 1"),
    "otlp": ("a.json", otlp(), "otel_gen_ai", "t-1"),
    "openinference": (
        "a.jsonl",
        lines(
            [
                {
                    "trace_id": "t-2",
                    "attributes": {
                        f"llm.input_messages.{n}.message.{name}": value
                        for n, row in enumerate(OPENAI)
                        for name, value in row.items()
                    },
                }
            ]
        ),
        "otel_gen_ai",
        "t-2",
    ),
    "one message a line": (
        "a.jsonl",
        lines([{"thread_id": t, **row} for row in OPENAI for t in ("t-1",)]),
        "one_message_per_line",
        "t-1",
    ),
    "one message a line without a thread": ("talk.jsonl", lines(OPENAI), "one_message_per_line", "talk"),
    "table of messages": ("a.json", [{"session_id": 7, **row} for row in OPENAI], "one_message_per_line", "7"),
    "rasa": ("a.json", rasa(), "rasa", "sender"),
    "discord": (
        "a.json",
        {"guild": {"id": "g"}, "channel": {"id": "ch", "name": "help"}, "messages": [JOINED_DISCORD, *each(discord)]},
        "discord",
        "ch",
    ),
    "slack": ("a.json", [JOINED_SLACK, *each(slack)], "slack", "row 1"),
    "pydantic ai": ("a.json", PYDANTIC_AI, "pydantic_ai", "row 1"),
    "llama index": (
        "a.json",
        {"messages": parts(lambda text: {"block_type": "text", "text": text}, field="blocks")},
        "llama_index",
        "row 1",
    ),
    "autogen": (
        "a.json",
        each(lambda _, mine, text: {"source": "user" if mine else "assistant", "content": text, "type": "TextMessage"}),
        "autogen",
        "row 1",
    ),
    "bot framework": (
        "a.json",
        {
            "activities": [
                {"type": "conversationUpdate", "from": {"id": "1", "role": "user"}},
                *each(
                    lambda n, mine, text: {
                        "type": "message",
                        "from": {"id": "1", "role": int(mine)},
                        "text": text,
                        "id": f"{n}",
                    }
                ),
            ]
        },
        "bot_framework",
        "row 1",
    ),
    "open assistant": (
        "a.json",
        {"message_tree_id": "oa", "prompt": replied(TALK)},
        "open_assistant",
        "row 1",
    ),
    "cohere": (
        "a.json",
        {"chat_history": each(lambda _, mine, text: {"role": "USER" if mine else "CHATBOT", "message": text})},
        "messages",
        "row 1",
    ),
    "gradio pairs": ("a.json", {"history": TURNS}, "pairs_of_turns", "row 1"),
    "logged exchanges": (
        "a.jsonl",
        lines([{"session_id": "x", "user_message": mine, "bot_response": answer} for mine, answer in TURNS]),
        "prompt_and_response",
        "x",
    ),
    "history beside question and answer": (
        "a.json",
        {"input": USERS[-1], "chat_history": OPENAI[:-2], "output": ASSISTANTS[-1]},
        "openai_chat",
        "row 1",
    ),
    "history and question": (
        "a.json",
        {"prompt": {"chat_history": OPENAI[:-2], "question": USERS[-1]}, "completion": ASSISTANTS[-1]},
        "prompt_and_response",
        "row 1",
    ),
}
