"""Auth handlers of the LangGraph server: a sealed thread answers 423, forged input 403, an unreadable registry 503."""

from __future__ import annotations

from typing import Any

from langgraph_sdk import Auth

from end_conversation_tool.server import ServerGuard
from end_conversation_tool.server_storage import registry_from_environment

auth = Auth()
guard = ServerGuard(registry_from_environment())


@auth.authenticate
async def authenticate() -> str:
    """Let everybody in, as a server without auth handlers does. Put your own check here."""
    return "anybody"


@auth.on
async def check(ctx: Auth.types.AuthContext, value: Any) -> None:
    """Ask the guard about every request, whoever it comes from."""
    await guard.check(ctx, value)
