"""``python -m thalweg`` is the ``thalweg`` command."""

from __future__ import annotations

import sys

from thalweg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
