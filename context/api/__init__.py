"""What the HTTP API keeps: keys with their usage, verdicts on its answers, and jobs."""
