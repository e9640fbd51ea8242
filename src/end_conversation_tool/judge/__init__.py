"""The judge: a second model that reads the transcript when, and only when, an end is asked for."""

from end_conversation_tool.judge.base import Judge, JudgeCase
from end_conversation_tool.judge.chat_model import ChatModelJudge
from end_conversation_tool.judge.claude import ClaudeJudge

__all__ = ["ChatModelJudge", "ClaudeJudge", "Judge", "JudgeCase"]
