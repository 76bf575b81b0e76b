"""Files in object stores and behind protocols, through Arrow's file systems and fsspec.

Credentials are found by those libraries (environment, ``~/.aws``, service files); no secret of a
URI is ever part of what is shown.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, final
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs as arrow_fs

from thalweg.core.errors import SourceError, near
from thalweg.core.files import clear_of_disk
from thalweg.sources.partitions import keys_of
from thalweg.sources.paths import is_hidden, parted, scheme_of, shown, suffix_of
from thalweg.sources.places import Place

ARROW: Final = ("s3", "gs", "gcs", "hdfs", "viewfs")
"""The schemes that Arrow reads itself; fsspec is asked for all others."""

_HARMLESS: Final = ("region", "scheme", "endpoint_override", "namenode", "replication")
_MAGIC: Final = re.compile(r"[*?\[]")
_NEEDED: Final = {
    "hdfs": "a Hadoop client: libhdfs, a Java machine (JAVA_HOME) and CLASSPATH"
    " (`hadoop classpath --glob`)",
    "viewfs": "a Hadoop client: libhdfs, a Java machine (JAVA_HOME) and CLASSPATH",
}


def find(uri: str, suffixes: Sequence[str]) -> list[Place]:
    """Find the files that a remote URI, folder or pattern names, in sorted order.

    Raises
    ------
    SourceError
        Where there are none, the file system cannot be used, or access is denied.
    """
    files, path = connect(uri)
    with told(uri):
        return _find(uri, files, path, suffixes)


def _find(uri: str, files: arrow_fs.FileSystem, path: str, suffixes: Sequence[str]) -> list[Place]:
    if _MAGIC.search(path):
        base = _fixed(path)
        pattern = _pattern(path)
        found = [info for info in _listed(files, base) if pattern.fullmatch(info.path)]
        if not found:  # It may name folders.
            found = [one for one in _listed(files, base) if _is_below(pattern, one, suffixes)]
        if not found:
            raise SourceError(f"no file matches {shown(uri)}", "at least one", "Check the pattern.")
    else:
        info = files.get_file_info(path)
        if info.type == arrow_fs.FileType.File:
            found = [info]
        elif info.type == arrow_fs.FileType.Directory:
            found = [one for one in _listed(files, path) if _is_wanted(one.path, path, suffixes)]
            if not found:
                raise SourceError(
                    f"the folder {shown(uri)} holds no file that can be read",
                    "files ending in " + " ".join(suffixes),
                )
        else:
            raise _missing(uri, files, path)
    return [_place(uri, files, path, info) for info in sorted(found, key=lambda one: one.path)]


def _is_below(pattern: re.Pattern[str], info: arrow_fs.FileInfo, suffixes: Sequence[str]) -> bool:
    """Say whether a file holds rows and lies in a folder that a pattern names."""
    folders = (str(folder) for folder in PurePosixPath(info.path).parents)
    matching = (one for one in folders if pattern.fullmatch(one) or pattern.fullmatch(f"{one}/"))
    return any(_is_wanted(info.path, folder, suffixes) for folder in matching)


def _is_wanted(path: str, folder: str, suffixes: Sequence[str]) -> bool:
    """Say whether a file of a folder holds rows: what begins with . or _ is a mark or not whole."""
    below = PurePosixPath(path[len(folder) :].lstrip("/"))
    return suffix_of(below) in suffixes and not is_hidden(below.parts)


def _place(uri: str, files: arrow_fs.FileSystem, asked: str, info: arrow_fs.FileInfo) -> Place:
    """Name a file as the URI that was asked for does."""
    root, tail = shown(uri), asked.lstrip("/")
    if "://" in info.path:  # As fsspec's HTTP has it, query and all.
        named = shown(info.path)
    elif tail and root.rstrip("/").endswith(tail):
        named = root.rstrip("/").removesuffix(tail) + info.path.lstrip("/")
    else:
        named = f"{scheme_of(uri)}://{info.path.lstrip('/')}"
    folders = PurePosixPath(shown(named).partition("://")[2]).parts[:-1]
    return Place(named, info.path, files, keys_of(folders))


def _listed(files: arrow_fs.FileSystem, folder: str) -> list[arrow_fs.FileInfo]:
    """List the files of a folder and all folders in it."""
    selector = arrow_fs.FileSelector(folder, recursive=True, allow_not_found=False)
    return [one for one in files.get_file_info(selector) if one.is_file]


def _fixed(path: str) -> str:
    """Give the folders of a pattern that have no sign of one."""
    parts = path.split("/")
    first = next(place for place, part in enumerate(parts) if _MAGIC.search(part))
    return "/".join(parts[:first])


def _pattern(path: str) -> re.Pattern[str]:
    """Turn a pattern into an expression: ``*`` stays within a folder, ``**`` is any folders.

    Examples
    --------
    >>> bool(_pattern("b/*.csv").fullmatch("b/c/d.csv"))
    False
    >>> all(_pattern("b/**/[a-d].csv").fullmatch(path) for path in ("b/d.csv", "b/c/d.csv"))
    True
    """
    signs = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    told = ""
    for sign in re.findall(r"\*\*/|\*\*?|\?|\[!?[^\]/]+\]|.", path, re.DOTALL):
        if len(sign) > 2 and sign[0] == "[":
            inside = sign[1:-1].replace("\\", "\\\\")
            told += f"[^{inside[1:]}]" if inside[0] == "!" else f"[{inside}]"
        else:
            told += signs.get(sign) or re.escape(sign)
    return re.compile(told, re.DOTALL)


def _missing(uri: str, files: arrow_fs.FileSystem, path: str) -> SourceError:
    """Say that something is not there, with near names."""
    parent, root = path.rpartition("/")[0], path.partition("/")[0]
    if files.type_name == "s3" and not _is_there(files, root):
        return _no_bucket(uri, root, "read")
    names: list[str] = []
    with contextlib.suppress(OSError, pa.ArrowException):
        selector = arrow_fs.FileSelector(parent, allow_not_found=True)
        names = [one.base_name for one in files.get_file_info(selector)]
    mend = near(path.rpartition("/")[2], names) if names else "Check the name."
    return SourceError(f"{shown(uri)} does not exist", "a file, a folder or a pattern", mend)


def _is_there(files: arrow_fs.FileSystem, path: str) -> bool:
    return bool(files.get_file_info(path).type != arrow_fs.FileType.NotFound)


def _no_bucket(uri: str, bucket: str, done: str) -> SourceError:
    """Say that there is no such bucket."""
    return SourceError(
        f"{shown(uri)} cannot be {done}: there is no bucket {bucket!r}",
        "a bucket that exists",
        "Check its name, region and endpoint.",
    )


# ---- file systems --------------------------------------------------------------------------


def connect(uri: str) -> tuple[arrow_fs.FileSystem, str]:
    """Give the file system of a URI, and the path in it.

    Raises
    ------
    SourceError
        Where a library is missing, or the URI cannot be understood.
    """
    scheme = scheme_of(uri)
    if scheme in ARROW:
        return _arrow(uri, scheme)
    return _fsspec(uri, scheme)


def _arrow(uri: str, scheme: str) -> tuple[arrow_fs.FileSystem, str]:
    """Let Arrow connect; the path, which may be a pattern, is left out of what it parses."""
    place, query = parted(uri.partition("://")[2])
    host, _, path = place.partition("/")
    try:
        asked = f"{scheme}://{host}/" + (f"?{query}" if query else "")
        files, base = arrow_fs.FileSystem.from_uri(asked)
    except (OSError, ValueError, pa.ArrowException) as error:
        said = _said(error, uri)
        needed = _NEEDED.get(scheme)
        raise SourceError(
            f"{shown(uri)} cannot be reached ({said})",
            needed if needed and "lib" in said else "a URI that Arrow's file systems understand",
            "Install and set these first."
            if needed
            else "Give credentials by the environment, not in the URI.",
        ) from None
    # A name is meant as it stands, as other tools of these stores take it: %20 is no blank.
    return files, f"{base.rstrip('/')}/{path}".rstrip("/")


def _fsspec(uri: str, scheme: str) -> tuple[arrow_fs.FileSystem, str]:
    """Let fsspec connect, where it is installed and knows the scheme."""
    try:
        import fsspec  # type: ignore[import-untyped, unused-ignore]  # optional
        from fsspec.core import url_to_fs  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise SourceError(
            f"{shown(uri)} needs fsspec, which is not installed",
            f"a path, or one of {' '.join(f'{one}://' for one in ARROW)}",
            "Install it: pip install 'thalweg[cloud]'.",
        ) from None
    if scheme not in fsspec.available_protocols():
        known = sorted({*ARROW, *fsspec.available_protocols()})
        raise SourceError(
            f"{shown(uri)} begins with {scheme!r}", "a scheme that is known", near(scheme, known)
        )
    try:
        files, path = url_to_fs(uri)
    except ImportError as error:
        raise SourceError(
            f"{shown(uri)} needs a package that is not installed ({_said(error, uri)})",
            f"fsspec's package for {scheme}://",
            "Install it with pip.",
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise SourceError(
            f"{shown(uri)} cannot be reached ({_said(error, uri)})", "a URI that fsspec understands"
        ) from None
    return arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(files)), str(path)


def _said(error: Exception, uri: str) -> str:
    """Give an error's first line, free of what the URI keeps secret."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    rest = uri.partition("://")[2]
    place, query = parted(rest)
    user = place.partition("/")[0].rpartition("@")[0]
    told = [pair.partition("=") for pair in query.split("&")]
    hidden = [user, user.partition(":")[2], query]
    hidden += [value for name, _, value in told if name not in _HARMLESS]
    for secret in sorted((one for one in hidden if len(one) > 2), key=len, reverse=True):
        for form in (secret, unquote(secret)):
            text = text.replace(form, "...")
    return " ".join(text.split())[:200].rstrip(". ")


