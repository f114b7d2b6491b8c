"""The one error tree.

    LandDataError        500  exit 70   a bug, or a failure of the system
    ├── BadSurvey        422  exit 2    a survey file that cannot be read, or is refused
    ├── BadRequest       400  exit 2    a parameter, option or setting that makes no sense
    │   └── NotAcceptable 406 exit 2    a media type that is not available
    ├── Conflict         409  exit 2    the store's state does not allow it now
    ├── NotFound         404  exit 3    no such parcel, batch, commune or file
    └── Unavailable      503  exit 70   the database, a disk or a port is not available

An error says in a sentence what is wrong and where, and in its hint what to do. A file that cannot
be read is an error; a bad parcel is not: it is a `landdata.findings.Finding`.
"""

from __future__ import annotations

import traceback
from typing import Any

from landdata.translations import localize, sentence, translate


class LandDataError(Exception):
    """The base of all errors raised on purpose.

    `message` and `hint` (what to do about it) are English templates whose `values` stand in braces,
    or sentences that are filled in already; both are translated when they are shown. `code` names
    the cause for programs (kebab-case).
    """

    status = 500
    exit_code = 70
    code = "internal"

    def __init__(
        self, message: str, *, hint: str | None = None, code: str | None = None, **values: Any
    ) -> None:
        self.message = sentence(message, **values)
        self.hint = None if hint is None else sentence(hint, **values)
        self.code = code or type(self).code
        super().__init__(self.message)

    def as_dict(self, language: str = "en") -> dict[str, dict[str, str | None]]:
        """Return `{"error": {"code", "message", "hint"}}`, as printed by `--json` and by HTTP."""
        message, hint = (text and translate(text, language) for text in (self.message, self.hint))
        return {"error": {"code": self.code, "message": message, "hint": hint}}

    def as_record(self) -> dict[str, Any]:
        """Return the error in JSON, for another process to raise it anew with `**record`."""
        values: dict[str, Any] = {}
        for text in (self.message, self.hint):
            values |= text.values if text else {}
        plain = {name: localize(value, "en") for name, value in values.items()}
        return {
            "code": self.code,
            "message": self.message.template,
            "hint": self.hint and self.hint.template,
            **plain,
        }


class BadSurvey(LandDataError):
    """A survey file that cannot be read, or that is refused as a whole."""

    status = 422
    exit_code = 2
    code = "bad-survey"


class BadRequest(LandDataError):
    """A parameter, option or setting that makes no sense."""

    status = 400
    exit_code = 2
    code = "bad-request"


class NotAcceptable(BadRequest):
    """None of the media types that the client accepts is available."""

    status = 406
    code = "not-acceptable"


class Conflict(LandDataError):
    """The state of the store does not allow this now."""

    status = 409
    exit_code = 2
    code = "conflict"


class NotFound(LandDataError):
    """There is no such parcel, batch, commune or file."""

    status = 404
    exit_code = 3
    code = "not-found"


class Unavailable(LandDataError):
    """The database, a disk or a port is not available."""

    status = 503
    exit_code = 70
    code = "unavailable"


def from_os_error(error: OSError) -> Unavailable:
    """Translate an error of the operating system, such as a full disk."""
    return Unavailable(
        "Cannot read or write {file}: {reason}.",
        hint="Free some space, or correct the permissions (`landdata doctor`), and try again;"
        " unfinished work is not stored.",
        code="machine",
        file=error.filename if isinstance(error.filename, str) else sentence("a file"),
        reason=error.strerror or type(error).__name__,
    )


def where(error: BaseException) -> str:
    """Return where an error was raised, without its message, which may hold a row's values."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{f.name} {f.filename}:{f.lineno}" for f in reversed(frames))
    return f"{type(error).__name__} at {places}"
