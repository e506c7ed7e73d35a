"""What the bot remembers: the vocabulary of a chat, and the stores that keep it."""
