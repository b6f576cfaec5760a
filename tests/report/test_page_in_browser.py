"""The page in headless Chromium: no error, no request, nothing of the data runs, and it is there at once.

Chromium is Debian's: `apt-get install chromium`. It is driven through its DevTools protocol (https://chromedevtools.github.io).
"""

import json
import os
import shutil
import subprocess
import time
from urllib.parse import unquote

import pytest

from curate.report.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; on Debian: apt-get install chromium")
PATIENCE = 60  # seconds, for a browser on a busy machine
LIMIT = 10  # seconds that loading a page may take there; it is well under one on an idle machine


class Tab:
    """A tab of a browser, by messages over a web socket."""

    def __init__(self, socket):
        self.socket, self.number, self.events, self.session = socket, 0, [], None

    def call(self, method, **parameters):
        self.number += 1
        session = {"sessionId": self.session} if self.session else {}
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters, **session}))
        while (message := json.loads(self.socket.recv(timeout=PATIENCE))).get("id") != self.number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def wait_for(self, event):
        end = time.monotonic() + PATIENCE
        while not any(seen["method"] == event for seen in self.events):
            assert time.monotonic() < end, f"no {event}"
            self.events.append(json.loads(self.socket.recv(timeout=PATIENCE)))

    def value(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, path):
        """Load a file; gives the seconds that it took."""
        self.events.clear()
        start = time.monotonic()
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")
        return time.monotonic() - start


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    from websockets.sync.client import connect

    profile = tmp_path_factory.mktemp("profile")
    flags = ["--headless", "--disable-gpu", "--no-first-run", "--disable-extensions", "--remote-debugging-port=0"]
    sandbox = ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []  # it refuses to run as root with it
    browser = subprocess.Popen(
        [CHROMIUM, *flags, *sandbox, f"--user-data-dir={profile}", "about:blank"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        told, end = profile / "DevToolsActivePort", time.monotonic() + PATIENCE
        while not (told.exists() and len(told.read_text().split()) == 2):
            assert time.monotonic() < end and browser.poll() is None, "chromium did not start"
            time.sleep(0.05)
        port, path = told.read_text().split()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket:
            found = Tab(socket)
            target = found.call("Target.createTarget", url="about:blank")["targetId"]
            found.session = found.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Network", "Log", "Runtime"):
                found.call(f"{domain}.enable")
            yield found
    finally:
        browser.terminate()
        browser.wait(PATIENCE)


def asked_for(tab):
    """What the page asked for, and what went wrong in it."""
    requests = [seen["params"]["request"]["url"] for seen in tab.events if seen["method"] == "Network.requestWillBeSent"]
    faults = [
        seen for seen in tab.events if seen["method"] in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    ]
    return [url for url in requests if not url.startswith("data:")], faults


@pytest.fixture(scope="module")
def page(hostile_selection, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(hostile_selection, folder / "picked")
    return write_report(folder / "picked")


def test_a_page_loads_at_once_and_asks_for_nothing(tab, page):
    assert tab.open(page) < LIMIT
    tab.value("document.querySelectorAll('details').forEach(d => d.open = true); window.scrollTo(0, document.body.scrollHeight)")
    time.sleep(0.3)
    requests, faults = asked_for(tab)
    assert [unquote(url) for url in requests] == [unquote(page.as_uri())]
    assert faults == []
    assert tab.value("document.querySelectorAll('svg.chart').length") == 2  # lengths, and the map


def test_nothing_of_the_data_runs(tab, page):
    tab.open(page)
    tab.value(
        "document.querySelectorAll('*').forEach(e => { for (const kind of ['mouseover', 'click', 'load', 'error']) "
        "if (!e.closest('a')) e.dispatchEvent(new Event(kind)) })"
    )
    assert tab.value("document.title") == "A selection by token-cleaning:threshold=sample"
    assert tab.value("document.scripts.length") == 0
    assert tab.value("document.querySelectorAll('img, iframe, form, base, object, embed, [src]').length") == 0
    assert tab.value("location.href") == page.as_uri()


def test_the_guard_holds_where_escaping_would_not(tab, page):
    """A script and an image, put into the page by hand: the content security policy lets neither run nor load."""
    hurt = page.with_name("hurt.html")
    harm = "<script>document.title='owned'</script><img src='http://198.51.100.7/x.png' onerror=\"document.title='owned'\">"
    hurt.write_text(page.read_text().replace("</main>", f"{harm}</main>"))
    tab.open(hurt)
    assert tab.value("document.title") != "owned"
    sent = [
        seen
        for seen in tab.events
        if seen["method"] == "Network.responseReceived" and "198.51" in seen["params"]["response"]["url"]
    ]
    assert asked_for(tab)[1] and not sent


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_the_screen(tab, page, width):
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
    tab.open(page)
    assert tab.value("document.documentElement.scrollWidth") <= width


def test_light_and_dark_differ_and_both_can_be_read(tab, page):
    """The contrast of text with its ground is at least 4.5 (WCAG 2.2, AA), in either scheme."""
    contrast = """(() => {
      const line = c => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4 };
      const light = text => { const [r, g, b] = text.match(/[0-9.]+/g).map(Number); return .2126*line(r) + .7152*line(g) + .0722*line(b) };
      const ground = light(getComputedStyle(document.body).backgroundColor);
      const of = e => { const own = light(getComputedStyle(e).color);
        return (Math.max(own, ground) + .05) / (Math.min(own, ground) + .05) };
      return Math.min(...[...document.querySelectorAll('h1,h2,p,td,th,summary,small,a,del,pre span')].map(of)) })()"""
    grounds = []
    for scheme in ("light", "dark"):
        tab.call("Emulation.setEmulatedMedia", media="screen", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.open(page)
        grounds.append(tab.value("getComputedStyle(document.body).backgroundColor"))
        assert tab.value(contrast) >= 4.5, scheme
    assert grounds[0] != grounds[1]
