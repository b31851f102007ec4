"""The page in a real browser: from the first click to the downloaded file, and what goes wrong."""

import os
import shutil
import threading
import time

import pytest
import uvicorn
from drawing_helpers import fails

from pocold.apps.drawing.results import describe
from pocold.apps.serve.server import listen
from pocold.apps.ui.command import UiOptions
from pocold.models import densepose_estimator

pytest.importorskip("gradio", reason="the page needs the extra ui")
api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
pytestmark = pytest.mark.apps
NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 240_000  # milliseconds


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("POCOLD_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium was found; install one, or name it in POCOLD_BROWSER")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(drawn_folder, tmp_path_factory):
    """The address of a page with a toy model whose estimator finds nobody, and its sessions."""
    from pocold.apps.ui.server import create_app

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(densepose_estimator, "BUNDLED", drawn_folder / "blind")
        for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
            patch.setenv(name, "")  # so that what the server sets is put back
        app, sessions = create_app(UiOptions(model=drawn_folder / "sized"), tmp_path_factory.mktemp("ui"), grace=0.1)
        listening = listen("127.0.0.1", 0)
        running = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", sessions
        running.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def page(browser, server):
    """The page, as it was just opened; it asked no other computer for anything."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened.set_default_timeout(PATIENCE)
    answered = []
    opened.on("response", lambda response: answered.append(response.url))
    load(opened, server[0])
    yield opened
    opened.close()
    assert [url for url in answered if not url.startswith((server[0], "data:", "blob:"))] == []


def load(page, address):
    page.goto(address, wait_until="domcontentloaded", timeout=PATIENCE)
    wait_for_text(page, "#found", "parts of the body are seen")


def wait_for_text(page, selector, text):
    try:
        page.wait_for_function(
            "([selector, text]) => document.querySelector(selector)?.innerText.includes(text)", arg=[selector, text]
        )
    except api.TimeoutError:
        pytest.fail(f"waited for {text!r} in {selector}, which says {page.inner_text(selector)!r}")


def drop(page, field, *files):
    """Put files into a field, in place of what it holds."""
    if page.locator(f"{field} button[aria-label='Remove Image']").count():
        page.locator(f"{field} button[aria-label='Remove Image']").click()
    page.locator(f"{field} input[type=file]").first.set_input_files([str(file) for file in files])


def test_from_the_first_click_to_the_downloaded_picture(page, tmp_path):
    page.click("#draw-pose")
    wait_for_text(page, "#status", "Drawn in")
    again = page.input_value("#again textarea")
    assert again.startswith("pocold transfer person.png --pose walk:35 -o walk-35.png")
    with page.expect_download() as download:
        page.locator("#files a").first.click()
    assert download.value.suggested_filename == "walk-35.png"
    download.value.save_as(tmp_path / "walk-35.png")
    assert describe(tmp_path / "walk-35.png")["again"] == again


def test_a_photograph_of_ones_own_and_what_is_wrong_with_it(page, here, capsys):
    shutil.copy(here / "a.png", here / "lonely.png")
    asked = fails(capsys, "transfer lonely.png --pose walk:35 -o out.png", model="sized")
    drop(page, "#photo", here / "lonely.png")
    wait_for_text(page, "#found", "Nobody was found in lonely.png")
    page.click("#draw-pose")
    wait_for_text(page, "#status", asked.removeprefix("pocold: error: "))
    (here / "broken.png").write_bytes(b"no picture")
    drop(page, "#photo", here / "broken.png")
    wait_for_text(page, "#found", "broken.png")
    assert page.locator("#found [role=alert]").count() == 1


def test_stop(page):
    page.locator("#pictures input[type=number]").fill("8")
    page.locator("#pictures input[type=number]").press("Enter")
    page.click("#draw-pose")
    wait_for_text(page, "#status", "Drawing picture")
    page.click("#stop")
    wait_for_text(page, "#status", "Stopped after")


def test_files_go_when_the_page_is_closed(browser, server):
    page = browser.new_page()
    before = len(server[1])
    load(page, server[0])
    until = time.monotonic() + 60
    while len(server[1]) <= before and time.monotonic() < until:
        page.wait_for_timeout(100)
    assert len(server[1]) > before
    page.close()
    while len(server[1]) > before and time.monotonic() < until:
        time.sleep(0.1)
    assert len(server[1]) <= before


def test_nothing_is_cut_off_on_a_phone(browser, server):
    page = browser.new_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    load(page, server[0])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for tab in ("Edit", "Mix", "Animate", "Pose"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_a_photograph_that_is_taken_away_is_gone(page):
    """Its field tells of it after it is empty, not before; and a photograph dropped at once is not lost."""
    page.locator("#photo button[aria-label='Remove Image']").click()
    page.wait_for_function("document.querySelector('#found').innerText.trim() === ''")
    page.click("#draw-pose")
    wait_for_text(page, "#status", "expected a photograph of a person")
