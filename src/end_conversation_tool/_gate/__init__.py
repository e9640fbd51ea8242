"""The one orchestration: admit, hear, rule."""
