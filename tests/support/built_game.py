"""A build as the game's bundler leaves it: a page that nothing but its hashed assets make a game.

The client deals, asks for the poem as JSON, gives up after 90 s and tells the player; its poem's screen is loaded
when the first poem is there. It plays by itself, hand after hand, and keeps count in `window.game`.
"""

import shutil
from pathlib import Path

PAGE = """<!doctype html>
<html lang="ja">
<head>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<script>document.documentElement.dataset.theme = "昼"</script>
<script type="module" crossorigin src="/assets/index-{hashed}.js"></script>
<link rel="stylesheet" crossorigin href="/assets/index-{hashed}.css">
</head>
<body><main id="app"></main></body>
</html>
"""
CLIENT = """
const game = window.game = { build: "%(build)s", poems: 0, failures: [], path: location.pathname };
const app = document.getElementById("app");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function hand() {
  const dealt = await fetch("/api/deal");
  const cards = await dealt.json();
  const selectedPairs = cards.map((card) => ({ conditionCard: card, selectedPoem: card.poems[0] }));
  const answer = await fetch("/api/generate-poem", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ selectedPairs }),
    signal: AbortSignal.timeout(90000),
  });
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer.json();
}

game.show = () => import("./screen-%(hashed)s.js").catch(() => location.reload());

async function play() {
  for (;;) {
    try {
      const { title, poem } = await hand();
      game.poems += 1;
      app.textContent = `${title}\\n${poem}`;
    } catch (error) {
      game.failures.push(String(error));
      app.textContent = "通信できませんでした";
    }
    await pause(100);
  }
}
play();
"""


def write_build(folder: Path, build: str, hashed: str) -> None:
    """The build in the folder, in place of whichever was there."""
    shutil.rmtree(folder / "assets", ignore_errors=True)
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE.format(hashed=hashed), "utf-8")
    (folder / "assets" / f"index-{hashed}.js").write_text(CLIENT % {"build": build, "hashed": hashed}, "utf-8")
    (folder / "assets" / f"index-{hashed}.css").write_text("main { white-space: pre-line }", "utf-8")
    (folder / "assets" / f"screen-{hashed}.js").write_text("document.body.dataset.screen = 'shown'", "utf-8")
