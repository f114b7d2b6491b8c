"""Make docs/map.png: `.venv/bin/python script/screenshot.py`, while `script/run` serves."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from landdata.settings import Settings

settings = Settings.load()
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
    )
    page = browser.new_page(viewport={"width": 1280, "height": 760}, reduced_motion="reduce")
    page.goto(f"http://{settings.host}:{settings.port}/?lang=vi")
    page.get_by_label("Xã").fill("99901/1/12")
    page.get_by_role("button", name="Tìm").click()
    expect(page.locator("#panel")).to_be_visible()
    for _ in range(2):
        page.get_by_role("button", name="Thu nhỏ").click()
        page.wait_for_timeout(800)  # the zoom is drawn in steps
    page.mouse.move(900, 620)
    expect(page.locator("body")).to_have_attribute("data-state", "ready")
    page.screenshot(path=Path(__file__).parents[1] / "docs" / "map.png")
    browser.close()
