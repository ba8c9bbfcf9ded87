"""Fixtures that all suites share."""

pytest_plugins = ["tests.support.nats_server"]
