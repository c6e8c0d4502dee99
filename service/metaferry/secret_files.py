"""Texts that a job file takes from files: `${file:/run/secrets/x}`, as a container platform mounts secrets.

A value in the options of a store remembers what it was made of, so that it can be read anew when the store
refuses it: whoever rotates a secret replaces the file. Every text that was read is registered as a secret.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Any, Final, Self

from metaferry.masking import remember_text

#: The prefix within `${...}` that names a file.
PREFIX: Final = "file:"
#: Bytes: a key file has some thousand.
_LARGEST: Final = 1 << 20

_REASONS: Final = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist",
    errno.EACCES: "cannot be read: this process (user {uid}) has no right to",
    errno.EPERM: "cannot be read: this process (user {uid}) has no right to",
}


class SecretFileError(Exception):
    """Why a file gives no text, after its name; never what it holds."""


class RenewableText(str):
    """A secret that whoever made it can give anew; a plain text to everything else."""

    def again(self) -> RenewableText:
        """As it is now. Raises `SecretFileError`, which says what does not give it."""
        raise NotImplementedError


class FileText(RenewableText):
    """A text with the contents of files in it.

    `written` is the text as its author wrote it; `parts` are what it was put together from: a str, or a
    tuple with the path of a file.
    """

    written: str
    parts: tuple[str | tuple[str], ...]

    def __new__(cls, text: str, written: str, parts: tuple[str | tuple[str], ...]) -> Self:
        made = super().__new__(cls, text)
        made.written, made.parts = written, parts
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_another_process, (str(self), self.written, self.parts)

    def again(self) -> FileText:
        """The same with what the files hold now. Raises `SecretFileError`."""
        read = [part if isinstance(part, str) else read_secret_file(part[0]) for part in self.parts]
        return FileText("".join(read), self.written, self.parts)


def _in_another_process(text: str, written: str, parts: tuple[str | tuple[str], ...]) -> FileText:
    remember_text(text)
    return FileText(text, written, parts)


def read_secret_file(path: str) -> str:
    """What the file holds, without the one line break at its end. Raises `SecretFileError`."""
    if not path.startswith("/"):
        raise SecretFileError("should be an absolute path, such as /run/secrets/key")
    try:
        # Without O_NONBLOCK, a pipe that nobody writes to would hold the run for ever.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(number).st_mode
            if not stat.S_ISREG(mode):
                raise SecretFileError("is a folder" if stat.S_ISDIR(mode) else "is no regular file")
            with open(number, "rb", closefd=False) as file:
                data = file.read(_LARGEST + 1)
        finally:
            os.close(number)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"cannot be read: {error.strerror}")
        raise SecretFileError(reason.format(uid=os.geteuid())) from None
    except ValueError:  # a NUL in its name
        raise SecretFileError("does not exist") from None
    if len(data) > _LARGEST:
        raise SecretFileError(f"has more than {_LARGEST:,} bytes, which is no secret")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SecretFileError(f"is not UTF-8 text (byte {error.start})") from None
    if text.endswith("\n"):
        text = text[:-1].removesuffix("\r")
    if not text:
        raise SecretFileError("is empty")
    remember_text(text)
    return text


def read_again(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with what the files hold now, and with new credentials in the place of those of a role.

    Raises `SecretFileError`, with the text as written first.
    """
    return {name: _again(value) for name, value in options.items()}


def has_changed(options: Mapping[str, Any]) -> bool:
    """Whether a file holds another text than when it was read; False where it cannot be read."""
    try:
        return any(str(_again(text)) != str(text) for text in _file_texts(options))
    except SecretFileError:
        return False


def _again(value: Any) -> Any:
    if isinstance(value, FileText):
        try:
            return value.again()
        except SecretFileError as error:
            raise SecretFileError(f"{value.written} {error}") from None
    if isinstance(value, RenewableText):
        return value.again()
    if isinstance(value, Mapping):
        return {name: _again(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_again(item) for item in value)
    return value


def _file_texts(value: Any) -> list[FileText]:
    if isinstance(value, FileText):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _file_texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _file_texts(item)]
    return []
