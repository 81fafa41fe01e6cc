"""How the operator's console looks: its pages on a desk, a tablet and a phone, dark and light, and a take-over on film.

    python tests/benchmarks/console_pictures.py --out pictures                       # magma-tiny drives a simulated arm
    python tests/benchmarks/console_pictures.py --out pictures policy:=expert         # arguments of robot.launch.py

Starts the real graph with a simulated arm and the page (`./run --console` does the same) and looks at it with Debian's
Chromium. In the film a person takes the arm by the keyboard while the policy acts, moves it,
hands it back and stops it.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

_path = Path(__file__).resolve().parents[1] / "browser" / "conftest.py"
_spec = importlib.util.spec_from_file_location("browser_fixtures", _path)
if _spec is None or _spec.loader is None:
    sys.exit(f"{_path} is missing")
_browser: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_browser)

SCREENS = {"desk": (1280, 900), "tablet": (820, 1180), "phone": (390, 844)}
PAGES = ("live", "data", "evaluate")
FILM = (960, 674)
FILM_FPS = 8
FILM_BYTES = 2_000_000
GRAPH = ("clock:=realtime", "after_episode:=reset", "console_port:=0")
PATIENCE_S = 300.0


def take_pictures(chromium: Any, address: str, out: Path) -> None:
    """Every page on every screen in both themes, as out/PAGE-SCREEN-THEME.png."""
    for screen, (width, height) in SCREENS.items():
        for theme in ("dark", "light"):
            context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
            page = context.new_page()
            page.set_default_timeout(1e3 * PATIENCE_S)
            page.goto(address)
            acts(page)
            for name in PAGES:
                page.click(f"nav.tabs button[data-page={name}]")
                page.wait_for_timeout(2500)
                page.screenshot(path=str(out / f"{name}-{screen}-{theme}.png"))
            context.close()


def acts(page: Any) -> None:
    """Waits until the page shows a policy that acts."""
    acting = "document.getElementById('phase')?.textContent === 'AUTONOMOUS'"
    page.wait_for_function(acting, timeout=1e3 * PATIENCE_S)


def film_take_over(chromium: Any, address: str, out: Path) -> None:
    """What the browser draws during a take-over, as out/take-over.mp4."""
    width, height = SCREENS["desk"]
    page = chromium.new_context(viewport={"width": width, "height": height}, color_scheme="dark").new_page()
    page.set_default_timeout(1e3 * PATIENCE_S)
    page.goto(address)
    acts(page)
    film: list[tuple[float, bytes]] = []
    session = page.context.new_cdp_session(page)

    def drawn(event: dict[str, Any]) -> None:
        film.append((event["metadata"]["timestamp"], base64.b64decode(event["data"])))
        session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

    session.on("Page.screencastFrame", drawn)
    session.send("Page.startScreencast", {"format": "png", "maxWidth": FILM[0], "maxHeight": FILM[1]})
    page.wait_for_timeout(4000)
    page.keyboard.down("Space")
    page.wait_for_timeout(500)
    for key in ("KeyW", "KeyR", "KeyA"):
        page.keyboard.down(key)
        page.wait_for_timeout(1800)
        page.keyboard.up(key)
    page.keyboard.up("Space")
    page.wait_for_timeout(1500)
    page.keyboard.press("KeyH")
    page.wait_for_timeout(5000)
    page.keyboard.press("Escape")
    page.wait_for_timeout(3000)
    session.send("Page.stopScreencast")
    page.context.close()
    for quality in (26, 30, 34, 38):
        encode(film, out / "take-over.mp4", quality)
        if (out / "take-over.mp4").stat().st_size <= FILM_BYTES:
            return
    sys.exit(f"the film has more than {FILM_BYTES} bytes at the lowest quality")


def encode(film: list[tuple[float, bytes]], path: Path, quality: int) -> None:
    """A film in the time in which it was drawn.

    Args:
        film: when (s) and what (PNG).
        quality: x264's constant rate factor.
    """
    import av

    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=FILM_FPS, options={"crf": str(quality), "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = *FILM, "yuv420p"
        for count in range(int((film[-1][0] - film[0][0]) * FILM_FPS)):
            shown = next(data for stamp, data in reversed(film) if stamp <= film[0][0] + count / FILM_FPS)
            pixels = cv2.imdecode(np.frombuffer(shown, np.uint8), cv2.IMREAD_COLOR)
            frame = av.VideoFrame.from_ndarray(cv2.resize(pixels, FILM), "bgr24")
            frame.pts, frame.time_base = count, Fraction(1, FILM_FPS)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("launch", nargs="*", help="arguments of robot.launch.py")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(_browser.shutil.which, _browser.BROWSERS)), None)
    if found is None:
        sys.exit("there is no browser: ./run setup console screens")
    with _browser.free_domain() as number, sync_playwright() as playwright:
        os.environ["ROS_DOMAIN_ID"], os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = str(number), "LOCALHOST"
        command = ["ros2", "launch", "magma_bringup", "robot.launch.py", "console:=true", *GRAPH, *options.launch]
        log = options.out / "graph.log"
        with log.open("wb") as file:
            graph = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            until_s = time.monotonic() + PATIENCE_S
            while not (address := _browser.OPEN.search(log.read_text(errors="replace"))):
                if graph.poll() is not None or time.monotonic() > until_s:
                    sys.exit(f"the graph shows no page: see {log}")
                time.sleep(0.5)
            chromium = playwright.chromium.launch(executable_path=found, args=_browser.ARGUMENTS)
            take_pictures(chromium, address[1], options.out)
            film_take_over(chromium, address[1], options.out)
            chromium.close()
        finally:
            graph.terminate()
            graph.wait(30.0)


if __name__ == "__main__":
    main()
