"""The results as one HTML page that needs no other file and no script."""

from __future__ import annotations

import base64
import re
from html import escape
from pathlib import Path

from ddpo_bench.analysis.tables import FURTHER, Column, Part, Table

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; }
body { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #eee; }
th { border-bottom: 2px solid #999; vertical-align: bottom; white-space: normal; }
th.key, td.key { text-align: left; }
tr.first td { border-top: 1px solid #999; }
img { max-width: 100%; height: auto; }
p { max-width: 50rem; color: #444; font-size: .9rem; }
code { background: #f3f3f3; padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere; }
"""

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
{body}
</body>
</html>
"""


def html_report(table: Table, pictures: dict[str, Path]) -> str:
    """The page: both parts of the table, its notes, and the pictures.

    Args:
        pictures: heading to PNG file.
    """
    sections = [html_grid(table, "main"), *(f"<p>{html(note)}</p>" for note in table.notes)]
    sections += [picture(heading, path) for heading, path in pictures.items()]
    sections += [f"<h2>{FURTHER}</h2>", html_grid(table, "further")]
    return PAGE.format(title=escape(table.title), style=STYLE, body="\n".join(sections))


def html_grid(table: Table, part: Part) -> str:
    columns = table.part(part)
    lines = [html_line("th", columns, [escape(column.heading) for column in columns])]
    previous = table.rows[0].group if table.rows else ""
    for row in table.rows:
        texts = [(escape(table.cell(row, column)), table.is_best(row, column)) for column in columns]
        cells = [f"<b>{text}</b>" if best else text for text, best in texts]
        lines.append(html_line("td", columns, cells, "" if row.group == previous else ' class="first"'))
        previous = row.group
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def html_line(tag: str, columns: list[Column], cells: list[str], kind: str = "") -> str:
    keys = [' class="key"' if column.is_key else "" for column in columns]
    return (
        f"<tr{kind}>" + "".join(f"<{tag}{key}>{cell}</{tag}>" for key, cell in zip(keys, cells, strict=True)) + "</tr>"
    )


def picture(heading: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<h2>{escape(heading)}</h2>\n<img alt="{escape(heading)}" src="data:image/png;base64,{data}">'


def html(note: str) -> str:
    """A note with `code` marked up."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(note))
