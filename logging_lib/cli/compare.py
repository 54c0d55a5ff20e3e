"""``logging-lib compare``: compare samples variable by variable."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from logging_lib import profile
from logging_lib._util.formatting import format_probability
from logging_lib._util.suggestions import suggest_file
from logging_lib.analysis import samples
from logging_lib.analysis.comparison import CATEGORY_TESTS, NUMERIC_TESTS
from logging_lib.analysis.results import WORDS
from logging_lib.analysis.samples import Selection
from logging_lib.cli import options, output
from logging_lib.store import profiles
from logging_lib.store.port import Store

if TYPE_CHECKING:
    from logging_lib.analysis import Comparison
    from logging_lib.analysis.comparison import Sample

NOT_COMPARABLE = 3
"""The exit code if nothing differs, but not everything could be compared."""
_DATA = (".csv", ".gz", ".parquet", ".pq", ".jsonl", ".ndjson")


def compare(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SAMPLE",
            help="Two samples or more. Each is a data file, a profile.json, or a selection of what was served: "
            "'since=2018-02-01,until=2018-03-01', 'version=2', 'role=shadow', 'last=7d', 'homeownership=RENT'. "
            "One sample is compared with the training profile; without any, all that was served is.",
            show_default=False,
        ),
    ] = None,
    store: options.StoreOption = None,
    elasticsearch: options.ElasticsearchOption = None,
    model: options.ModelOption = None,
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Select only what this version served.")
    ] = None,
    role: Annotated[
        str,
        typer.Option(
            metavar="ROLE",
            help="Select only what was served in this role: live or shadow. Without samples, shadow compares live "
            "with shadow.",
        ),
    ] = "live",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Compare the segments of version, role, a category feature or labels.KEY."
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(metavar="SHARE", min=1e-9, max=0.5, help="Accepted share of false findings.")
    ] = 0.05,
    min_effect: Annotated[
        str,
        typer.Option(metavar="SIZE", help=f"Smallest effect size that counts: {', '.join(WORDS)}."),
    ] = "small",
    numeric_test: Annotated[
        str, typer.Option(metavar="TEST", help=f"Test for numbers: {', '.join(NUMERIC_TESTS)}.")
    ] = "ks",
    category_test: Annotated[
        str, typer.Option(metavar="TEST", help=f"Test for categories: {', '.join(CATEGORY_TESTS)}.")
    ] = "chi2",
    max_rows: Annotated[
        int, typer.Option(metavar="N", min=10, help="Sample at most N rows of each.")
    ] = samples.MAX_ROWS,
    seed: options.SeedOption = 0,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Exclude this column, such as an identifier; repeatable."),
    ] = None,
    html: options.HtmlOption = None,
    as_json: output.JsonOption = False,
) -> None:
    """Compare samples variable by variable: what differs, by how much, and whether chance explains it.

    The test fits the kind of the variable. Each p-value is corrected for the number of tests, and has an effect
    size with its interval beside it. Exit code 0: nothing differs; 1: something does; 2: wrong input; 3: nothing
    differs, but not everything could be compared, such as a sample without rows. With --role shadow, the answers to
    the same requests are compared in pairs.

    Examples: logging-lib compare train.parquet last-week.parquet;
    logging-lib compare --store build/store --model loans;
    logging-lib compare since=2018-02-01,until=2018-03-01 since=2018-03-01 --store build/store
    """
    from logging_lib import analysis

    now = datetime.now(UTC)
    shadows = None
    with output.handle_errors(ValueError, OSError), output.progress("Comparing"):
        options.choice(min_effect, "--min-effect", WORDS)
        options.choice(numeric_test, "--numeric-test", NUMERIC_TESTS)
        options.choice(category_test, "--category-test", CATEGORY_TESTS)
        options.choice(role, "--role", options.ROLES)
        reader = _Reader(store, elasticsearch, model, version, role, max_rows, seed, now)
        try:
            compared = reader.samples(what or [], by)
            if role == "shadow" and not what and by is None:
                from logging_lib.analysis.joins import shadow

                shadows = shadow(reader.opened(), reader.base(), max_rows=max_rows)
        finally:
            reader.close()
        comparison = analysis.compare(
            *compared.values(),
            names=list(compared),
            alpha=alpha,
            min_effect=min_effect,
            kinds=reader.kinds,
            numeric_test=numeric_test,
            category_test=category_test,
            max_rows=max_rows,
            seed=seed,
            exclude=exclude or (),
            paired=[outputs.variable() for pair in shadows or () for outputs in pair.paired],
        )
        if html is not None:
            comparison.to_html(html)
    if as_json:
        document = {**comparison.document(), "read": reader.notes}
        if shadows is not None:
            document["shadow"] = [pair.document() for pair in shadows]
        output.print_json(document)
    else:
        for pair in shadows or ():
            for line in pair.lines():
                typer.echo(output.plain(line))
        show(comparison)
        for line in (*reader.notes, *comparison.notes):
            output.note(line)
        if html is not None:
            typer.echo(f"{html}: page with plots written")
    raise typer.Exit(1 if comparison.differing else NOT_COMPARABLE if comparison.not_comparable else 0)


def show(comparison: Comparison) -> None:
    """Return the table of a comparison."""
    table = Table(
        "variable", "verdict", "effect, 95 % interval", "q", " → ".join(map(output.safe, comparison.names)),
        box=None, pad_edge=False,
    )  # fmt: skip
    for variable in comparison.variables:
        effect = variable.effects[0].describe() if variable.effects else ""
        q = format_probability(variable.tests[0].q) if variable.tests else ""
        color = "red" if variable.differs else "default"
        cells = map(output.safe, (effect, q, variable.describe_change()))
        table.add_row(
            output.safe(variable.title), f"[{color}]{output.safe(variable.verdict)}[/{color}]", *cells
        )
    output.console().print(table)
    for variable in comparison.variables:
        for line in variable.notes:
            typer.echo(output.plain(f"  {variable.title}: {line}"))
    typer.echo(output.plain(comparison.conclude()))


class _Reader:
    """Turns the names on the command line into samples; opens the store only if one is needed."""

    def __init__(
        self,
        store: Path | None,
        elasticsearch: str | None,
        model: str | None,
        version: str | None,
        role: str,
        max_rows: int,
        seed: int,
        now: datetime,
    ) -> None:
        self._where, self._url = store, elasticsearch
        self._model, self._version, self._role = model, version, role
        self._max_rows, self._seed, self._now = max_rows, seed, now
        self._is_checked = False
        self._opened: Store | None = None
        self.kinds: dict[str, str] = {}
        self.notes: list[str] = []

    def opened(self) -> Store:
        if self._opened is None:
            self._opened = options.choose(self._where, self._url, read_only=True)
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def base(self) -> Selection:
        return Selection(model=self._the_model(), version=self._version, role=self._role)

    def samples(self, what: list[str], by: str | None) -> Mapping[str, Sample]:
        if by is not None:
            if len(what) > 1:
                raise ValueError("--by cuts one sample into several: give one sample or none")
            whole = self._selection(what[0]) if what else self.base()
            values = samples.values_of(self.opened(), whole, by)
            return {
                f"{by}={value}": self._served(Selection.parse(f"{by}={value}", now=self._now, base=whole))
                for value in values
            }
        if not what and self._role == "shadow":
            what = ["role=live", "role=shadow"]
        collected: dict[str, Sample] = {}
        if len(what) < 2:
            collected["training"] = self._trained()
        for text in what or [""]:
            name = text or "served"
            collected[name if name not in collected else f"{name} ({len(collected) + 1})"] = self._sample(
                text
            )
        return collected

    def _sample(self, text: str) -> Any:
        path = Path(text)
        if text and (path.suffix.lower() in _DATA or path.is_file()):
            return self._file(path)
        if text and "=" not in text:
            raise ValueError(
                f"{text}: no such file, and not a selection such as version=2{suggest_file(path)}"
            )
        return self._served(self._selection(text) if text else self.base())

    def _file(self, path: Path) -> Any:
        from logging_lib.analysis.columns import parse_texts
        from logging_lib.profile.coerce import NA_VALUES
        from logging_lib.profile.readers import read_table
        from logging_lib.profile.separators import is_csv

        if path.suffix.lower() == ".json":
            loaded = profile.load(path)
            self.kinds |= {name: feature.kind for name, feature in loaded.features.items()}
            return loaded
        table = read_table(path, na_values=NA_VALUES)
        self.notes += [f"{path}: {note}" for note in table.notes]
        return parse_texts(table.frame) if is_csv(path) else table.frame

    def _served(self, selection: Selection) -> Any:
        served = samples.read(self.opened(), selection, max_rows=self._max_rows, seed=self._seed)
        self.kinds |= served.kinds
        self.notes += [f"{selection}: {note}" for note in served.notes]
        return served.frame

    def _selection(self, text: str) -> Selection:
        return Selection.parse(text, now=self._now, base=self.base())

    def _trained(self) -> Any:
        """Return the published profile of the model: of the version, or of the only one that was served."""
        versions = (
            [self._version]
            if self._version is not None
            else samples.values_of(self.opened(), self.base(), "version")
        )
        if len(versions) > 1:
            raise ValueError(
                f"{self._the_model()} was served in the versions {', '.join(versions)}: choose one with --version"
            )
        key = (self._the_model(), versions[0])
        for published in profiles.load_published(self.opened(), [key]):
            self.kinds |= {name: feature.kind for name, feature in published.features.items()}
            return published
        raise ValueError(
            f"the whole profile of {key[0]} {key[1]} is not published; name its file and what to compare with it, "
            f"as in: logging-lib compare profile.json version={key[1]}; or publish it: logging-lib profile publish "
            "profile.json, or with --store: logging-lib index SPOOL --profile profile.json"
        )

    def _the_model(self) -> str:
        if not self._is_checked:
            self._model, self._is_checked = (
                options.choose_model(self._model, samples.models(self.opened())),
                True,
            )
        assert self._model is not None
        return self._model
