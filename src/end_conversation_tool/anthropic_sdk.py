"""The door for loops over the raw Anthropic SDK: no LangGraph, no framework.

    guard = ConversationGuard(registry=registry)  # one for the process
    chat = guard.conversation("customer-42")  # known by this id, across restarts

    turn = chat.before_request(messages)
    response = client.messages.create(
        model=MODEL, max_tokens=1024, messages=messages, tools=[*my_tools, guard.tool], system=guard.system(my_system)
    )
    outcome = turn.after_response(response)
    outcome.extend(messages, [run(call) for call in outcome.tool_calls])

``before_request`` refuses a sealed conversation and listens to the user; ``after_response`` listens to the model and
decides when it asks for the end. Both look at the registry. The evidence is kept in the registry too, by the id of the
conversation, and saved once for each response. Nothing of a request or a response is changed, delayed or buffered.

What cannot be known denies an end and refuses a message:

* ``before_request`` with a registry that cannot be read: ``RegistryError``.
* ``after_response`` with one: an end is denied; a reply in words is let through, and its evidence is lost; a reply that
  calls tools of your own is a ``RegistryError``, since they must not run in a conversation that may be sealed.
"""

from __future__ import annotations

from end_conversation_tool._doors.anthropic.conversation import Conversation, ConversationGuard, Turn
from end_conversation_tool._doors.anthropic.turn import TurnOutcome

__all__ = ["Conversation", "ConversationGuard", "Turn", "TurnOutcome"]
