"""What the bot does: channels, the road of a turn, engines, the guard, the web pages."""

__version__ = "0.1.0"
