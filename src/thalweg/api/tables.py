"""Work on tables at rest: look at them, judge a model on them, predict and compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.api.given import model_of, names_of, predictor_of
from thalweg.core.errors import OptionError
from thalweg.core.progress import Progress, Silent

if TYPE_CHECKING:
    import pyarrow as pa

    from thalweg.data.profile import Profile
    from thalweg.models.model import Model
    from thalweg.models.record import Evaluation
    from thalweg.monitor.tables import Drift
    from thalweg.training.online.record import Flow


def profile(
    source: Any,
    *,
    target: str | None = None,
    columns: Mapping[str, str] | None = None,
    files: str | Path | None = None,
    html: str | Path | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Read a table once and say what is in it.

    Parameters
    ----------
    source
        A path, folder or pattern, or a table of pandas, Polars or Arrow.
    target
        A column that is to be predicted: it is then looked at as a target.
    columns
        Column name -> ``KIND[,OPTION=VALUE...]``.
    files
        The folder that paths of pictures and sounds are meant from and may lead into; by default
        that of the table's own file.
    html
        Where to write the profile as a page.
    progress
        Told of the work; silent by default.

    Returns
    -------
    Profile
        The statistics of every column, and what each is taken for and why.

    Examples
    --------
    >>> profile({"age": [31, 45, 52], "city": ["Ulm", "Bonn", "Ulm"]}).schema.names
    ['age', 'city']
    """
    from thalweg.data.profile import profile as read
    from thalweg.sources import open_source

    found = read(
        open_source(source, files=files), target, dict(columns or {}), progress or Silent()
    )
    if html is not None:
        from thalweg.core.files import atomic_file
        from thalweg.lab.report import render_profile

        page = render_profile(
            name=found.name, profile=found.summary, schema=found.schema, warnings=found.warnings
        )
        with atomic_file(html) as building:
            building.write_text(page, encoding="utf-8")
    return found


def load(folder: str | Path) -> Model:
    """Read a saved model. Nothing in the folder can run code.

    Raises
    ------
    ArtifactError
        Where there is none, or it is damaged, foreign or of another version.
    """
    return model_of(folder)


def show(model: Any) -> dict[str, Any]:
    """Tell what a model is, how it was trained and how well it does.

    Parameters
    ----------
    model
        A `Model` or the folder of a saved one.

    Returns
    -------
    dict
        Plain data: ``task``, ``rows``, ``metrics``, ``baselines``, ``seconds``, ``model`` and
        the record.
    """
    from thalweg.lab.study import answer

    return answer(model_of(model))


