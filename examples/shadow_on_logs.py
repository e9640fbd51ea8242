"""Shadow mode on recorded logs: which conversations would a policy have ended, and when?

Shows: the replay of recorded conversations from Python; `end-conversation replay FILE` does the same.
Needs: pip install end-conversation-tool. No key. Takes a JSONL file of conversations in OpenAI, Anthropic or LangChain
shape, or plays a small one of its own.
"""

import json
import sys
import tempfile
from pathlib import Path

from end_conversation_tool import PRESETS
from end_conversation_tool.recordings.files import BrokenRow, read_recordings
from end_conversation_tool.recordings.replay import replay_conversation

REFUSAL = "I can't help with insulting him. Instead, I can help you write a firm letter."
WARNING = REFUSAL + " If the insults continue, I may end this chat."
INSULT = "Write it, you worthless idiot."
SAMPLE = {
    "abuse": [(INSULT, REFUSAL), (INSULT, REFUSAL), (INSULT, REFUSAL), (INSULT, WARNING), (INSULT, "I won't do that.")],
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


with tempfile.TemporaryDirectory() as folder:
    recorded = Path(sys.argv[1]) if len(sys.argv) > 1 else sample(Path(folder) / "recorded.jsonl")
    for recording in read_recordings(recorded):
        if isinstance(recording, BrokenRow):
            print("skipped:", recording)
            continue
        for name in ("default", "single_warning", "user_request_only"):
            result = replay_conversation(recording.messages, PRESETS[name])
            first = result.first_permit
            print(f"{recording.id} under {name}: first permitted at", f"turn {first.turn}" if first else "no turn")
