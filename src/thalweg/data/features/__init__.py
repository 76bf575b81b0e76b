"""Windowed features: what came before a row, the same from a table and from a stream."""
