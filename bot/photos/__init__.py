"""Photos of a case: what machines read on them, which one a message means, and copies with a place marked."""
