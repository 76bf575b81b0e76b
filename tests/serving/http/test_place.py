from __future__ import annotations

import pytest

from thalweg.serving.http.place import is_own


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LocalHost:80", "a.localhost:1", "localhost:", "127.0.0.1", "192.0.2.7:8080",
        "[::1]", "[::1]:8080", "[2001:DB8::7]",
    ],
)  # fmt: skip
def test_this_machine_and_addresses_are_own(host: str) -> None:
    assert is_own(host.encode())


@pytest.mark.parametrize(
    "host",
    [
        "", ":80", "[", "[]", "[]:80", "]", "[::1", "[::1]x", "[::1]evil.example", "[::1]:x",
        "::1", "[127.0.0.1]", "[localhost]", "evil.example", "evil.example:80",
        "localhost.evil.example", "evil.example@127.0.0.1", "127.0.0.1:80@evil.example",
        "localhost/x", "127.0.0.1.evil.example", "127.0.0.1:80:80", "localhost, evil.example",
        "\xff",
    ],
)  # fmt: skip
def test_all_else_is_not(host: str) -> None:
    assert not is_own(host.encode("latin-1"))
