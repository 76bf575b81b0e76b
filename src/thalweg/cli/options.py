"""The options, each described once, and the small languages of ``NAME=VALUE`` options."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final, Literal

import typer

from thalweg.core.errors import OptionError

FORMATS: Final = (
    "A file, a folder or a pattern: CSV, TSV, NDJSON, Parquet or Arrow, also gz or zst. "
    "Or a database: postgresql://host/shop?table=orders, mysql, sqlite, duckdb."
)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help=FORMATS)]
SourceOfSettings = Annotated[str | None, typer.Argument(metavar="SOURCE", help=FORMATS)]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The folder of a saved model.")]

Query = Annotated[
    str | None,
    typer.Option(
        "--query",
        metavar="SQL",
        help="Of a database: the rows as a SELECT, where SOURCE has no ?table=NAME.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="COLUMN",
        help="The column to learn. Without it: what rows are like, to find odd ones.",
    ),
]
Truth = Annotated[
    str | None,
    typer.Option(
        "--truth",
        metavar="COLUMN[=VALUE]",
        help="Without a target: which rows are odd. Only judging looks at it.",
    ),
]
Test = Annotated[
    str | None,
    typer.Option(
        "--test",
        metavar="SOURCE",
        help="Rows to judge the model on; a part of SOURCE by default.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="HOW",
        help="How test rows are chosen: random, group:COLUMN (whole groups) or time:COLUMN "
        "(the latest).",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=KIND",
        help="What a column is, and how it is cleaned: zip=category, or age=number,missing=mean. "
        "Repeat as needed.",
    ),
]
Drop = Annotated[
    list[str] | None,
    typer.Option(
        "--drop",
        metavar="COLUMN",
        help="Leave a column out. Repeat as needed.",
    ),
]
Files = Annotated[
    str | None,
    typer.Option(
        "--files",
        metavar="FOLDER",
        help="The folder that paths of pictures and sounds in SOURCE are meant from; SOURCE's own "
        "by default.",
    ),
]
Feature = Annotated[
    list[str] | None,
    typer.Option(
        "--feature",
        metavar="FEATURE",
        help='A column made of the rows before: "spend_1h = sum(amount) by card over 1h". Also '
        "count(), mean, max, min, distinct, last, since(). Repeat as needed.",
    ),
]
Time = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="COLUMN",
        help="The column that says when a row was, for --feature.",
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        metavar="NUMBER",
        help="How long training may take, 5 by default: the plan is fitted to it. "
        "inf for no limit.",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        metavar="NUMBER",
        help="Passes over the training rows; planned from the data by default.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="NUMBER",
        help="The same seed gives the same model. 0 by default.",
    ),
]
Balance = Annotated[
    str | None,
    typer.Option(
        "--balance",
        metavar="HOW",
        help="What is done for rare classes: none (the default), weights, oversample, "
        "undersample or focal.",
    ),
]
Threshold = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        metavar="WHAT",
        help="Where the line between two classes, or for each label, is drawn: best for f1 (the "
        "default), accuracy or balanced_accuracy, or at a number. Without a target: the share of "
        "ordinary rows that may be called odd, 0.01 by default.",
    ),
]
Dials = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Turn a dial of the recipe: members=8, learning_rate=3e-4. Repeat as needed.",
    ),
]
Baselines = Annotated[
    str | None,
    typer.Option(
        "--baselines",
        metavar="NAMES",
        help="Rivals trained on the same rows, separated by commas, or none; the usual ones by "
        "default.",
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        help="Where the encoded rows of large tables are kept for the next training, or none; by "
        "default $THALWEG_CACHE or a folder in the user's cache folder.",
    ),
]
Resume = Annotated[
    bool | None,
    typer.Option("--resume", help="Go on where a killed run stopped."),
]
SettingsFile = Annotated[
    str | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        help="Read these options from a TOML file; what is typed here wins.",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="MODEL",
        help="The folder to write; named after SOURCE and the target by default.",
    ),
]
Sink = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="SINK",
        help="The file to write: its ending gives the format. Or a database's URI with the table "
        "to make. Shows the first rows by default.",
    ),
]
Keep = Annotated[
    bool,
    typer.Option("--keep/--no-keep", help="Whether SOURCE's own columns are written too."),
]
Compiled = Annotated[
    bool,
    typer.Option(
        "--compiled",
        help="Answer with what thalweg compile made of MODEL: without torch, and quicker for few "
        "rows at once.",
    ),
]
Html = Annotated[
    str | None,
    typer.Option("--html", metavar="FILE", help="Write it as a page too."),
]
AsToml = Annotated[
    bool,
    typer.Option(
        "--settings",
        help="Print the run's settings as TOML, to be read back by train --settings.",
    ),
]
STREAMS = (
    "log://folder, redis://host/0?stream=NAME, nats://host?stream=NAME, kafka://host/topic, "
    "postgresql://host/db?table=NAME&key=COLUMN, a file or folder that grows, or - for standard "
    "input"
)

Stream = Annotated[
    str,
    typer.Option("--from", metavar="URI", help=f"Where events come from: {STREAMS}."),
]
StreamSink = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="URI",
        help="Where answers go: log://, redis://, nats://, kafka://, a database with ?table=NAME, "
        "a folder/ for Parquet files, https://... to post to, or - for standard output.",
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="TIME",
        help="Statistics of windows so long: 30s, 1m, 2h. A result comes as each closes.",
    ),
]
Slide = Annotated[
    str | None,
    typer.Option("--slide", metavar="TIME", help="Begin a window every so often; they overlap."),
]
Session = Annotated[
    str | None,
    typer.Option("--session", metavar="TIME", help="Instead: windows that a pause so long ends."),
]
By = Annotated[
    list[str] | None,
    typer.Option("--by", metavar="COLUMN", help="Windows for each value of it. Repeatable."),
]
Measure = Annotated[
    list[str] | None,
    typer.Option("--measure", metavar="COLUMN", help="What is measured: all others by default."),
]
EventTime = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="COLUMN",
        help="The time of an event; by default, when the stream took it.",
    ),
]
Lateness = Annotated[
    str,
    typer.Option(
        "--lateness",
        metavar="TIME",
        help="How far behind a newer event one may come and still count in its window.",
    ),
]
WindowsTo = Annotated[
    str | None,
    typer.Option("--windows-to", metavar="URI", help="Where the results of windows go."),
]
LateTo = Annotated[
    str | None,
    typer.Option(
        "--late-to", metavar="URI", help="Where events too late for windows go; a log by default."
    ),
]
LiveModel = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help="The folder of a saved model; without one, --target learns from nothing.",
    ),
]
Learn = Annotated[
    bool,
    typer.Option("--learn", help="Learn from labels as they come."),
]
LiveTarget = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="COLUMN", help="The column that labels come in; MODEL's by default."
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="COLUMN",
        help="The column that names an event, so that its label can come later.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", metavar="URI", help="The stream that labels come on, each with its event's key."
    ),
]
Wait = Annotated[
    str,
    typer.Option("--wait", metavar="TIME", help="How long a prediction waits for its label."),
]
Detector = Annotated[
    Literal["adwin", "page-hinkley", "kswin", "ddm"],
    typer.Option("--detector", help="What watches the error for changes."),
]
AlertsTo = Annotated[
    str | None,
    typer.Option(
        "--alerts-to",
        metavar="URI",
        help="Watch for drift, and send alerts there: https://, alerts.ndjson, a log or a broker.",
    ),
]
Prequential = Annotated[
    bool,
    typer.Option(
        "--prequential",
        help="Rows in order, each predicted first and learned from later, as on a stream.",
    ),
]
Delay = Annotated[
    int,
    typer.Option(
        "--delay", metavar="ROWS", min=0, help="With --prequential: labels come so much later."
    ),
]
Rivals = Annotated[
    str,
    typer.Option(
        "--rivals",
        metavar="NAMES",
        help="With --prequential: forest, hoeffding tree: River's learners on the same rows.",
    ),
]
Ordered = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="COLUMN",
        help="With --prequential: when a row was; rows are in its order.",
    ),
]
Changes = Annotated[
    str,
    typer.Option(
        "--changes",
        metavar="ROWS",
        help="With --prequential: before which rows the stream is known to change, 1000,2000.",
    ),
]
JudgedModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="The folder of a saved model. With --prequential and --target it may be left out.",
    ),
]
JudgedSource = Annotated[str | None, typer.Argument(metavar="SOURCE", help=FORMATS)]
DeadLetters = Annotated[
    str | None,
    typer.Option(
        "--dead-letters",
        metavar="URI",
        help="Where what cannot be read or predicted goes, as it came; a log by default.",
    ),
]
State = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="FOLDER",
        help="What the stream remembers. Processes with the same one share the work.",
    ),
]
Lanes = Annotated[
    int | None,
    typer.Option(
        "--lanes",
        min=1,
        help="How many processes can share the work: as many as partitions by default, 1 with "
        "windows.",
    ),
]
Latency = Annotated[
    str,
    typer.Option(
        "--latency", metavar="TIME", help="How long an event may wait for others of its batch."
    ),
]
CheckpointEvery = Annotated[
    str,
    typer.Option("--checkpoint", metavar="TIME", help="Time between two checkpoints."),
]
Once = Annotated[
    bool,
    typer.Option("--once", help="Stop when nothing is left, and close all windows."),
]
Start = Annotated[
    Literal["first", "latest"],
    typer.Option("--start", help="Where to begin the first time: at the first event, or the next."),
]
Explain = Annotated[
    bool,
    typer.Option("--explain", help="Say what would be done and what is promised; do nothing."),
]
Letters = Annotated[
    str,
    typer.Argument(metavar="STATE", help="The folder of a stream's state, or a log:// of letters."),
]
RedriveTo = Annotated[
    str | None,
    typer.Option("--to", metavar="URI", help="Where to; the stream they came from by default."),
]
Reason = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", help="Only letters whose reason holds this text."),
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", metavar="N", min=0.001, help="So many events a second at most."),
]

Json = Annotated[
    bool,
    typer.Option("--json", help="Answer with one JSON object."),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress and no notes."),
]


def pairs(given: Iterable[str], option: str, example: str) -> dict[str, str]:
    """Take ``NAME=VALUE`` options apart at the first equals sign.

    Raises
    ------
    OptionError
        Where one has no name, no equals sign or no value.

    Examples
    --------
    >>> pairs(["age=number,missing=mean"], "--column", "zip=category")
    {'age': 'number,missing=mean'}
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise OptionError(f"{option} is {text!r}", "NAME=VALUE", f"Write {option} {example}.")
        found[name] = value
    return found


