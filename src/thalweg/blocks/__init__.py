"""Torch building blocks that know nothing of columns."""
