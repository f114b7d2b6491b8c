"""The one error tree.

    LandDataError        500  exit 70   our fault, or the machine's
    ├── BadSurvey        422  exit 2    a survey file that cannot be read, or is refused
    ├── BadRequest       400  exit 2    a parameter, option or setting that makes no sense
    │   └── NotAcceptable 406 exit 2    an answer in a form that there is not
    ├── Conflict         409  exit 2    the store's state does not allow it now
    ├── NotFound         404  exit 3    no such parcel, batch, commune or file
    ├── NotAllowed       403  exit 4    you may not do this
    └── Unavailable      503  exit 70   the database, a disk or a port is not there

An error says in one sentence what, where and what to do. A file that cannot be read is an
error; a bad parcel is never one: it is a `landdata.findings.Finding`.
"""

from __future__ import annotations

import traceback


class LandDataError(Exception):
    """The base of all errors raised on purpose.

    `code` names the cause for programs (kebab-case), `hint` says what to do about it.
    """

    status = 500
    exit_code = 70
    code = "internal"

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or type(self).code

    def as_dict(self) -> dict[str, dict[str, str | None]]:
        """Return `{"error": {"code", "message", "hint"}}`, as printed by `--json` and by HTTP."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


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
    """An answer is asked for in a form that there is not."""

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


class NotAllowed(LandDataError):
    """The caller may not do this."""

    status = 403
    exit_code = 4
    code = "not-allowed"


class Unavailable(LandDataError):
    """Something that we stand on, a database, a disk or a port, is not there."""

    status = 503
    exit_code = 70
    code = "unavailable"


def of_the_machine(error: OSError) -> Unavailable:
    """Return the sentence for what the operating system refused: a full disk, a folder."""
    what = f"{error.filename}: " if isinstance(error.filename, str) else ""
    return Unavailable(
        f"The machine does not let us go on: {what}{error.strerror or type(error).__name__}.",
        hint="Free some room, or mend the permissions (`landdata doctor`), and try again;"
        " what was not finished is not stored.",
        code="machine",
    )


def where(error: BaseException) -> str:
    """Say where an error of ours broke out; not its message, which may hold a row's values."""
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{f.name} {f.filename}:{f.lineno}" for f in reversed(frames))
    return f"{type(error).__name__} at {places}"
