"""Seeds that depend on where they are used, so that work can stop anywhere and go on."""

from __future__ import annotations

import hashlib


def derive(seed: int, *path: str | int) -> int:
    """Give a seed of its own to each place.

    Work that is begun again at a place draws the same numbers there, whatever went before.

    Parameters
    ----------
    seed
        The run's seed.
    path
        Where the numbers are drawn: ``("shuffle", epoch)``.

    Returns
    -------
    int
        From 0 to 2**63 - 1; equal for equal arguments on any machine.

    Examples
    --------
    >>> derive(0, "shuffle", 1) == derive(0, "shuffle", 1) != derive(0, "shuffle", 2)
    True
    """
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
