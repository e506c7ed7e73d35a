"""What happens to customers' messages when everything else goes wrong: `python -m bot torture`.

A bot, this one or any other, runs as a real process between a Telegram server and a model server of
ours.  A crowd of customers sends it marked messages, a scenario breaks something, and a card says
what became of every message: answered, lost, doubled, out of order, mixed with another chat's.

Part of a source checkout with the development tools (the servers are those of the tests); the
installed packages know nothing of it.
"""
