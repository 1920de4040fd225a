"""Tables as text in the formats of papers and pages."""

from __future__ import annotations

import csv
import html
import io
import itertools
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tabulate import tabulate

from analysis.fit import fitted

if TYPE_CHECKING:
    import pandas as pd

Mark = Literal["best", "second"]


@dataclass(frozen=True)
class Table:
    """A table as text: `lines` of cells below `head`, a column for each row key and one for each (column, metric).

    `headings` gives the levels of a column's heading, outermost first, where there are several; `marks` by (line,
    column); `row_notes` are sentences with the lines that they are about; a new block begins at each of `blocks`
    (results of other people's code, published numbers); lines from `published` on are in italics. The first `keys`
    columns are rows' keys, all others hold numbers. `label` is LaTeX's, and the `id` in a page.
    """

    head: list[str]
    lines: list[list[str]]
    caption: str
    notes: list[str]
    marks: Mapping[tuple[int, str], Mark] = field(default_factory=dict)
    headings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    row_notes: Sequence[tuple[str, frozenset[int]]] = ()
    blocks: frozenset[int] = frozenset()
    published: int | None = None
    keys: int = 1
    label: str = ""

    @property
    def frame(self) -> pd.DataFrame:
        """The cells for code that goes on with them."""
        import pandas as pd

        return pd.DataFrame(self.lines, columns=self.head)

    def to(self, format: str) -> str:
        """The table as `md`, `latex`, `html` or `csv`."""
        return {"md": self.to_markdown, "latex": self.to_latex, "html": self.to_html, "csv": self.to_csv}[format]()

    def to_csv(self) -> str:
        """The cells as shown, without caption and notes; `analysis.export` has every number in full."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.head, *self.lines])
        return text.getvalue().rstrip("\n")

    def to_html(self) -> str:
        """A `<figure>` with caption and notes, to be put into a page."""
        patterns = {"best": "<b>{}</b>", "second": "<u>{}</u>", "published": "<i>{}</i>", "note": "<sup>{}</sup>"}
        _, body = self._marked(html.escape, patterns)
        right = ' style="text-align: right"'
        head = [
            "<tr>" + "".join(f'<th colspan="{n}">{html.escape(text)}</th>' for text, n in level) + "</tr>"
            for level in self._levels()
        ]
        lines = []
        for number, line in enumerate(body):
            lines += ["</tbody>", "<tbody>"] if number in self.blocks else []
            texts = (f"<td{right if place >= self.keys else ''}>{cell}</td>" for place, cell in enumerate(line))
            lines.append(f"<tr>{''.join(texts)}</tr>")
        notes = [f"<li><sup>{letter} </sup>{html.escape(note)}</li>" for letter, note in self._lettered()]
        notes += [f"<li>{html.escape(note)}</li>" for note in self.notes]
        table = ["<table>", "<thead>", *head, "</thead>", "<tbody>", *lines, "</tbody>", "</table>"]
        below = [f"<ul>{''.join(notes)}</ul>"] if notes else []
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>"
        figure = f'<figure id="{html.escape(self.label)}">' if self.label else "<figure>"
        return "\n".join([figure, caption, *table, *below, "</figure>"])

    def to_latex(self) -> str:
        """A `table` for a document that loads booktabs: caption above, notes below, one column a line of the frame.

        It is set as small as it has to be to fit a column, else the text, of a page with two columns: see
        `analysis.fit`.
        """
        patterns = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
        patterns |= {"published": r"\textit{{{}}}", "note": r"\textsuperscript{{{}}}"}
        lines = []
        for number, line in enumerate(self._marked(_latex, patterns)[1]):
            lines += [r"\midrule"] if number in self.blocks and number else []
            lines.append(" & ".join(line) + r" \\")
        notes = [rf"\par\footnotesize \textsuperscript{{{letter}}}{_latex(note)}." for letter, note in self._lettered()]
        notes += [rf"\par\footnotesize {_latex(note)}." for note in self.notes]
        noted = {line for _, about in self.row_notes for line in about}
        first, *others = map(list, zip(*self.lines, strict=True))  # of which the first has the letters of notes
        first = [f"{text}aa" if line in noted else text for line, text in enumerate(first)]
        set_so = fitted([first, *others], list(self._levels()))
        label = [rf"\label{{{self.label}}}"] if self.label else []
        numbers = len(self.head) - self.keys
        return "\n".join(
            [
                *set_so.advice,
                *(rf"\begin{{{set_so.environment}}}", r"\centering", rf"\caption{{{_latex(self.caption)}}}"),
                *(*label, r"\smallskip", *set_so.smaller, rf"\begin{{tabular}}{{{'l' * self.keys}{'r' * numbers}}}"),
                *(r"\toprule", *self._latex_head(), r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", *notes),
                rf"\end{{{set_so.environment}}}",
            ]
        )

    def to_markdown(self) -> str:
        """Markdown with the caption above and the notes below; its headings have one level."""
        patterns = {"best": "**{}**", "second": "<ins>{}</ins>", "published": "*{}*", "note": "<sup>{}</sup>"}
        head, lines = self._marked(_escape, patterns)
        body = tabulate(lines, head, tablefmt="pipe", disable_numparse=True)
        notes = [f"<sup>{letter}</sup> {note}" for letter, note in self._lettered()] + self.notes
        below = "\n".join(f"- {note}" for note in notes)
        return "\n\n".join(part for part in (self.caption, body, below) if part)

    def _levels(self) -> Iterator[list[tuple[str, int]]]:
        """The heading's levels, outermost first: (text, number of columns). Row keys stand in the lowest."""
        columns = [self.headings.get(name, (name,)) for name in self.head]
        depth = max(map(len, columns), default=1)
        full = [("",) * (depth - len(levels)) + tuple(levels) for levels in columns]
        for level in range(depth):
            # Neighbours share a heading where they share all that is above it too.
            groups = itertools.groupby(levels[: level + 1] for levels in full)
            yield [(shared[level], len(list(same))) for shared, same in groups]

    def _latex_head(self) -> list[str]:
        lines: list[str] = []
        *upper, lowest = self._levels()
        for level in upper:
            cells, rules, column = [], [], 1
            for text, n in level:
                cells.append(rf"\multicolumn{{{n}}}{{c}}{{{_latex(text)}}}" if text else " & " * (n - 1))
                rules += [rf"\cmidrule(lr){{{column}-{column + n - 1}}}"] if text else []
                column += n
            lines += [" & ".join(cells) + r" \\", *rules]
        return [*lines, " & ".join(_latex(text) for text, _ in lowest) + r" \\"]

    def _lettered(self) -> list[tuple[str, str]]:
        names = [*string.ascii_lowercase, *map("".join, itertools.product(string.ascii_lowercase, repeat=2))]
        return [(letter, note) for letter, (note, _) in zip(names, self.row_notes, strict=False)]

    def _marked(self, escape: Callable[[str], str], patterns: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
        """Headings and lines, escaped, with marked cells inside their pattern, and rows' letters."""
        lines = [[escape(cell) for cell in line] for line in self.lines]
        place = {name: number for number, name in enumerate(self.head)}
        for (line, column), mark in self.marks.items():
            lines[line][place[column]] = patterns[mark].format(lines[line][place[column]])
        for texts in lines[self.published :] if self.published is not None else ():
            texts[:] = map(patterns["published"].format, texts)
        letters: dict[int, list[str]] = {}
        for (letter, _), (_, about) in zip(self._lettered(), self.row_notes, strict=True):
            for number in about:
                letters.setdefault(number, []).append(letter)
        for number, line_letters in letters.items():
            lines[number][0] += patterns["note"].format(",".join(line_letters))
        return [escape(name) for name in self.head], lines


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


_GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ρ": "rho"}
_GREEK |= {"σ": "sigma", "τ": "tau", "φ": "varphi", "ω": "omega"}
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
    **{letter: rf"$\{name}$" for letter, name in _GREEK.items()},
    "–": "--",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
