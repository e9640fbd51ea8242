"""Conversations from files, and what a policy would have made of them."""
