"""The training loop as a ladder of small methods, and what it leans on."""
