"""The inside of ``create_guarded_graph``."""
