"""Write pictures as tables: MNIST, Fashion-MNIST and CIFAR-10, a picture and its class in each row.

MNIST and Fashion-MNIST come as four ``idx`` files in one folder, CIFAR-10 as one Parquet file of
JPEGs whose rows say which part they belong to. Both become ``train.parquet`` and
``test.parquet`` with the columns ``picture`` (a PNG or JPEG file's bytes) and ``label``. Usage::

    python examples/image_tables.py fashion_mnist/ demo/fashion
    python examples/image_tables.py cifar10_jpeg.parquet demo/cifar10
"""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

FASHION = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
"""The classes of Fashion-MNIST, by their number."""

PARTS = {"train": "train", "test": "t10k"}
"""What the parts are called, and how the names of their files begin."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an array out of an idx file: two zeros, the type, the axes, their lengths, the bytes."""
    raw = gzip.decompress(path.read_bytes())
    axes = raw[3]
    shape = np.frombuffer(raw, ">u4", count=axes, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Write pixels [H, W] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def from_idx(folder: Path, part: str) -> pl.DataFrame:
    """Make a table of one part of MNIST or Fashion-MNIST."""
    pictures = read_idx(folder / f"{PARTS[part]}-images-idx3-ubyte.gz")
    labels: NDArray[Any] = read_idx(folder / f"{PARTS[part]}-labels-idx1-ubyte.gz")
    if "fashion" in folder.name:
        labels = np.array(FASHION)[labels]
    return pl.DataFrame({"picture": [png(one) for one in pictures], "label": labels.tolist()})


def from_parquet(path: Path, part: str) -> pl.DataFrame:
    """Make a table of one part of CIFAR-10."""
    rows = pl.scan_parquet(path).filter(pl.col("split") == part)
    return rows.select(pl.col("image").alias("picture"), "label").collect()


def main(source: Path, folder: Path) -> None:
    """Write both parts."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        table = from_idx(source, part) if source.is_dir() else from_parquet(source, part)
        table.write_parquet(folder / f"{part}.parquet")
        print(f"{folder / f'{part}.parquet'}: {len(table):,} rows")  # noqa: T201 - what it says


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
