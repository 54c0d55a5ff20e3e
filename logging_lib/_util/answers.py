"""Readers of a server's answers up to a size: an answer may be endless, or unpack to a thousand times its size."""

from __future__ import annotations

import urllib3

_BLOCK = 1 << 16


class AnswerTooLongError(urllib3.exceptions.HTTPError):
    """The error for an answer with more bytes than are read."""


def read_answer(response: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    """Read and unpack an answer's body.

    Raises:
        AnswerTooLongError: the body has more than ``max_bytes`` bytes when unpacked.
        urllib3.exceptions.HTTPError: the body is incomplete, or cannot be unpacked.
    """
    content = bytearray()
    for block in response.stream(_BLOCK, decode_content=True):
        content += block
        if len(content) > max_bytes:
            raise AnswerTooLongError(f"the answer is longer than {max_bytes} bytes")
    return bytes(content)


def read_beginning(response: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    """Read and unpack the first bytes of an answer's body, as far as they can be read; do not read the rest."""
    content = bytearray()
    try:
        for block in response.stream(min(max_bytes, _BLOCK), decode_content=True):
            content += block
            if len(content) >= max_bytes:
                break
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        pass  # incomplete, or not packed as its header says; the status was received
    return bytes(content[:max_bytes])
