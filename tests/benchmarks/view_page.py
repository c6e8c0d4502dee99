"""How long the page of a report takes to be drawn, and to answer a filter, in Chromium.

    python -m benchmarks.view_page [DOCUMENTS ...] [--rounds N] [--json PATH]

Every entry is filtered, one after the other, until all of them are; then a slider is dragged under all these
filters, and all are cleared. "Ready" is from the start of the navigation; a filter is timed in the page, from
the begin of the work on it to the end of its last chart. Without Chromium nothing is measured.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import record

SIZES: Final = (10_000, 1_000_000)
_FILTERS: Final = """
async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const times = [];
  const act = async (work) => {
    work();
    await frame();
    times.push(Number(document.documentElement.dataset.filterMs));
  };
  const slide = (slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); };
  const cards = [...document.querySelectorAll('#entries [data-entry]')];
  for (const card of cards) {
    const bar = card.querySelector('button.bar');
    await act(() => (bar ? bar.click() : slide(card.querySelector('input[type=range]'), 3)));
  }
  const [slider] = cards.map((card) => card.querySelectorAll('input[type=range]')[1]).filter(Boolean);
  for (let value = 30; value > 20; value--) await act(() => slide(slider, value));
  await act(() => document.querySelector('.clear').click());
  return times;
}
"""


def measure(count: int, rounds: int, chromium: str) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    from browser.conftest import opened
    from browser.driving import driving_page

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "report.html"
        path.write_text(driving_page(Path(folder), count), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium)
        ready, times = [], []
        for _ in range(rounds):
            with opened(browser, path, viewport={"width": 1280, "height": 900}) as page:
                ready.append(int(page.page.evaluate("document.documentElement.dataset.ready")))
                times += page.page.evaluate(_FILTERS)
        browser.close()
    times.sort()
    return {
        "documents": count,
        "ready_ms": sorted(ready)[len(ready) // 2],
        "filters": len(times),
        "median_ms": times[len(times) // 2],
        "p90_ms": times[len(times) * 9 // 10],
        "most_ms": times[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("documents", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=10)
    asked, kept = record.begin(parser, documents=[200], rounds=1)
    chromium, figures = shutil.which("chromium"), []
    if chromium is None:
        print("no Chromium here: nothing is measured")
    else:
        print(f"{'documents':>12} {'ready':>8} {'filters':>8} {'median':>9} {'90 %':>9} {'slowest':>9}")
        for count in asked.documents:
            found = measure(count, asked.rounds, chromium)
            figures.append(found)
            print(
                f"{count:>12,} {found['ready_ms']:>5} ms {found['filters']:>8} {found['median_ms']:>6.1f} ms "
                f"{found['p90_ms']:>6.1f} ms {found['most_ms']:>6.1f} ms",
                flush=True,
            )
    kept.write(figures)


if __name__ == "__main__":
    main()