@contextlib.contextmanager
def told(uri: str) -> Iterator[None]:
    """Say in one line what a remote file system refuses.

    Raises
    ------
    SourceError
        In place of the errors of Arrow's file systems and of fsspec's.
    """
    try:
        yield
    except (OSError, pa.ArrowException, ValueError) as error:
        raise refusal(uri, error) from None


def is_refusal(error: Exception) -> bool:
    """Say whether it was the file system or the network that failed, and not the content."""
    if isinstance(error, FileNotFoundError | PermissionError | ConnectionError | TimeoutError):
        return True
    words = r"AWS Error|HTTP|[Cc]onnect|[Rr]esolve|[Tt]imed? ?out|[Nn]etwork"
    return isinstance(error, OSError) and bool(re.search(words, str(error)))


def refusal(uri: str, error: Exception, path: str = "", part: str = "") -> SourceError:
    """Say what went wrong with a remote file, or a part of it, in one line.

    Parameters
    ----------
    uri
        The file, the folder or the pattern.
    error
        What the file system said.
    path
        The file in its file system, which may hold secrets as well.
    part
        Which part of it, as ``row group 3``.
    """
    said = _said(error, path if "://" in path else uri)
    given = f"{f'{part} of ' if part else ''}{shown(uri)} cannot be used ({_brief(said)})"
    if re.search(r"ACCESS_DENIED|AccessDenied|\b40[13]\b|[Ff]orbidden|INVALID_ACCESS|SIGNA", said):
        return SourceError(
            given,
            "a place that you may use",
            "Check your credentials and rights (for S3: AWS_ACCESS_KEY_ID, ~/.aws).",
        )
    if re.search(r"NO_SUCH_BUCKET|[Bb]ucket.*(does not exist|not found)", said):
        return SourceError(given, "a bucket that exists", "Check its name, region and endpoint.")
    if isinstance(error, FileNotFoundError):
        return SourceError(
            f"{shown(uri)} does not exist", "a file, a folder or a pattern", "Check the name."
        )
    return SourceError(
        given, "a place that can be reached", "Check the name, the endpoint and the network."
    )


