"""The bot itself: channels, turns, engines, the guard, the web pages, the command line."""

__version__ = "0.1.0"