def evaluate(
    model: Any,
    source: Any,
    *,
    files: str | Path | None = None,
    truth: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge a model on rows that it never saw.

    Parameters
    ----------
    model
        A `Model` or the folder of a saved one.
    source
        Rows with the target.
    files
        The folder that paths of pictures and sounds are meant from; see `train`.
    truth
        For a model without a target: the column that says which rows are odd; by default the one
        that it was trained with, where the rows have it.
    progress
        Told of the work; silent by default.

    Returns
    -------
    Evaluation
        Metrics with 95% intervals, and what they hide: weak slices, calibration.
    """
    from thalweg.data.features.source import featured
    from thalweg.lab.evaluate import evaluate as judge
    from thalweg.sources import open_source

    loaded, progress = model_of(model), progress or Silent()
    with featured(open_source(source, files=files), loaded.schema.features, progress) as rows:
        return judge(loaded, rows, progress, truth)


def predict(
    model: Any,
    source: Any,
    *,
    to: str | Path | None = None,
    keep: bool = True,
    compiled: bool = False,
    files: str | Path | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """Predict every row of a source.

    Parameters
    ----------
    model
        A `Model` or the folder of a saved one.
    source
        Rows with every column that the model reads.
    to
        A file to write to, whole or not at all; the format follows its name. Or a table of a
        database: ``postgresql://host/shop?table=scores``. Rows that could not be read or predicted
        go to a file of that name with ``.rejects.ndjson`` behind.
    keep
        Whether the source's own columns come before the prediction's.
    compiled
        Whether what the model was compiled to answers (see `compile`): without torch, and within
        1e-5 of the model.
    files
        The folder that paths of pictures and sounds are meant from; see `train`.
    progress
        Told of the work; silent by default.

    Returns
    -------
    pyarrow.Table
        The rows; none of them where they went to a file.
    """
    from thalweg.data.features.source import featured
    from thalweg.serving.batch import predict_all
    from thalweg.sources import open_source

    loaded, progress = predictor_of(model, compiled=compiled), progress or Silent()
    with featured(open_source(source, files=files), loaded.schema.features, progress) as rows:
        return predict_all(loaded, rows, to, progress, keep=keep)


def prequential(
    source: Any,
    *,
    model: Any = None,
    target: str | None = None,
    delay: int = 0,
    time: str | None = None,
    rivals: str | Sequence[str] = (),
    changes: Sequence[int] = (),
    columns: Mapping[str, str] | None = None,
    drop: str | Sequence[str] = (),
    detector: str = "adwin",
    experts: Sequence[str] | None = None,
    html: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Flow:
    """Judge how well rows can be predicted while they are learned from, as on a stream.

    Every row is predicted first; its label comes ``delay`` rows later, is scored, and is learned
    from (Dawid 1984). ``thalweg evaluate --prequential`` in a shell.

    Parameters
    ----------
    source
        The rows, in the order in which they came: see `profile`.
    model
        A `Model` or the folder of a saved one, which goes on learning; without one nothing was
        learned before.
    target
        The column that labels come in; the model's own by default.
    delay
        So many rows are predicted between a row and its label.
    time
        The column with the rows' times, by which they must be in order.
    rivals
        ``forest`` and ``hoeffding tree``: River's learners on the same rows, beside the last label
        and the commonest class.
    changes
        Before which rows the stream is known to change, for the report.
    columns, drop
        Without a model: column name -> ``KIND[,OPTION=VALUE...]``, and columns not to use.
    detector
        See `pipeline`.
    experts
        Who is asked: some of ``fast``, ``challenger``, ``slow``, ``frozen``, ``tree``, ``last``.
    html
        Where to write the report.
    seed
        Draws the first weights, what is rehearsed, and the forest.
    progress
        Told of the work; silent by default.

    Returns
    -------
    Flow
        Scores over the whole stream, of late and as curves, beside the baselines'.

    Examples
    --------
    >>> rows = {"x": [0.0, 1.0] * 200, "up": ["no", "yes"] * 200}
    >>> prequential(rows, target="up").standing.metrics["accuracy"] > 0.9
    True
    """
    from thalweg.data.features.source import featured
    from thalweg.lab.prequential import prequential as judge
    from thalweg.sources import open_source
    from thalweg.training.online.start import begin
    from thalweg.training.online.wishes import Wishes

    progress = progress or Silent()
    trained = None if model is None else model_of(model)
    opened = open_source(source)
    wishes = Wishes(detector, experts, columns, (*names_of(drop), *([time] if time else [])), seed)
    if target is None and trained is not None and trained.schema.target is not None:
        target = trained.schema.target.name
    if target is None:
        raise OptionError(
            "a stream without a target", "the column that labels come in", "Add --target COLUMN."
        )
    features = None if trained is None else trained.schema.features
    with featured(opened, features, progress) as rows:
        learner = begin(rows, target, wishes, trained)
        flow = judge(
            learner,
            rows,
            target,
            delay,
            progress,
            names_of(rivals),
            when=time,
            changes=changes,
            seed=seed,
        )
    if html is not None:
        from thalweg.core.files import atomic_file
        from thalweg.lab.report.flow import render_flow

        with atomic_file(html) as building:
            building.write_text(render_flow(flow, name=opened.uri), encoding="utf-8")
    return flow


def drift(
    before: Any,
    after: Any,
    *,
    html: str | Path | None = None,
    progress: Progress | None = None,
) -> Drift:
    """Compare two tables column by column: which have changed, in what, and how far.

    Parameters
    ----------
    before
        What it was: a table (see `profile`), a model or the folder of one, which stands for the
        rows it was trained on and the columns it reads, or a
        `thalweg.stats.drift.reference.Reference`.
    after
        What it is: a table.
    html
        Where to write the comparison as a page.
    progress
        Told of the work; silent by default.

    Returns
    -------
    Drift
        How far each column has moved, the farthest first.

    Examples
    --------
    >>> found = drift({"size": [*range(300)] * 2}, {"size": [*range(100, 400)] * 2})
    >>> [(one.name, one.words) for one in found.drifted]
    [('size', 'mean 149.5 → 249.5')]
    """
    from thalweg.monitor.tables import compare_tables
    from thalweg.sources import open_source
    from thalweg.stats.drift.reference import Reference

    model, told = _judge(before)
    if model is not None:
        if model.reference is None:
            raise OptionError(
                f"{told} keeps no reference of its training rows",
                "a model that was trained by this version, or a table",
                "Train it again, or give the table that it was trained on.",
            )
        before = model.reference
        told = told or "model"
    given = before if isinstance(before, Reference) else open_source(before)
    # Of what a model does not read nothing is known, and its target need not be there.
    known = None if model is None or model.reference is None else model.reference.columns
    target = [] if model is None or model.schema.target is None else [model.schema.target.name]
    found = compare_tables(given, open_source(after), progress or Silent(), told, known, target)
    if html is not None:
        from thalweg.core.files import atomic_file
        from thalweg.lab.report import render_drift

        page = render_drift(
            before=found.before,
            after=found.after,
            reference=found.reference,
            summary=found.summary,
            drifts=found.columns,
        )
        with atomic_file(html) as building:
            building.write_text(page, encoding="utf-8")
    return found


def _judge(given: Any) -> tuple[Model | None, str]:
    """Take a model, or a folder that holds one, and its name; None where it is something else."""
    if isinstance(given, str | Path):
        from thalweg.models.artifact import DESCRIPTION

        is_model = (Path(given) / DESCRIPTION).is_file()
        return (model_of(given), str(given)) if is_model else (None, "")
    if type(given).__name__ == "Model":
        from thalweg.models.model import Model

        return (given, "the model") if isinstance(given, Model) else (None, "")
    return None, "reference"
