"""Debian's Chromium without a window, and what it reports of a page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "chromium"


def missing() -> str | None:
    """Why there is no browser here; None where there is one."""
    return None if shutil.which(CHROMIUM) else "there is no chromium here; Debian's package has that name"


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser that asks the network for nothing of its own."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which(CHROMIUM), args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


@dataclass
class Seen:
    """A page as a browser has it, what it asked for beside itself, and what it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def violations(self) -> list[dict[str, Any]]:
        """What axe-core finds against it."""
        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        return found

    def overflows(self) -> bool:
        """Whether the page as a whole has to be scrolled sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@contextmanager
def opened(browser: Browser, path: Path, *, width: int = 1440, **options: Any) -> Iterator[Seen]:
    """A file in a window of its own, this many pixels wide; `options` are those of Playwright's `new_context`."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    try:
        seen = Seen(context.new_page())
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("console", lambda message: seen.complaints.append(message.text))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.goto(path.as_uri())
        seen.requests.remove(path.as_uri())
        yield seen
    finally:
        context.close()
