"""A stranger's file becomes a `Survey`, or one clear `BadSurvey`."""

from __future__ import annotations

from landdata.survey.model import (
    SCHEMA,
    CrsChoice,
    EncodingChoice,
    FieldMatch,
    Inspection,
    Survey,
)

__all__ = ["SCHEMA", "CrsChoice", "EncodingChoice", "FieldMatch", "Inspection", "Survey"]
