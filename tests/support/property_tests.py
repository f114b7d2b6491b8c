"""How many examples the property tests run: few, and many with --slow."""

from __future__ import annotations

import hypothesis

for _name, _examples in (("default", 20), ("slow", 100)):
    hypothesis.settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],  # a busy machine
    )


def load_profile(*, slow: bool) -> None:
    """Set the number of examples, before the modules of the tests are imported."""
    hypothesis.settings.load_profile("slow" if slow else "default")


def examples(times: int) -> int:
    """Return so many times the examples of other tests, for a test whose examples are quick."""
    profile = hypothesis.settings.default
    assert profile is not None
    return times * profile.max_examples
