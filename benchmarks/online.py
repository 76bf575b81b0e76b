"""Learning record by record beside River's adaptive random forest, on the same events in one run.

    python benchmarks/online.py --data ../shared/data --out bench-results/online
    python benchmarks/online.py --only elec2,fast

``elec2``: the Australian electricity market (45,312 events), labels at once and 32 events late.
``made``: River's drifting generators, 20,000 events each, three seeds: SEA (four concepts in turn,
10% noise), Hyperplane (10 columns, each drifting by 0.001, 5% noise), LED (10% noise; 0, 3, 5 and
7 columns change places in turn), RandomRBF (50 centroids that move by 0.001) and Agrawal (five
concepts in turn). ``fast``: the network alone on Elec2, with rehearsal and without.

Each event is predicted, then learned from. Cold start, defaults, the same everywhere. Speed is
events by seconds of CPU. Each prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from thalweg.training.online.base import Script
from thalweg.training.online.experts.fast import Dials, Fast
from thalweg.training.online.inputs import Reader
from thalweg.training.online.start import cold, look
from thalweg.training.online.wishes import Wishes

TARGET = "label"
STREAMS = ("sea", "hyperplane", "led", "rbf", "agrawal")
BATCH = 1000


def made(name: str, seed: int, rows: int) -> pa.Table:
    """Take events of a generator; where there are several concepts, so many of each in turn."""
    from river.datasets import synth

    concepts: dict[str, list[Any]] = {
        "sea": [synth.SEA(variant=v, noise=0.1, seed=seed * 10 + v) for v in range(4)],
        "hyperplane": [
            synth.Hyperplane(
                seed=seed,
                n_features=10,
                n_drift_features=10,
                mag_change=0.001,
                noise_percentage=0.05,
            )
        ],
        "led": [
            synth.LEDDrift(
                seed=seed * 10 + turn,
                noise_percentage=0.1,
                irrelevant_features=True,
                n_drift_features=moved,
            )
            for turn, moved in enumerate((0, 3, 5, 7))
        ],
        "rbf": [
            synth.RandomRBFDrift(
                seed_model=seed,
                seed_sample=seed,
                n_classes=2,
                n_features=10,
                n_centroids=50,
                change_speed=0.001,
                n_drift_centroids=50,
            )
        ],
        "agrawal": [synth.Agrawal(classification_function=f, seed=seed * 10 + f) for f in range(5)],
    }
    turns = concepts[name]
    events = [event for one in turns for event in one.take(rows // len(turns))]
    columns = {str(key): [event[0][key] for event in events] for key in events[0][0]}
    return pa.table({**columns, TARGET: [f"class {int(label)}" for _, label in events]})


def elec2(data: Path) -> pa.Table:
    """Read the electricity market's events."""
    table = pq.read_table(data / "stream/electricity_elec2.parquet")
    return table.rename_columns(
        [TARGET if name == "class" else name for name in table.schema.names]
    )


def ours(table: pa.Table, delay: int, seed: int) -> tuple[float, float]:
    """Give accuracy and events a second of a learner with defaults, in batches of `BATCH`."""
    rows = table.combine_chunks().to_batches()[0]
    # Compiling is no part of the speed.
    for warm in (slice(0, 1500), slice(0, rows.num_rows)):
        part = rows.slice(warm.start, warm.stop)
        begun = time.process_time()
        learner = cold(look(part.slice(0, BATCH), TARGET, Wishes(seed=seed)), Wishes(seed=seed))
        targets = learner.read(part.column(TARGET))
        right, said, answers = 0, None, None
        for start in range(0, part.num_rows, BATCH):
            first, stop = max(0, start - delay), min(start + BATCH, part.num_rows)
            new = np.arange(start, stop)
            pairs = np.stack([new - first, ~(new - delay - first)], axis=1)
            known = np.stack([new >= 0, new >= delay], axis=1)
            kept = stop - first - len(new)
            if answers is not None:
                said, answers = _carried(said, kept, len(new)), _carried(answers, kept, len(new))
            heard = learner.run(
                part.slice(first, stop - first), targets[first:stop], pairs[known], said, answers
            )
            said, answers = heard.said, heard.answers
            guessed = np.nan_to_num(answers[kept:], nan=-1.0).argmax(axis=1)
            right += int((guessed == targets[start:stop]).sum())
        took = time.process_time() - begun
    return right / rows.num_rows, rows.num_rows / took


