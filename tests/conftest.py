"""Fixtures that all suites share, and how hypothesis goes about it."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.nats_server"]

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
