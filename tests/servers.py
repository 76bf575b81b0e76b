"""Private database servers for tests and benchmarks: started when first wanted, gone at the end."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

T = TypeVar("T")
HOST = "127.0.0.1"
SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A server that runs, the URI of a database in it, and what says a statement to one."""

    port: int
    uri: str
    run: Callable[[str, str], None]

    def fresh(self) -> str:
        """Make an empty database, or a user with a schema of its own, and give the URI."""
        name = f"d{secrets.token_hex(4)}"
        if self.uri.startswith("mysql"):
            self.run(self.uri, f"CREATE DATABASE {name}")
            return f"{self.uri.rpartition('/')[0]}/{name}"
        # A database of PostgreSQL is hundreds of files.
        self.run(self.uri, f"CREATE ROLE {name} LOGIN; CREATE SCHEMA AUTHORIZATION {name}")
        return self.uri.replace("thalweg@", f"{name}@")


class Broker:
    """A broker that runs and can be killed: started again it has its port and data as before.

    Parameters
    ----------
    scheme
        What its URIs begin with.
    command
        Gives the words that start it, from its folder and port.
    folder
        Where its data lie.
    """

    def __init__(
        self, scheme: str, command: Callable[[Path, int], Sequence[object]], folder: Path
    ) -> None:
        self.port = _free_port()
        self.uri = f"{scheme}://{HOST}:{self.port}"
        self._command = command
        self._folder = folder
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        words = self._command(self._folder, self.port)
        running = _running(words, self._folder, None, signal.SIGKILL)
        process = self._stack.enter_context(running)
        begun = time.monotonic()
        while not _answers(self.port):
            if process.poll() is not None or time.monotonic() - begun > SECONDS:
                raise RuntimeError((self._folder / "log").read_text(errors="replace")[-3000:])
            time.sleep(0.01)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._stack.close()

    def fresh(self) -> str:
        """Give a name that nothing in it has yet."""
        return f"d{secrets.token_hex(4)}"


class Cable:
    """A network that can be cut: a free port here is that of a server.

    Parameters
    ----------
    port
        The server's.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._whole = True
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._door = socket.create_server((HOST, 0))
        self.port = int(self._door.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Drop all connections and refuse new ones."""
        with self._lock:
            self._whole = False
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._ends.clear()

    def mend(self) -> None:
        """Let new connections through again."""
        with self._lock:
            self._whole = True

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        with contextlib.suppress(OSError):  # Wakes up who accepts.
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            with self._lock:
                try:
                    if not self._whole:
                        raise ConnectionRefusedError
                    far = socket.create_connection((HOST, self._server), 5)
                    far.settimeout(None)
                except OSError:
                    near.close()
                    continue
                self._ends += [near, far]
            for one, other in ((near, far), (far, near)):
                for end in (one, other):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_pump, args=(one, other), daemon=True).start()


class MissingError(RuntimeError):
    """A server's programs are not on this machine."""


