"""What an operator gets: telemetry, webhook, reports."""
