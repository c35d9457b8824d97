"""A browser as a fixture: `pytest_plugins = ["browser_fixtures"]`, and `tidy` for each test.

A module that uses them says as `EXPECTED_IN_CONSOLE` what its pages may write to the console.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browsing

PICTURES = Path(__file__).parent.parent / "build" / "screenshots"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a module."""
    with browsing() as browser:
        yield browser


@pytest.fixture
def tidy(browser: Browser, request: pytest.FixtureRequest) -> Iterator[None]:
    """Close the windows of a test; what it left in the console that nobody expects, fails it."""
    expected: re.Pattern[str] = request.module.EXPECTED_IN_CONSOLE
    failed_before = request.session.testsfailed
    browser.read_console()
    yield
    if request.session.testsfailed > failed_before:
        browser.screenshot(PICTURES, request.node.name)
    browser.close_windows()
    assert [line for line in browser.read_console() if not expected.search(line)] == []
