"""One HTML page that needs no other file and no script: its style, and the blocks that a report is made of."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; overflow-wrap: break-word; }
body { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-top: .5rem; border-top: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
nav { margin: 1rem 0; font-size: .9rem; }
nav a { display: inline-block; margin: 0 1.1rem .3rem 0; }
a { color: #0060a0; }
.wide, .figure { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #eee; }
th { border-bottom: 2px solid #999; vertical-align: bottom; white-space: normal; overflow-wrap: normal; }
.tight th, .tight td { padding: .35rem .4rem; }
th.group { border-bottom: 1px solid #ccc; text-align: center; font-weight: 500; color: #666; }
th.key, td.key { text-align: left; }
.wide td.key:first-child { white-space: normal; max-width: 17rem; }
td.text { text-align: left; white-space: normal; min-width: 16rem; }
tr.first td { border-top: 2px solid #bbb; }
tr.before td { color: #666; }
td.trained { outline: 2px solid #333; outline-offset: -2px; font-weight: 700; }
td.unsettled { color: #666; font-style: italic; }
img { display: block; max-width: 100%; height: auto; }
p, li { max-width: 50rem; color: #444; font-size: .9rem; }
code { background: #f3f3f3; padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere; }
pre { background: #f3f3f3; padding: .7rem; overflow-x: auto; font-size: .85rem; line-height: 1.45; }
summary { cursor: pointer; font-size: .9rem; }
@media (max-width: 600px) {
  body { padding: .8rem; }
  th, td { padding: .3rem .5rem; }
  .figure img { max-width: 40rem; }
  .broad img { max-width: 62rem; }
  .wide td.key:first-child, .wide th.key:first-child { position: sticky; left: 0; background: #fff; }
  .wide td.key:first-child { max-width: 9rem; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  img, tr { break-inside: avoid; }
  .wide, .figure { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .15rem .3rem; white-space: normal; }
  .tight table { font-size: 6.5pt; }
  .tight th, .tight td { padding: .12rem .2rem; }
  td { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  pre { white-space: pre-wrap; }
}
"""

BROAD = 1700  # pixels of a picture with so many panels that on a phone its text needs more room than others

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<nav>{contents}</nav>
{body}
</body>
</html>
"""


@dataclass(frozen=True)
class Section:
    """A part of the page with its heading; `body` is HTML, and a section without one is left out."""

    title: str
    body: str

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def webpage(title: str, sections: Sequence[Section]) -> str:
    """The page, with a table of contents."""
    shown = [section for section in sections if section.body]
    contents = " ".join(f'<a href="#{section.anchor}">{escape(section.title)}</a>' for section in shown)
    parts = [f'<h2 id="{section.anchor}">{escape(section.title)}</h2>\n{section.body}' for section in shown]
    return PAGE.format(title=escape(title), style=STYLE, contents=contents, body="\n".join(parts))


def cell(content: str, kind: str = "", style: str = "", tag: str = "td") -> str:
    """One cell of a table; `content` is HTML."""
    attributes = (f' class="{kind}"' if kind else "") + (f' style="{style}"' if style else "")
    return f"<{tag}{attributes}>{content}</{tag}>"


def line(cells: Sequence[str], kind: str = "") -> str:
    """One row of a table."""
    return (f'<tr class="{kind}">' if kind else "<tr>") + "".join(cells) + "</tr>"


def grid(lines: Sequence[str], kind: str = "") -> str:
    """A table that scrolls by itself where it is wider than the page; `kind` "tight" has narrow columns."""
    return f'<div class="wide {kind}"><table>\n' + "\n".join(lines) + "\n</table></div>"


def picture(path: Path, what: str) -> str:
    """A PNG inside the page; `what` it shows, for those who cannot see it."""
    png = path.read_bytes()
    width, height = struct.unpack(">II", png[16:24])  # of the header chunk, always the first
    data = base64.b64encode(png).decode()
    size = f'width="{width}" height="{height}"'
    kind = "figure broad" if width > BROAD else "figure"
    return f'<div class="{kind}"><img alt="{escape(what)}" {size} src="data:image/png;base64,{data}"></div>'


def breakable(name: str) -> str:
    """A name that may break at its underscores, so that a narrow column holds it."""
    return escape(name).replace("_", "_<wbr>")


def paragraph(note: str) -> str:
    """A note, in which `code` is marked up."""
    marked = re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(note))
    return f"<p>{marked}</p>"
