"""Three ways to run one predict."""
