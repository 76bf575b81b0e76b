"""The process that serves: a port, certificates, signals, and an orderly end; uvicorn inside."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from types import FrameType
from typing import Final, Protocol, final

import uvicorn

from thalweg.serving.http.connection import Connection
from thalweg.serving.http.exchange import Receive, Scope, Send
from thalweg.serving.http.limits import Limits
from thalweg.serving.http.log import Log
from thalweg.serving.http.place import Certificate, listen, require_safe

_HANDSHAKE: Final = 10.0  # seconds of TLS' own greetings
_AT_ONCE: Final = 64  # connections that are taken before others have their turn
_PAUSE: Final = 1.0  # seconds until the next is taken where the system gave none
_SWITCH: Final = 0.0005  # seconds that a worker keeps the interpreter while the loop waits for it


class Application(Protocol):
    """What a server serves: ASGI 3, and what becomes of it before and after."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send, /) -> None:
        """Answer a request."""
        ...

    async def start(self) -> None:
        """Be ready to answer; what is raised here ends the server."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...

    def drain(self) -> None:
        """Be no longer ready for new work, but finish what is under way."""
        ...

    def told(self) -> Mapping[str, object]:
        """Give what the line that says "ready" tells."""
        ...


@final
class Server:
    """Serves an application until it is told to stop.

    Parameters
    ----------
    application
        Answers.
    host, port
        Where; see `listen`.
    certificate
        For TLS.
    keys
        Whether the application asks for keys.
    exposed
        See `require_safe`.
    limits
        Those of connections.
    log
        Told when it is ready, and when it ends.
    grace
        Seconds that requests under way have at the end.

    Raises
    ------
    OptionError
        Where it may not, or cannot, listen there.
    """

    def __init__(
        self,
        application: Application,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        certificate: Certificate | None = None,
        keys: bool = False,
        exposed: bool = False,
        limits: Limits | None = None,
        log: Log | None = None,
        grace: float = 30.0,
    ) -> None:
        require_safe(host, keys=keys, tls=certificate is not None, exposed=exposed)
        self._application = application
        self._context = None if certificate is None else certificate.context()
        self._limits = limits or Limits()
        self._log = log or Log()
        self._grace = grace
        self._socket = listen(host, port)
        shown = f"[{host}]" if ":" in host else host or "127.0.0.1"
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if certificate else 'http'}://{shown}:{self.port}"
        self._uvicorn: _Uvicorn | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Serve until a signal says that it is enough (SIGINT, SIGTERM), or `stop` does."""
        switch = sys.getswitchinterval()
        with self._log.adopting("uvicorn.error", "asyncio"):
            config = uvicorn.Config(
                self._application,
                loop=_loop(),
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=max(1, round(self._grace)),
            )
            place = self._socket, self._context, self._limits
            self._uvicorn = _Uvicorn(config, self._application, place, self._started)
            sys.setswitchinterval(_SWITCH)
            try:
                self._uvicorn.run()
            finally:
                sys.setswitchinterval(switch)
                gc.unfreeze()
                self._socket.close()
                if self._ready.is_set():
                    self._log.info("stopped", url=self.url)

    def _started(self) -> None:
        # What has been loaded stays: it need not be searched for garbage over and over.
        gc.collect()
        gc.freeze()
        self._log.info("ready", url=self.url, **self._application.told())
        self._ready.set()

    def start(self) -> str:
        """Serve in a thread, and give the URL once it is ready."""
        self._thread = threading.Thread(target=self._guarded, name="thalweg-serve", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self.url

    def _guarded(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    def stop(self) -> None:
        """Finish what is under way, and end; what `start` began has ended then."""
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None


@final
class _Uvicorn(uvicorn.Server):
    """uvicorn's server with our socket, connections and way to end."""

    def __init__(
        self,
        config: uvicorn.Config,
        application: Application,
        place: tuple[socket.socket, ssl.SSLContext | None, Limits],
        started: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._application = application
        self._socket, self._context, self._limits = place
        self._started = started
        self._door: _Door | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load and warm up, then listen."""
        try:
            await self._application.start()
        except BaseException:
            await self._application.close()
            raise
        connection = partial(Connection, self.config, self.server_state, {}, limits=self._limits)
        loop = asyncio.get_running_loop()
        self.servers = []
        if self._context is None:
            self.servers = [await loop.create_server(connection, sock=self._socket, backlog=2048)]
        else:
            taken, most = self.server_state.connections, self._limits.connections
            self._door = _Door(self._socket, self._context, connection, lambda: most - len(taken))
        self.started = True
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Be no longer ready, then finish what is under way."""
        self._application.drain()
        if self._door is not None:
            self._door.close()
        await super().shutdown(sockets)
        await self._application.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """End in order on a signal, and leave the process to itself after that."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; a second signal ends at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


@final
class _Door:
    """Takes connections with TLS, and counts those that still greet.

    An event loop's own server tells of a connection only after its TLS handshake: clients that
    begin one and say no more would take all files a process may have open, uncounted.

    Parameters
    ----------
    listening
        The port.
    context
        TLS.
    connection
        Makes the protocol of a connection.
    free
        Says how many more connections there may be, without those that still greet.
    """

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        connection: Callable[[], asyncio.Protocol],
        free: Callable[[], int],
    ) -> None:
        self._socket = listening
        self._context = context
        self._connection = connection
        self._free = free
        self._loop = asyncio.get_running_loop()
        self._greeting: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None
        self._open()

    def close(self) -> None:
        """Take no more, and let go of those that have not greeted yet."""
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for one in self._greeting:
            one.cancel()

    def _open(self) -> None:
        self._loop.add_reader(self._socket, self._take)

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                taken, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # such as too many open files: it would be told so over and over
                self._loop.remove_reader(self._socket)
                self._later = self._loop.call_later(_PAUSE, self._open)
                return
            if len(self._greeting) >= self._free():
                taken.close()
                continue
            taken.settimeout(0)
            task = self._loop.create_task(self._greet(taken))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, taken: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client speaks no TLS, is too slow, or has gone
            await self._loop.connect_accepted_socket(
                self._connection, taken, ssl=self._context, ssl_handshake_timeout=_HANDSHAKE
            )


_SIGNALS: Final[Sequence[signal.Signals]] = (signal.SIGINT, signal.SIGTERM)


def _loop() -> str:
    """Name the event loop: uvloop where it is installed."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return "asyncio"
    return "uvloop"
