"""A headless Chromium with no network, and patience with it, for the tests that look at pages."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
if not CHROMIUM or not shutil.which("chromedriver"):
    pytest.skip(
        "no browser tests: chromium and chromedriver are not installed "
        "(Debian: apt-get install chromium chromium-driver)",
        allow_module_level=True,
    )

from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402


@contextmanager
def chromium(**logs: str) -> Iterator[webdriver.Chrome]:
    """A browser that finds this machine's own servers and no other, and that keeps the given logs."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "disable-dev-shm-usage",
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", logs)
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait for `condition()` to hold: what a key or a click changes may be drawn after WebDriver has returned.

    An element that was drawn anew while it was looked at is looked at again.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except StaleElementReferenceException:
            pass
        assert time.monotonic() < end, f"{what}: not there after {seconds} s"
        time.sleep(0.05)
