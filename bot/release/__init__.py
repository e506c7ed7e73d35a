"""Gray releases: a candidate answers some of the chats, and is stopped when it is worse."""
