"""Put a server together: models, keys, limits, figures, logs and a port."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.core.errors import OptionError, not_installed
from thalweg.models.artifact import graph_name
from thalweg.models.compiled import CompiledModel

if TYPE_CHECKING:
    from thalweg.serving.http.limits import Limits
    from thalweg.serving.http.log import Log
    from thalweg.serving.http.server import Server

PACKAGES = ("httptools", "onnxruntime", "orjson", "prometheus_client", "uvicorn")


def build(
    models: Sequence[str],
    log: Log,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    precision: str = "float32",
    threads: int = 1,
    candidates: Sequence[str] = (),
    percent: float = 0.0,
    shadow: bool = False,
    keys: Path | None = None,
    certificate: tuple[Path, Path] | None = None,
    exposed: bool = False,
    latency: float | None = None,
    rate: str | None = None,
    limits: Limits | None = None,
) -> Server:
    """Build a server that is ready to run.

    Parameters
    ----------
    models
        ``NAME=FOLDER``, or folders, whose own names are taken. The first is meant where a request
        names none. A model that is not compiled is compiled first, in a process of its own.
    log
        Told of everything.
    host, port
        Where to listen; see `thalweg.serving.http.place.listen`.
    precision, threads
        See `thalweg.models.compiled.CompiledModel.load`.
    candidates, percent, shadow
        See `thalweg.serving.http.deployments.Deployments`.
    keys
        The file of those who may ask; None for everybody.
    certificate
        PEM files: the certificate and its private key.
    exposed
        See `thalweg.serving.http.place.require_safe`.
    latency
        Seconds within which answers are promised: what cannot be is refused at once.
    rate
        How often each key, or each address where there are none, may ask: ``100/s``.
    limits
        Those of a request; the default ones where None.

    Raises
    ------
    ThalwegError
        Where something is missing, cannot be or is not safe.
    """
    graph_name(precision)
    if threads < 1:
        raise OptionError(f"threads is {threads}", "1 or more", "Leave it out for one.")
    if not candidates and (percent or shadow):
        raise OptionError(
            "--canary or --shadow without a candidate",
            "a second version",
            "Name it: --candidate NAME=FOLDER.",
        )
    for package in PACKAGES:
        if find_spec(package) is None:
            raise not_installed("a server", package, "serve")
    from thalweg.serving.http.app import App
    from thalweg.serving.http.deployments import Deployments
    from thalweg.serving.http.keys import Keys
    from thalweg.serving.http.limits import RateLimit, read_rate
    from thalweg.serving.http.metrics import Metrics
    from thalweg.serving.http.place import Certificate, is_loopback
    from thalweg.serving.http.server import Server
    from thalweg.serving.http.tracing import open_tracer

    metrics = Metrics(App.paths(), metadata.version("onnxruntime"))
    deployments = Deployments(
        models,
        partial(CompiledModel.load, precision=precision, threads=threads),
        log=log,
        metrics=metrics,
        compile_folder=partial(_compile, precision=precision, log=log),
        candidates=candidates,
        percent=percent,
        shadow=shadow,
    )
    application = App(
        deployments,
        log=log,
        metrics=metrics,
        tracer=open_tracer(os.environ, log),
        keys=None if keys is None else Keys.load(keys, log),
        rate=None if rate is None else RateLimit(read_rate(rate)),
        limits=limits,
        latency=latency,
        local=is_loopback(host) and not exposed,
    )
    return Server(
        application,
        host=host,
        port=port,
        certificate=None if certificate is None else Certificate(*certificate),
        keys=keys is not None,
        exposed=exposed,
        limits=limits,
        log=log,
    )


def _compile(folder: Path, precision: str, log: Log) -> None:
    """Compile a model in its folder, in another process: this one never loads torch."""
    if find_spec("torch") is None:
        raise OptionError(
            f"the model in {folder} is not compiled, and torch is not installed here",
            "a compiled model",
            "Run thalweg compile where it was trained, and copy the folder.",
        )
    log.info("compiling", folder=str(folder), precision=precision)
    words = ["compile", str(folder), "--precision", precision, "--quiet", "--json"]
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "thalweg", *words], capture_output=True, text=True, check=False
    )
    if done.returncode < 0:
        raise OptionError(
            f"compiling {folder} was ended (signal {-done.returncode})", "its end", ""
        )
    if done.returncode:
        told = done.stderr.strip().splitlines()
        why = told[-1].removeprefix("error: ") if told else f"exit code {done.returncode}"
        raise OptionError(f"the model in {folder} cannot be compiled ({why})", "one that can", "")