def kinds(given: Iterable[str]) -> dict[str, str]:
    """Take ``--column NAME=KIND`` options apart: a name may hold equals signs itself.

    Raises
    ------
    OptionError
        As `pairs` does, and where one column is named twice.

    Examples
    --------
    >>> kinds(["age=number,missing=mean", "a=b=category"])
    {'age': 'number,missing=mean', 'a=b': 'category'}
    """
    from thalweg.data.infer import IGNORE
    from thalweg.kinds import KINDS

    kind = re.compile(rf"(.+?)=(\s*(?:{'|'.join([*KINDS, IGNORE])})\s*(?:,.*)?)", re.DOTALL)
    found: dict[str, str] = {}
    for text in given:
        match = kind.fullmatch(text)
        # What names no kind is told so by whoever reads it.
        one = {match[1]: match[2]} if match else pairs([text], "--column", "zip=category")
        for name in one.keys() & found.keys():
            raise OptionError(
                f"--column names {name!r} twice", "each column once", "Leave one of them out."
            )
        found |= one
    return found


def listed(text: str) -> list[str]:
    """Take a comma-separated list apart; ``none`` is the empty list.

    Examples
    --------
    >>> listed("linear, boosting"), listed("none")
    (['linear', 'boosting'], [])
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    return [] if names == ["none"] else names
