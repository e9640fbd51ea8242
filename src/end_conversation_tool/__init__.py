"""Let an AI agent leave a conversation, safely: the tool and the enforcement."""
