"""Inquiries: questions of apps and bulk jobs of the HTTP API, answered as a turn is, with lower priority."""
