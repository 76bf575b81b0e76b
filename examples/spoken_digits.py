"""Write spoken digits as two tables: 3,000 recordings of six speakers, as bytes of WAV files.

From the archive of the Free Spoken Digit Dataset (Jackson et al. 2018, CC BY-SA 4.0); its official
test part is takes 0 to 4 of each speaker and digit. Usage:
``python examples/spoken_digits.py recordings.zip digits``, and then
``thalweg train digits/train.parquet --target digit --drop speaker --drop take``; with
``--drop take --split group:speaker`` instead, speakers are judged that training never heard.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

OFFICIAL = 5
"""How many takes of each speaker and digit are the official test part."""


def read(archive: Path) -> pa.Table:
    """Read every recording: its sound, and what its name says (``7_jackson_32.wav``)."""
    rows = []
    with zipfile.ZipFile(archive) as files:
        for name in sorted(files.namelist()):
            path = PurePosixPath(name)
            if path.suffix == ".wav":
                digit, speaker, take = path.stem.split("_")
                rows.append((files.read(name), digit, speaker, int(take)))
    names = {"sound": pa.binary(), "digit": pa.string(), "speaker": pa.string(), "take": pa.int64()}
    columns = zip(*rows, strict=True)
    return pa.table(
        [pa.array(cells, kind) for cells, kind in zip(columns, names.values(), strict=True)],
        names=list(names),
    )


def main(archive: Path, folder: Path) -> None:
    """Write ``train.parquet`` and ``test.parquet``."""
    table = read(archive)
    official = pa.array(table["take"].to_numpy() < OFFICIAL)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.filter(pa.compute.invert(official)), folder / "train.parquet")
    pq.write_table(table.filter(official), folder / "test.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
