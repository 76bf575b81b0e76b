"""The stream runner: the one predict, windows and features over endless rows, exactly once."""
