"""Learning one record at a time: experts that learn at several speeds, and the hedge over them."""
