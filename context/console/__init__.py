"""What staff see and decide: the list, conversations, cases, held replies, reviews, figures, accounts."""