def _carried(given: Any, kept: int, new: int) -> NDArray[np.float64]:
    """Keep what was said of the last rows, with room for new ones."""
    tail = given[len(given) - kept :]
    return np.concatenate([tail, np.full((new, *given.shape[1:]), np.nan)])


def forest(table: pa.Table, delay: int, seed: int) -> tuple[float, float]:
    """Give accuracy and events a second of River's adaptive random forest of ten trees."""
    from river.forest import ARFClassifier

    model = ARFClassifier(n_models=10, seed=seed)
    labels = table.column(TARGET).to_pylist()
    events = table.drop_columns([TARGET]).to_pylist()
    right = 0
    begun = time.process_time()
    for place, event in enumerate(events):
        right += model.predict_one(event) == labels[place]
        if place >= delay:
            model.learn_one(events[place - delay], labels[place - delay])
    return right / len(events), len(events) / (time.process_time() - begun)


def no_change(table: pa.Table, delay: int) -> float:
    """Give the accuracy of the last label that was known."""
    labels = np.array(table.column(TARGET).to_pylist())
    late = delay + 1
    return float((labels[late:] == labels[:-late]).sum() / len(labels))


def beside(name: str, table: pa.Table, delay: int, seed: int) -> dict[str, Any]:
    """Run both on one stream, in turn."""
    accuracy, speed = ours(table, delay, seed)
    rival, slow = forest(table, delay, seed)
    return {
        "stream": name,
        "delay": delay,
        "seed": seed,
        "events": table.num_rows,
        "accuracy": round(accuracy, 4),
        "forest": round(rival, 4),
        "no_change": round(no_change(table, delay), 4),
        "events_per_second": round(speed),
        "forest_per_second": round(slow),
        "times": round(speed / slow, 1),
    }


def on_elec2(data: Path) -> Iterator[dict[str, Any]]:
    """Run on Elec2 with both delays."""
    table = elec2(data)
    for delay in (0, 32):
        yield beside("elec2", table, delay, 1)


def on_made(rows: int, seeds: int) -> Iterator[dict[str, Any]]:
    """Run on the generators, then give the means of each."""
    for name in STREAMS:
        found = [beside(name, made(name, seed, rows), 0, seed) for seed in range(1, seeds + 1)]
        yield from found
        means = {
            key: round(float(np.mean([one[key] for one in found])), 4)
            for key in ("accuracy", "forest", "no_change", "times")
        }
        yield {"stream": name, "seeds": seeds, **means}


def alone(data: Path) -> Iterator[dict[str, Any]]:
    """Measure the network alone on columns that are read already."""
    table = elec2(data)
    rows = table.combine_chunks().to_batches()[0]
    beginning = look(rows.slice(0, BATCH), TARGET, Wishes())
    inputs = Reader(beginning.schema).read(rows)
    targets = beginning.labels.read(rows.column(TARGET))
    place = np.arange(len(targets))
    steps = np.stack([place, ~place], axis=1).ravel()
    script = Script(rows, inputs, targets, steps, len(beginning.labels.classes))
    for words in ({}, {"replay": 0}):
        best, said = np.inf, np.zeros(0)
        for _ in range(4):
            said = np.full((len(targets), script.width), np.nan)
            head = Fast(numbers=False, dials=Dials(**words), seed=1)
            begun = time.process_time()
            head.run(script, said)
            best = min(best, time.process_time() - begun)
        right = np.nan_to_num(said, nan=-1.0).argmax(axis=1) == targets
        yield {
            "stream": "elec2",
            "what": "the network alone" + (", without rehearsal" if words else ""),
            "accuracy": round(float(right.mean()), 4),
            "events_per_second": round(len(targets) / best),
        }


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("bench-results/online"))
    parser.add_argument("--only", default="fast,elec2,made")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    runs: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "fast": lambda: alone(given.data),
        "elec2": lambda: on_elec2(given.data),
        "made": lambda: on_made(given.rows, given.seeds),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "online.jsonl").open("a") as file:
        for name in given.only.split(","):
            for result in runs[name]():
                print(json.dumps(result), flush=True)
                file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
