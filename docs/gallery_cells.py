"""What the gallery holds: views as rows, kinds of results as columns, and what makes each cell."""

from dataclasses import dataclass

SENTENCE = '"The plot was thin, but the acting was superb."'
COMMANDS = {
    "text": f"lignite explain {SENTENCE}",
    "pair": 'lignite explain "How was the plot?" --pair "Thin, but the acting was superb."',
    "continuation": 'lignite explain --model writer --steps 3 "The plot was thin, but the acting"',
    "image": "lignite explain --model tiny-digits",
    "flow": f"lignite flow --detail heads {SENTENCE}",
    "image flow": "lignite flow --model tiny-digits",
    "evaluation": "lignite evaluate reviews.jsonl --label label --methods relevance-flow,ig,random",
    "comparison": f"lignite explain --method ca-lig {SENTENCE} -q -o ca-lig.nc\n"
    f"lignite explain --method occlusion {SENTENCE} -q -o occlusion.nc\n"
    "lignite compare ca-lig.nc occlusion.nc",
}
COLUMNS = tuple(COMMANDS)
ROWS = ("terminal", "page", "picture", "plot", "notebook", "widget", "dashboard", "tracker", "report", "study")


@dataclass(frozen=True)
class Cell:
    """One view of one kind of result: what makes it, or why it is empty."""

    row: str
    column: str
    made_by: str = ""
    empty: str = ""

    @property
    def name(self) -> str:
        return f"{self.row}-{self.column}".replace(" ", "-")

    @property
    def told(self) -> str:
        """As the index says it: commands line by line, of a notebook's cell the last line."""
        shown = self.made_by.splitlines()
        shown = shown[-1:] if self.row in ("notebook", "widget") else shown
        return "<br>".join(f"`{line}`".replace("|", "\\|") for line in shown) if shown else self.empty


def _written(column: str, ending: str) -> str:
    return f"{COMMANDS[column]} -o {column.replace(' ', '-')}.{ending}"


SENTIMENT = 'import lignite\n\nmodel = lignite.load("tiny-sentiment")\n'
DIGITS = (
    "import lignite\nfrom lignite.zoo.samples import digit_scene\n\n"
    'model, image = lignite.load("tiny-digits"), digit_scene().image\n'
)
TEXT = SENTENCE.strip('"')
PYTHON = {
    "text": f'{SENTIMENT}lignite.explain(model, "{TEXT}")',
    "pair": f'{SENTIMENT}lignite.explain(model, ("How was the plot?", "Thin, but the acting was superb."))',
    "continuation": 'import lignite\n\nmodel = lignite.load("writer")\n'
    'lignite.explain(model, "The plot was thin, but the acting", target=lignite.Target(steps=3))',
    "image": f"{DIGITS}lignite.explain(model, image)",
    "flow": f'{SENTIMENT}lignite.flow(model, "{TEXT}", detail=("heads",))',
    "image flow": f"{DIGITS}lignite.flow(model, image)",
    "evaluation": f"{SENTIMENT}"
    'lignite.evaluate(model, "reviews.jsonl", ["relevance-flow", "ig", "random"], label="label")',
    "comparison": f'{SENTIMENT}lignite.compare("ca-lig.nc", "occlusion.nc")',
}

WIDGETS = {
    column: PYTHON[column].replace("lignite.explain", "lignite.widget").replace(", target=lignite.Target(steps=3)", "")
    for column in ("text", "pair", "continuation", "image")
} | {"flow": f'{SENTIMENT}lignite.widget(model, "{TEXT}")', "image flow": f"{DIGITS}lignite.widget(model, image)"}
ONE_DECISION = "a report tells one decision in plain words"
ASKS_ANEW = "a widget asks anew of one input"
CORPUS = "a study asks a whole corpus of sentences"
STUDIES = {
    "text": "layers",
    "flow": "roles",
    "evaluation": "trust",
}


def _cells(row: str, made: dict[str, str], empty: str = "") -> list[Cell]:
    return [Cell(row, column, made.get(column, ""), "" if column in made else empty) for column in COLUMNS]


CELLS = (
    *_cells("terminal", COMMANDS),
    *_cells("page", {column: _written(column, "html") for column in COLUMNS}),
    *_cells("picture", {column: _written(column, "png") for column in COLUMNS}),
    *_cells("plot", dict.fromkeys(COLUMNS, "result.lignite.plot(kind, ax)")),
    *_cells("notebook", PYTHON),
    *_cells("widget", WIDGETS, ASKS_ANEW),
    *_cells("dashboard", dict.fromkeys(COLUMNS, "lignite dashboard tiny-sentiment tiny-digits ./writer")),
    *_cells("tracker", dict.fromkeys(COLUMNS, "lignite.log(result, writer, step=1)")),
    *_cells(
        "report",
        {
            column: COMMANDS[column].replace("explain", "report").replace(" --steps 3", "")
            + f" -o report-{column}.html"
            for column in ("text", "pair", "continuation", "image")
        },
        ONE_DECISION,
    ),
    *_cells(
        "study",
        {
            column: f"lignite study {name} --data {'reviews.jsonl' if name == 'trust' else 'films.txt'} -o study-{name}"
            for column, name in STUDIES.items()
        },
        CORPUS,
    ),
)
