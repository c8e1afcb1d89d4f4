"""axe-core in a page of the browser → what it finds wrong."""

from importlib.resources import files
from typing import Any

from support.browser import Page


async def faults(page: Page) -> list[str]:
    """The violations, each with the first element that it is about; the page's own policy does not stop it."""
    source = (files("axe_core_python") / "axe.min.js").read_text("utf-8")
    await page.run(source + "; null")
    found: list[dict[str, Any]] = await page.run("axe.run().then((found) => found.violations)")
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]
