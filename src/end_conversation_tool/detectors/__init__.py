"""Detectors: what was said, and whether somebody may be at risk."""
