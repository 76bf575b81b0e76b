"""From rows to what a network reads: profile, schema, split, encoding, loader. No torch."""
