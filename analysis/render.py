"""A table as text in the formats that papers and pages take."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

Mark = Literal["best", "second"]


@dataclass(frozen=True)
class Table:
    """A table as text: `frame` has a column for each row key and one for each (column, metric)."""

    frame: pd.DataFrame
    caption: str
    notes: list[str]
    marks: Mapping[tuple[int, str], Mark] = field(default_factory=dict)  # by (line, column)

    def to(self, format: str) -> str:
        """The table as `md`, `latex`, `html` or `csv`."""
        return {"md": self.to_markdown, "latex": self.to_latex, "html": self.to_html, "csv": self.to_csv}[format]()

    def to_csv(self) -> str:
        """The cells as shown, without caption and notes; `analysis.export` has every number in full."""
        return self.frame.to_csv(index=False, lineterminator="\n").rstrip("\n")

    def to_html(self) -> str:
        """A `<figure>` with caption and notes, to be put into a page."""
        body = self._marked(html.escape, {"best": "<b>{}</b>", "second": "<u>{}</u>"})
        table = body.to_html(index=False, border=0, justify="left", escape=False)
        said = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        below = f"\n<ul>{said}</ul>" if said else ""
        return f"<figure>\n<figcaption>{html.escape(self.caption)}</figcaption>\n{table}{below}\n</figure>"

    def to_latex(self) -> str:
        """A `table` for a document that loads booktabs: caption above, notes below, one column a line of the frame."""
        body = self._marked(_latex, {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"})
        head, *lines = (" & ".join(line) + r" \\" for line in [list(body), *body.values.tolist()])
        said = [rf"\par\footnotesize {_latex(note)}." for note in self.notes]
        return "\n".join(
            [
                *(r"\begin{table}", r"\centering", rf"\caption{{{_latex(self.caption)}}}", r"\smallskip"),
                rf"\begin{{tabular}}{{{'l' * len(self.frame.columns)}}}",
                *(r"\toprule", head, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", *said, r"\end{table}"),
            ]
        )

    def to_markdown(self) -> str:
        """Markdown with the caption above and the notes below."""
        marked = self._marked(_escape, {"best": "**{}**", "second": "<ins>{}</ins>"})
        body = marked.to_markdown(index=False, disable_numparse=True)
        below = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join(part for part in (self.caption, body, below) if part)

    def _marked(self, escape: Callable[[str], str], patterns: Mapping[Mark, str]) -> pd.DataFrame:
        """The frame with cells and headings escaped, and the marked cells inside their pattern."""
        frame = self.frame.map(escape)
        for (line, column), mark in self.marks.items():
            frame.loc[line, column] = patterns[mark].format(frame.loc[line, column])
        return frame.rename(columns=escape)


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


_LATEX = {character: "\\" + character for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a line break, LaTeX would take it for the break's own argument
    "±": r"$\pm$",
    "−": "$-$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
    "τ": r"$\tau$",
    "β": r"$\beta$",
    "–": "--",
}


def _latex(text: str) -> str:
    return re.sub(r"[&%$#_{}\\~^<>|\[±−·≤τβ–]", lambda found: _LATEX[found[0]], text)
