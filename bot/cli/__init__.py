"""What operators do from a terminal: `python -m bot COMMAND`, one module for each command."""