def _brief(said: str) -> str:
    """Leave out the request's number, which changes every time."""
    return re.sub(r"\s*\(?Request ID:.*", "", said).rstrip(". ")


# ---- writing -------------------------------------------------------------------------------


@final
class Upload:
    """A local draft of a remote file: it goes there whole when it is committed, or not at all.

    Parameters
    ----------
    uri
        The file to make or replace.

    Attributes
    ----------
    path
        Where to write it meanwhile: a file in the temporary folder.

    Raises
    ------
    SourceError
        Where the file system cannot be reached.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._files, self._target = connect(uri)
        with told(uri):
            self._require_folder()
        with clear_of_disk(tempfile.gettempdir()):
            handle, name = tempfile.mkstemp(prefix="thalweg-", suffix=".partial")
        os.close(handle)
        self.path = Path(name)

    def _require_folder(self) -> None:
        """Check that what is written to can be asked about, so that hours of work are not lost."""
        info = self._files.get_file_info(self._target)
        if info.type == arrow_fs.FileType.Directory:
            raise SourceError(
                f"{shown(self._uri)} is a folder",
                "a file, or nothing yet",
                "Choose another name.",
            )
        root = self._target.partition("/")[0]
        if self._files.type_name == "s3" and not _is_there(self._files, root):
            raise _no_bucket(self._uri, root, "written")

    def commit(self) -> None:
        """Upload it.

        Raises
        ------
        SourceError
            Where the file system refuses. What was there before is there still.
        """
        # An object appears at once, when its upload ends; other file systems show a file grow.
        at_once = self._files.type_name in ("s3", "gcs", "abfs")
        folder, slash, name = self._target.rpartition("/")
        draft = self._target if at_once else f"{folder}{slash}.{name}.partial"
        try:
            with told(self._uri):
                if not at_once and folder:
                    self._files.create_dir(folder)
                arrow_fs.copy_files(
                    str(self.path),
                    draft,
                    source_filesystem=arrow_fs.LocalFileSystem(),
                    destination_filesystem=self._files,
                )
                if not at_once:
                    self._files.move(draft, self._target)
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove the draft. What was there before is there still."""
        self.path.unlink(missing_ok=True)


def remove(uri: str) -> None:
    """Remove a file, if it is there.

    Raises
    ------
    SourceError
        Where the file system refuses.
    """
    files, path = connect(uri)
    with told(uri):
        if files.get_file_info(path).is_file:
            files.delete_file(path)
