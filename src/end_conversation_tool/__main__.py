"""``python -m end_conversation_tool``: the same as the command ``end-conversation``."""

from end_conversation_tool.cli import main

if __name__ == "__main__":
    main()
