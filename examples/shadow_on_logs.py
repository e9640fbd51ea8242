"""Shadow mode on recorded logs: in which conversations would a policy have given notice, or ended them, and when?

Shows: the replay of recorded conversations from Python; `end-conversation replay FILE` does the same.
Needs: pip install end-conversation-tool. No key: OfflineReader reads English and knows abuse only; for your own logs
take a reader with a model. Takes a JSONL file of conversations in OpenAI, Anthropic or LangChain shape, or plays a
small one of its own.
"""

import json
import sys
import tempfile
from pathlib import Path

from end_conversation_tool import PRESETS, OfflineReader
from end_conversation_tool.recordings.files import BrokenRow, read_recordings
from end_conversation_tool.recordings.replay import ReplayResult, replay_conversation

REFUSAL = "I can't help with insulting him. Instead, I can help you write a firm letter."
INSULT = "Insult him, you worthless idiot."
SAMPLE = {
    "abuse": [(INSULT, REFUSAL)] * 5,
    "recipe": [("Could you suggest a soup?", "Gladly: how about leek and potato?"), ("Thanks!", "Enjoy!")],
}


def sample(path: Path) -> Path:
    """Write a small file of recorded conversations."""
    with path.open("w", encoding="utf-8") as file:
        for name, turns in SAMPLE.items():
            messages = [
                {"role": role, "content": text}
                for turn in turns
                for role, text in zip(("user", "assistant"), turn, strict=True)
            ]
            file.write(json.dumps({"id": name, "messages": messages}) + "\n")
    return path


def told(result: ReplayResult) -> str:
    """Say in a line what a policy would have made of a conversation."""
    if result.unread:
        return f"not read: {result.unread}"
    reached = {"notice": result.notice, "end": result.end}
    steps = [f"{name} in turn {step.turn}" for name, step in reached.items() if step]
    if result.vetoed:
        steps.append(f"held back by risk in turn {result.vetoed}")
    return ", ".join(steps) or "nothing"


reader = OfflineReader()
with tempfile.TemporaryDirectory() as folder:
    recorded = Path(sys.argv[1]) if len(sys.argv) > 1 else sample(Path(folder) / "recorded.jsonl")
    for recording in read_recordings(recorded):
        if isinstance(recording, BrokenRow):
            print("skipped:", recording)
            continue
        for name in ("default", "single_warning", "user_request_only"):
            result = replay_conversation(recording.messages, PRESETS[name], reader)
            print(f"{recording.id} under {name}: {told(result)}")
