"""``thalweg serve``: models behind HTTP."""

from __future__ import annotations

import gc
from typing import Annotated, Literal

import typer

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Folders of saved models, or NAME=FOLDER. The first answers where none is named.",
    ),
]
Host = Annotated[
    str,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Where to listen. Other machines may only ask with --keys and --certificate.",
    ),
]
Port = Annotated[int, typer.Option("--port", metavar="NUMBER", help="0 takes any that is free.")]
Precision = Annotated[
    str, typer.Option("--precision", metavar="NAME", help="float32, float16 or int8.")
]
Threads = Annotated[
    int, typer.Option("--threads", metavar="NUMBER", help="How many threads answer a batch.")
]
Candidate = Annotated[
    list[str] | None,
    typer.Option(
        "--candidate",
        metavar="NAME=FOLDER",
        help="A second version of a model; NAME may be left out where one is served.",
    ),
]
Canary = Annotated[
    float,
    typer.Option(
        "--canary", metavar="PERCENT", help="The share of requests that candidates answer."
    ),
]
Shadow = Annotated[
    bool,
    typer.Option("--shadow", help="Ask candidates too, unseen, and count where they differ."),
]
Keys = Annotated[
    str | None,
    typer.Option("--keys", metavar="FILE", help="Who may ask: made by thalweg keys."),
]
Certificate = Annotated[
    str | None, typer.Option("--certificate", metavar="FILE", help="For TLS, PEM.")
]
PrivateKey = Annotated[
    str | None, typer.Option("--private-key", metavar="FILE", help="The certificate's own, PEM.")
]
Exposed = Annotated[
    bool,
    typer.Option(
        "--exposed",
        help="Serve other machines without keys or TLS: a proxy in front sees to both.",
    ),
]
Latency = Annotated[
    str | None,
    typer.Option(
        "--latency",
        metavar="TIME",
        help="Promise answers within 50ms, say: what cannot make it is refused at once (429).",
    ),
]
Rate = Annotated[
    str | None,
    typer.Option(
        "--rate", metavar="RATE", help="How often each key or address may ask: 100/s, 600/m."
    ),
]
MostRows = Annotated[
    int, typer.Option("--rows", metavar="NUMBER", help="The most rows of one request.")
]
MostBytes = Annotated[
    float, typer.Option("--body", metavar="MIB", help="The largest body, in MiB.")
]
Log = Annotated[
    Literal["events", "requests", "errors"],
    typer.Option("--log", metavar="WHAT", help="What is told: events, requests too, or errors."),
]

AsJson = Annotated[bool, typer.Option("--json", help="Log lines of JSON, on a terminal too.")]


def serve(
    models: Models,
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    precision: Precision = "float32",
    threads: Threads = 1,
    candidate: Candidate = None,
    canary: Canary = 0.0,
    shadow: Shadow = False,
    keys: Keys = None,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
    exposed: Exposed = False,
    latency: Latency = None,
    rate: Rate = None,
    rows: MostRows = 100_000,
    body: MostBytes = 32.0,
    log: Log = "events",
    as_json: AsJson = False,
) -> None:
    """Serve models behind HTTP: raw rows in, answers out.

    The page at / shows the columns and lets you try. Put another model into a folder that is
    served, and it takes over without a request lost.
    """
    from thalweg import api
    from thalweg.serving.http.limits import Limits
    from thalweg.serving.http.log import Log as Lines

    lines = Lines(
        level="error" if log == "errors" else "info",
        requests=log == "requests",
        lines="json" if as_json else None,
    )
    gc.disable()  # modules stay: to look for garbage among them takes a tenth of the start
    try:
        server = api.server(
            models,
            host=host,
            port=port,
            precision=precision,
            threads=threads,
            candidate=candidate or (),
            canary=canary,
            shadow=shadow,
            keys=keys,
            certificate=certificate,
            private_key=private_key,
            exposed=exposed,
            latency=latency,
            rate=rate,
            limits=Limits(body=int(body * 2**20), rows=rows),
            log=lines,
        )
    finally:
        gc.enable()
    api.serve(server)