def wanted(start: Callable[[], contextlib.AbstractContextManager[T]]) -> Iterator[T]:
    """Start a server for tests; without its programs they are skipped, unless they must run."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(start())
        except MissingError as missing:
            if os.environ.get("THALWEG_REQUIRE_SERVERS") == "1":
                pytest.fail(f"{missing}, and THALWEG_REQUIRE_SERVERS=1 forbids to skip")
            pytest.skip(str(missing))
        yield server


@contextlib.contextmanager
def postgresql(options: Sequence[str] = ()) -> Iterator[Server]:
    """Run a PostgreSQL of our own, with quick settings."""
    programs = _folder("initdb", "postgres", extra="/usr/lib/postgresql/*/bin")
    with _place("postgres") as (folder, user):
        data = folder / "data"
        made = [programs / "initdb", "-D", data, "-U", "thalweg", "-A", "trust", "-E", "UTF8"]
        _run([*made, "--locale=C", "--no-sync"], folder, user)
        rules = data / "pg_hba.conf"
        guarded = f"host all guarded {HOST}/32 scram-sha-256\n"
        rules.write_text(guarded + rules.read_text())
        port = _free_port()
        quick = ("fsync=off", "full_page_writes=off", "max_wal_size=4GB")
        settings = [f"listen_addresses={HOST}", f"unix_socket_directories={folder}", *quick]
        command = [programs / "postgres", "-D", data, "-p", port]
        command += [word for one in (*settings, *options) for word in ("-c", one)]
        with _running(command, folder, user, signal.SIGQUIT) as process:
            _wait(process, folder, "ready to accept connections")
            yield Server(port, f"postgresql://thalweg@{HOST}:{port}/postgres", run_postgresql)


@contextlib.contextmanager
def mariadb(options: Sequence[str] = ()) -> Iterator[Server]:
    """Run a MariaDB of our own, with quick settings."""
    programs = _folder("mariadbd", extra="/usr/sbin")
    install = _folder("mariadb-install-db", extra="/usr/bin") / "mariadb-install-db"
    with _place("mysql") as (folder, user):
        data = folder / "data"
        made = [install, "--no-defaults", "--auth-root-authentication-method=normal"]
        small = ["--innodb-log-file-size=16M", "--innodb-flush-method=nosync"]
        small += ["--innodb-doublewrite=0", "--innodb-use-native-aio=0"]
        made += ["--skip-test-db", *_as_user(user)]
        _run([*made, f"--datadir={data}", *small], folder, None)
        port = _free_port()
        command = [programs / "mariadbd", "--no-defaults", f"--datadir={data}", *_as_user(user)]
        command += [f"--bind-address={HOST}", f"--port={port}", f"--socket={folder}/socket"]
        command += ["--innodb-flush-log-at-trx-commit=0", *small]
        command += ["--skip-name-resolve", f"--tmpdir={folder}", *options]
        with _running(command, folder, None, signal.SIGKILL) as process:
            _wait(process, folder, "ready for connections")
            yield Server(port, f"mysql://root@{HOST}:{port}/mysql", run_mysql)


@contextlib.contextmanager
def redis(options: Sequence[str] = ()) -> Iterator[Broker]:
    """Run a Redis of our own that keeps what it has confirmed."""
    program = _folder("redis-server", extra="/usr/bin") / "redis-server"

    def command(folder: Path, port: int) -> list[object]:
        kept = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        return [program, "--bind", HOST, "--port", port, "--dir", folder, *kept, *options]

    with _broker("redis", command) as broker:
        yield broker


@contextlib.contextmanager
def nats(options: Sequence[str] = ()) -> Iterator[Broker]:
    """Run a NATS of our own with JetStream."""
    program = _folder("nats-server", extra="/usr/sbin") / "nats-server"

    def command(folder: Path, port: int) -> list[object]:
        return [program, "-a", HOST, "-p", port, "-js", "-sd", folder / "store", *options]

    with _broker("nats", command) as broker:
        yield broker


def run_postgresql(uri: str, statement: str) -> None:
    """Say something to a PostgreSQL database."""
    import psycopg

    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(statement)


def run_mysql(uri: str, statement: str) -> None:
    """Say something to a MariaDB database."""
    import pymysql

    at = urlsplit(uri)
    given = {"host": at.hostname, "port": at.port, "user": at.username, "autocommit": True}
    with pymysql.connect(**given, database=at.path[1:]) as one, one.cursor() as cursor:
        cursor.execute(statement)


@contextlib.contextmanager
def _broker(scheme: str, command: Callable[[Path, int], Sequence[object]]) -> Iterator[Broker]:
    folder = Path(tempfile.mkdtemp(prefix="thalweg-server-", dir="/tmp"))
    broker = Broker(scheme, command, folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes one way until an end is closed."""
    with contextlib.suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(data)
    for end in (one, other):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _folder(*names: str, extra: str) -> Path:
    """Find the folder of some programs: on the path, or the newest where Debian puts them."""
    folders = [Path(one) for one in os.environ.get("PATH", "").split(os.pathsep) if one]
    root, _, pattern = extra[1:].partition("*")
    more = Path("/", root).glob(f"*{pattern}") if pattern else [Path(extra)]
    for folder in [*folders, *sorted(more, key=_version, reverse=True)]:
        if all(os.access(folder / name, os.X_OK) for name in names):
            return folder
    raise MissingError(f"{names[0]} is not installed on this machine")


def _version(folder: Path) -> int:
    return next((int(part) for part in folder.parts if part.isdigit()), 0)


@contextlib.contextmanager
def _place(owner: str) -> Iterator[tuple[Path, str | None]]:
    """Make a folder that a server can use: servers refuse root, so it may be another user's."""
    folder = Path(tempfile.mkdtemp(prefix="thalweg-server-", dir="/tmp"))
    user = None
    try:
        if os.geteuid() == 0:
            user = owner
            shutil.chown(folder, pwd.getpwnam(owner).pw_uid)
        folder.chmod(0o755)
        yield folder, user
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_user(user: str | None) -> list[str]:
    return [f"--user={user}"] if user else []


def _command(words: Sequence[object], user: str | None) -> list[str]:
    """Write a command, as another user where need be."""
    plain = [str(word) for word in words]
    return ["setpriv", f"--reuid={user}", "--clear-groups", *plain] if user else plain


def _run(words: Sequence[object], folder: Path, user: str | None) -> None:
    """Run a program to its end."""
    done = subprocess.run(
        _command(words, user), cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stdout}{done.stderr}")


@contextlib.contextmanager
def _running(
    words: Sequence[object], folder: Path, user: str | None, stop: signal.Signals
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            _command(words, user), cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        yield process
    finally:
        # At once: what it holds is thrown away. PostgreSQL must end its own processes first.
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], folder: Path, word: str) -> None:
    """Wait until a server writes that it is ready."""
    begun = time.monotonic()
    while word not in (told := (folder / "log").read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() - begun > SECONDS:
            raise RuntimeError(told[-3000:])
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])
