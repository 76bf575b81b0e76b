"""Experts, one file each: what predicts a record and learns from it when its label comes."""

from __future__ import annotations

from typing import Final

EXPERTS: Final = {
    "challenger": "Challenger",
    "champion": "Champion",
    "fast": "Fast",
    "frozen": "Frozen",
    "last": "Last",
    "slow": "Slow",
    "tree": "Tree",
}
"""Each one's file in this folder, and its class there."""
