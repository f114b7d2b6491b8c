"""Every rule on shape, record, coverage and seam at once, on made-up truth."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import rule_truth


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_every_injected_defect_is_reported_and_nothing_else(seed: int) -> None:
    rule_truth.verify(seed)
