"""Draw the mermaid blocks of the pages as SVG files, where a block has no drawing of its own yet.

It takes Chromium and mermaid from npm: ``npm install mermaid@11`` somewhere, and then
``python docs/site/draw.py SOMEWHERE/node_modules/mermaid/dist/mermaid.min.js``.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from hooks import MERMAID, PICTURES, ROOT, picture_name

PAGE = """<script src="{script}"></script><pre class="mermaid">{block}</pre><script>
mermaid.initialize({{startOnLoad: true, theme: "neutral", htmlLabels: false,
  flowchart: {{htmlLabels: false}}, fontFamily: "system-ui, sans-serif"}});
</script>"""
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--virtual-time-budget=20000")


def drawing(block: str, mermaid: Path) -> str:
    """The SVG that a browser makes of a mermaid block."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        page.write_text(PAGE.format(script=mermaid.as_uri(), block=html.escape(block)), "utf-8")
        command = [*CHROMIUM, f"--user-data-dir={folder}/profile", "--dump-dom", page.as_uri()]
        dom = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    svg = re.search(r"<svg .*</svg>", dom, re.DOTALL)
    if svg is None:
        sys.exit(f"chromium drew nothing of:\n{block}")
    return svg[0].replace("<br>", "<br/>").replace("&nbsp;", "&#160;")


def main(mermaid: Path) -> None:
    """Draw what has no drawing, and delete drawings of blocks that are gone."""
    folder = ROOT / "docs" / PICTURES
    folder.mkdir(exist_ok=True)
    pages = [page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md")]
    blocks = {picture_name(block): block for page in pages for block in MERMAID.findall(page)}
    for name in {file.name for file in folder.glob("*.svg")} - blocks.keys():
        (folder / name).unlink()
    for name, block in blocks.items():
        if not (folder / name).exists():
            (folder / name).write_text(drawing(block, mermaid) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
