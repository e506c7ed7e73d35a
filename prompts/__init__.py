"""What the bot says to the model, and what it says to the customer without one."""
