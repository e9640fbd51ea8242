"""Registries: the durable truth about threads."""
