"""Who may read: passwords from the environment and from files, which nobody is ever told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import servers
from thalweg import api
from thalweg.cli.main import main
from thalweg.core.errors import SourceError
from thalweg.sources import open_sink, open_source, without_secrets

SECRET = "se/sa?m@e#"  # noqa: S105 - of a server that nobody else sees
WRITTEN = "se%2Fsa%3Fm%40e%23"


@pytest.fixture(scope="module")
def guarded_postgresql(postgresql: servers.Server) -> str:
    """A server that wants the user guarded to say a password."""
    postgresql.run(postgresql.uri, f"CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '{SECRET}'")
    with open_sink(f"{postgresql.uri}?table=guarded_rows") as sink:
        sink.write(pa.record_batch({"x": np.arange(5)}))
    return postgresql.uri.replace("thalweg@", "guarded@")


@pytest.fixture(scope="module")
def guarded_mysql(mariadb: servers.Server) -> str:
    uri = mariadb.fresh()
    mariadb.run(uri, f"CREATE USER guarded@'%' IDENTIFIED BY '{SECRET}'")
    mariadb.run(uri, "GRANT ALL ON *.* TO guarded@'%'")
    with open_sink(f"{uri}?table=guarded_rows") as sink:
        sink.write(pa.record_batch({"x": np.arange(5)}))
    return uri.replace("root@", "guarded@")


def read(uri: str) -> int:
    source = open_source(f"{uri}?table=guarded_rows")
    assert SECRET not in source.uri
    assert WRITTEN not in source.uri
    return sum(batch.rows.num_rows for batch in source.batches())


def with_password(uri: str, password: str) -> str:
    return uri.replace("guarded@", f"guarded:{password}@")


def refused(uri: str) -> str:
    with pytest.raises(SourceError, match="the right password") as told:
        read(uri)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_postgresql(
    guarded_postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    assert "PGPASSWORD" in refused(guarded_postgresql)
    wrong = refused(with_password(guarded_postgresql, "wr0ng-word"))
    assert "wr0ng-word" not in wrong
    assert read(with_password(guarded_postgresql, WRITTEN)) == 5
    monkeypatch.setenv("PGPASSWORD", SECRET)
    assert read(guarded_postgresql) == 5
    monkeypatch.delenv("PGPASSWORD")
    passwords = tmp_path / "passwords"
    passwords.write_text(f"*:*:*:guarded:{SECRET}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    assert read(guarded_postgresql) == 5


def test_a_service_of_postgresql(
    guarded_postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = guarded_postgresql.rpartition(":")[2].partition("/")[0]
    (tmp_path / "services").write_text(
        f"[shop]\nhost={servers.HOST}\nport={port}\nuser=guarded\npassword={SECRET}\n"
        "dbname=postgres\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    source = open_source("postgresql:///?service=shop&table=guarded_rows")
    assert source.length() == 5
    monkeypatch.setenv("PGSERVICE", "shop")
    assert read("postgresql://") == 5


def test_mysql(guarded_mysql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "MYSQL_PWD" in refused(guarded_mysql)
    assert "wr0ng-word" not in refused(with_password(guarded_mysql, "wr0ng-word"))
    assert read(with_password(guarded_mysql, WRITTEN)) == 5
    monkeypatch.setenv("MYSQL_PWD", SECRET)
    assert read(guarded_mysql) == 5
    monkeypatch.delenv("MYSQL_PWD")
    (tmp_path / ".my.cnf").write_text(f'[client]\nuser = guarded\npassword = "{SECRET}"\n')
    assert read(guarded_mysql.replace("guarded@", "")) == 5


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("postgresql://127.0.0.1:1/db", "does not answer"),
        ("mysql://127.0.0.1:1/db", "does not answer"),
        ("postgresql://no-such-host.invalid/db", "no host 'no-such-host.invalid'"),
        ("mysql://no-such-host.invalid/db", "no host 'no-such-host.invalid'"),
        ("mysql://127.0.0.1:1/db?colour=red", "sets 'colour'"),
        ("sqlite:///no/such/file.db", "no file"),
        ("duckdb:///no/such/file.db", "no file"),
    ],
)
def test_places_that_are_not_there(uri: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=words) as told:
        open_source(f"{uri}{'&' if '?' in uri else '?'}table=t").schema()
    assert "\n" not in str(told.value)


def test_a_database_that_is_not_there(postgresql: servers.Server, mariadb: servers.Server) -> None:
    for server in (postgresql, mariadb):
        server.run(server.uri, "CREATE DATABASE shop")
        uri = f"{server.uri.rpartition('/')[0]}/shopp"
        with pytest.raises(SourceError, match=r"no database 'shopp'.*Did you mean 'shop'"):
            read(uri)


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "duckdb"])
def test_a_driver_that_is_not_installed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.db").touch()
    module = {"postgresql": "adbc_driver_postgresql.dbapi", "mysql": "pymysql"}.get(kind, kind)
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(SourceError, match=r"pip install 'thalweg\[sql\]'"):
        open_source(f"{kind}://{tmp_path}/t.db?table=t").schema()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://ann:pa:ss@w@db:5432/shop?table=t", "postgresql://ann@db:5432/shop?table=t"),
        ("mysql://:hush@db/shop?table=t", "mysql://@db/shop?table=t"),
        ("postgresql://ann:pa/ss@db/shop?table=t", "postgresql://ann@db/shop?table=t"),
        ("postgresql://ann:pa/ss/shop?table=t", "postgresql://***"),
        ("postgresql://db/shop?password=hush&table=t", "postgresql://db/shop?table=t"),
        ("mysql+pymysql://ann:hush@db/shop?table=t", "mysql+pymysql://ann@db/shop?table=t"),
        ("s3://key:hush@bucket/a.csv?region=here", "s3://key@bucket/a.csv?region=here"),
        ("s3://bucket/a.csv?secret_key=hush", "s3://bucket/a.csv"),
        ("s3://bucket/a:b@c.csv", "s3://bucket/a:b@c.csv"),
        ("postgresql://[::1]:5432/shop?table=t", "postgresql://[::1]:5432/shop?table=t"),
        ("postgresql://h1:5432,h2:5433/shop?table=t", "postgresql://h1:5432,h2:5433/shop?table=t"),
        ("sqlite:///a:b@c/rows.db?table=t", "sqlite:///a:b@c/rows.db?table=t"),
        ("C:/rows.csv", "C:/rows.csv"),
    ],
)
def test_what_is_shown(uri: str, shown: str) -> None:
    assert without_secrets(uri) == shown
    assert without_secrets(shown) == shown


def the_same_from_parquet(rows: pa.RecordBatch, given: list[str], model: Path) -> None:
    """Check that a model of the same rows in a file has the same schema and weights."""
    pq.write_table(pa.table(rows), "learnt.parquet")
    other = model.with_name("other")
    words = ["train", "learnt.parquet", "--test", "learnt.parquet", "--out", str(other)]
    assert main([*words, *given]) == 0
    weights = [(one / "weights.safetensors").read_bytes() for one in (model, other)]
    assert weights[0] == weights[1]
    schemas = [json.loads((one / "model.json").read_text())["schema"] for one in (model, other)]
    assert schemas[0] == schemas[1]


def test_a_secret_is_in_no_model_and_on_no_screen(
    guarded_postgresql: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = with_password(guarded_postgresql, WRITTEN)
    with open_sink(f"{uri}?table=learnt&if_exists=replace") as sink:
        x = np.random.default_rng(0).normal(size=400)
        rows = pa.record_batch({"x": x, "c": pa.array(list("abcd") * 100), "y": 2 * x})
        sink.write(rows)
    given = ["--target", "y", "--epochs", "1", "--baselines", "none", "--minutes", "inf"]
    there = f"{uri}?table=learnt"
    assert main(["train", there, "--test", there, *given]) == 0
    model = tmp_path / "learnt-y"
    the_same_from_parquet(rows, given, model)
    assert main(["show", str(model), "--settings"]) == 0
    assert main(["profile", f"{uri}?table=learnt"]) == 0
    assert main(["predict", str(model), f"{uri}?table=learnt", "--to", f"{uri}?table=scores"]) == 0
    assert main(["predict", str(model), f"{uri}?table=learnt", "--to", f"{uri}?table=scores"]) == 2
    assert main(["evaluate", str(model), uri, "--query", "select nonsense"]) == 2
    told = "".join(capfd.readouterr())
    assert "guarded@" in told
    for path in [one for one in tmp_path.rglob("*") if one.is_file()]:
        told += path.read_bytes().decode("latin1")
    assert SECRET not in told
    assert WRITTEN not in told
    settings = api.show(model)["settings"]
    assert settings["source"] == f"{guarded_postgresql}?table=learnt"
    assert json.dumps(settings["test"]) in json.dumps(settings)
    assert open_source(f"{uri}?table=scores").length() == 400
    hidden = open_source(
        uri,
        "select relname from pg_class where relname like 'thalweg%' "
        "and relname not like 'thalweg_progress%'",
    )
    assert list(hidden.batches()) == []
