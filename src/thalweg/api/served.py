"""Serve models behind HTTP: compile them, answer requests, say who may ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.api.given import names_of, require_torch
from thalweg.core.durations import read_duration
from thalweg.core.errors import OptionError
from thalweg.core.progress import Progress, Silent

if TYPE_CHECKING:
    from thalweg.lab.compiling import Compilation
    from thalweg.serving.http.keys import Change
    from thalweg.serving.http.limits import Limits
    from thalweg.serving.http.log import Log
    from thalweg.serving.http.server import Server


def compile(  # noqa: A001 (the verb's own name)
    model: str | Path,
    source: Any = None,
    *,
    precision: str | Sequence[str] = "float32",
    files: str | Path | None = None,
    progress: Progress | None = None,
) -> Compilation:
    """Compile a saved model into one ONNX graph, from raw cells to calibrated answers.

    The graph lies in the model's folder then, as ``model.onnx`` (``model.float16.onnx``,
    ``model.int8.onnx``), and ONNX Runtime answers with it where torch is not installed. It is kept
    only after it said the same as the model, within 1e-5 for float32.

    Parameters
    ----------
    model
        The folder of a saved model.
    source
        Rows to compare by: a path or URI, or a table. With the target among the columns the
        quality of each precision is measured too. By default rows are made of what the model knows.
    precision
        ``float32``, ``float16`` or ``int8``, one or several.
    files
        The folder that paths of pictures and sounds in ``source`` are meant from.
    progress
        Told of every stage.

    Returns
    -------
    Compilation
        Size, largest difference, quality and speed of each, beside the model's own.

    Raises
    ------
    OptionError
        Where a precision is unknown or the network has a part that cannot be compiled.
    ArtifactError
        Where the folder is no whole model.
    """
    require_torch("compiling a model")
    from thalweg.lab.compiling import compile_folder
    from thalweg.sources import open_source

    rows = None if source is None else open_source(source, files=files)
    return compile_folder(
        Path(model), progress or Silent(), source=rows, precisions=names_of(precision)
    )


def server(
    models: str | Path | Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    precision: str = "float32",
    threads: int = 1,
    candidate: str | Sequence[str] = (),
    canary: float = 0.0,
    shadow: bool = False,
    keys: str | Path | None = None,
    certificate: str | Path | None = None,
    private_key: str | Path | None = None,
    exposed: bool = False,
    latency: str | None = None,
    rate: str | None = None,
    limits: Limits | None = None,
    log: Log | None = None,
) -> Server:
    """Put a server together, for `serve`; its ``start()`` and ``stop()`` serve in a thread.

    Parameters
    ----------
    models
        Folders of saved models, or ``NAME=FOLDER``; one or several. The first is meant where a
        request names none. One that is not compiled is compiled first, where torch is installed.
    host, port
        Where to listen; port 0 takes any that is free. Other machines may only ask with keys and
        TLS, or where ``exposed`` says that a proxy in front sees to it.
    precision, threads
        Which of the compiled graphs answers, and by how many threads.
    candidate
        ``NAME=FOLDER`` of a second version (``FOLDER`` where one model is served).
    canary
        The percentage of requests that candidates answer.
    shadow
        Whether candidates are asked too, without anybody seeing what they say: differences are
        counted.
    keys
        The file of keys; see `keys`. Without it everybody on this machine may ask.
    certificate, private_key
        PEM files, for TLS.
    exposed
        See ``host``.
    latency
        The time within which answers are promised, such as ``"50ms"``: what cannot make it is
        refused at once with 429 and a time to try again.
    rate
        How often each key, or each address where there are no keys, may ask: ``"100/s"``.
    limits
        Bytes, rows, seconds and connections; see `thalweg.serving.http.limits.Limits`.
    log
        Where events are told; by default JSON lines on standard error, or text on a terminal.

    Raises
    ------
    ThalwegError
        Where something is missing, cannot be or is not safe.
    """
    from thalweg.serving.http.log import Log
    from thalweg.serving.http.start import build

    if (certificate is None) != (private_key is None):
        raise OptionError(
            "a certificate without its private key, or a key without its certificate",
            "both",
            "Give --certificate and --private-key.",
        )
    given = [models] if isinstance(models, (str, Path)) else models
    pem = None
    if certificate is not None and private_key is not None:
        pem = Path(certificate), Path(private_key)
    return build(
        [str(one) for one in given],
        log or Log(),
        host=host,
        port=port,
        precision=precision,
        threads=threads,
        candidates=names_of(candidate),
        percent=canary,
        shadow=shadow,
        keys=None if keys is None else Path(keys),
        certificate=pem,
        exposed=exposed,
        latency=None if latency is None else read_duration(latency, "--latency") / 1e6,
        rate=rate,
        limits=limits,
    )


def serve(server: Server) -> None:
    """Answer requests until a signal ends it (SIGINT, SIGTERM); what is under way is finished.

    Parameters
    ----------
    server
        See `server`.
    """
    server.run()


def keys(
    file: str | Path,
    *,
    add: str | None = None,
    remove: str | None = None,
    admin: bool = False,
    days: float | None = None,
) -> Change:
    """List the keys of a server, make one or take one back.

    Parameters
    ----------
    file
        Holds hashes only. A server that runs reads it again within a second.
    add
        The name of a new key. It is in what is returned, and nowhere else.
    remove
        The name of a key to take back.
    admin
        With ``add``: whether it may also roll back and steer traffic.
    days
        With ``add``: after how many days it is worth nothing.

    Raises
    ------
    ThalwegError
        Where a name is taken or unknown, or the file is none of keys.
    """
    from thalweg.serving.http.keys import change_keys

    return change_keys(Path(file), add=add, remove=remove, admin=admin, days=days)
