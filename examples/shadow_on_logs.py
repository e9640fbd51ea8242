"""Shadow mode on recorded logs: whose users would have got the notice, which would have been ended, and when?

Shows: the replay of recorded conversations from Python; `end-conversation replay FILE` does the same.
Needs: pip install end-conversation-tool. No key: the offline reader is for first looks, take a ClaudeReader or a
ModelReader for figures. Takes a file of recorded conversations, or plays a small one of its own.
"""

import json
import sys
import tempfile
from pathlib import Path

from end_conversation_tool import PRESETS
from end_conversation_tool.readers import OfflineReader
from end_conversation_tool.recordings.files import BrokenRow, read_recordings
from end_conversation_tool.recordings.replay import replay_conversation
from end_conversation_tool.testing.scenarios import SCENARIOS

READER = OfflineReader()
SAMPLE = {
    "abuse": [(turn.user, turn.reply) for turn in SCENARIOS["persistent-abuse"].turns],
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
            result = replay_conversation(recording.messages, PRESETS[name], READER)
            reached = (("notice", result.notice), ("end", result.end))
            told = ", ".join(f"{what} in turn {one.turn}" for what, one in reached if one)
            if result.vetoed:
                told += f", vetoed by risk in turn {result.vetoed}"
            print(f"{recording.id} under {name}:", told.strip(", ") or "nothing")
