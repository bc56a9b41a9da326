"""Benches are tests unless they are asked for: they run once, assert their answer, time nothing."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Turns timing off unless `--benchmark-only` or `--benchmark-enable` is given."""
    if not (config.getoption("benchmark_only") or config.getoption("benchmark_enable")):
        config.option.benchmark_disable = True
