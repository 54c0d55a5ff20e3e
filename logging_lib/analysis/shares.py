"""Compare shares: of missing, infinite and other values, and of words and values that the first sample lacks.

Values outside a distribution are compared as shares of their own, so that nothing is ignored. Unknown words are
compared one-sided, because a model knows nothing about a word that training did not have. The expected share is
measured on the first sample itself, each text against all others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from scipy import stats

from logging_lib._util.formatting import list_values
from logging_lib.analysis import contingency
from logging_lib.analysis.columns import Column
from logging_lib.analysis.results import NOT_COMPARABLE, NOT_COMPARED, Bins, Test, Variable
from logging_lib.profile.model import OOV_EDGES

Array = np.ndarray[Any, Any]

SHARE_KINDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "missing": ("there", "missing", "whether there is a value: the test of categories"),
    "wrong_type": (
        "of the type",
        "of another type",
        "whether a value is of the variable's type: the test of categories",
    ),
    "not_finite": (
        "finite",
        "infinite",
        "whether a number is finite and not too large: the test of categories",
    ),
}
"""Kind of a variable → the meaning of its two shares, and why this test was chosen."""
_IDENTIFIER = re.compile(r"[!-~]{1,200}", re.ASCII)
"""A text without a space: a code, a UUID, a URL. Its words have no meaning on their own."""


def add_shares(
    name: str,
    variables: Sequence[Variable],
    parts: Sequence[Column],
    names: Sequence[str],
    test: str,
    seed: int,
) -> list[Variable]:
    """Add the shares of a feature's values that are not part of their distribution to its variables.

    Args:
        name: the feature.
        variables: the feature's distribution, one or more; those without a test get the reason as a note.
        parts: the feature in each sample.
        names: the samples' names.
        test: ``chi2`` or ``g``.
        seed: the seed of a permutation test.
    """
    present = [part.rows - part.missing for part in parts]
    counts_by_kind: dict[str, list[tuple[int, int]]] = {
        "missing": [(count, part.missing) for count, part in zip(present, parts, strict=True)],
        "wrong_type": [
            (count - part.wrong_type, part.wrong_type) for count, part in zip(present, parts, strict=True)
        ],
        "not_finite": [(part.usable, part.not_finite) for part in parts],
    }
    tables = {kind: np.array(counts) for kind, counts in counts_by_kind.items()}
    compared = [
        compare_share(name, kind, table, test, seed)
        for kind, table in tables.items()
        if table[:, 1].any() and table.sum(axis=1).all()
    ]
    notes = tuple(
        f"{sample}: {note}" for sample, part in zip(names, parts, strict=True) for note in part.notes
    )
    first, *others = [
        variable if variable.tests else _explain_missing_test(variable, parts, names)
        for variable in variables
    ]
    return [replace(first, notes=(*first.notes, *notes)), *others, *compared]


def _explain_missing_test(variable: Variable, parts: Sequence[Column], names: Sequence[str]) -> Variable:
    """Explain why there is no test, and whether nothing was compared instead."""
    verdict = NOT_COMPARABLE
    empty = [name for name, part in zip(names, parts, strict=True) if not part.rows]
    lacking = [name for name, part in zip(names, parts, strict=True) if not part.usable]
    if empty:
        note = f"{list_values(empty)} has no row"
    elif not lacking:
        return replace(variable, verdict=verdict)
    elif len(lacking) < len(parts):  # the share of missing or other values shows it
        verdict, note = NOT_COMPARED, f"{list_values(lacking)} has no value of this kind"
    elif any(part.missing < part.rows for part in parts):
        note = "no sample has a value of this kind"
    else:
        verdict, note = NOT_COMPARED, "no sample has a value"
    return replace(variable, verdict=verdict, notes=(*variable.notes, note))


def compare_share(name: str, kind: str, counts: Array, test: str, seed: int) -> Variable:
    """Compare the share of values for which something holds.

    Args:
        name: the feature.
        kind: one of ``SHARE_KINDS``.
        counts: (values for which it does not hold, values for which it does) in each sample, shape (samples, 2).
        test: ``chi2`` or ``g``.
        seed: the seed of a permutation test.
    """
    result, effect, _ = contingency.association(counts, test=test, seed=seed)
    effects = (
        (contingency.cohens_h(counts), contingency.risk_difference(counts)) if len(counts) == 2 else (effect,)
    )
    rows = tuple(int(total) for total in counts.sum(axis=1))
    shares = counts / counts.sum(axis=1, keepdims=True)
    without, with_it, why = SHARE_KINDS[kind]
    return Variable(
        name,
        kind,
        rows,
        (result,),
        effects,
        {},
        tuple(
            {kind: int(count), "share": float(count / total)}
            for count, total in zip(counts[:, 1], rows, strict=True)
        ),
        why,
        (),
        Bins((without, with_it), tuple(tuple(row) for row in shares.tolist())),
    )


def compare_unknown(name: str, kind: str, first: Array, second: Array, why: str) -> Variable:
    """Test whether the second sample has more content that the first sample lacks, text by text.

    The test is Mann and Whitney's, one-sided, of the share in each text, because the words of one text are not
    independent; the effect is Cohen's h between the mean shares.

    Args:
        name: the feature.
        kind: ``unknown_words`` or ``unknown_values``.
        first, second: the share in each text of either sample, 0 to 1; shapes (n,) and (m,), neither empty.
        why: why this test was chosen.
    """
    u, p = len(first) * len(second) / 2, 1.0  # also if all texts have the same share
    if min(first.min(), second.min()) < max(first.max(), second.max()):
        result = stats.mannwhitneyu(second, first, alternative="greater", method="asymptotic")
        u, p = float(result.statistic), float(result.pvalue)
    samples = (first, second)
    means = [float(sample.mean()) for sample in samples]
    counts = np.array([[len(s) * (1 - mean), len(s) * mean] for s, mean in zip(samples, means, strict=True)])
    edges = np.array(OOV_EDGES)
    table = np.stack([np.histogram(sample, edges)[0] / len(sample) for sample in samples])
    return Variable(
        name,
        kind,
        (len(first), len(second)),
        (Test("mann_whitney", u, p, note="one-sided"),),
        (contingency.cohens_h(counts),),
        {},
        tuple({"share": mean, **({"new_share": mean} if kind == "unknown_values" else {})} for mean in means),
        why,
        (),
        Bins(
            tuple(f"{low:.0%} to {high:.0%}" for low, high in pairwise(OOV_EDGES)),
            tuple(map(tuple, table.tolist())),
            OOV_EDGES,
        ),
    )


def are_identifiers(texts: Sequence[str]) -> bool:
    """Return whether the texts are identifiers, such as codes and URLs, rather than words of a language."""
    return bool(texts) and sum(_IDENTIFIER.fullmatch(text) is not None for text in texts) > 0.99 * len(texts)


def measure_unknown(first: Sequence[list[str]], second: Sequence[list[str]]) -> tuple[Array, Array]:
    """Measure the share of each text's words that no text of the first sample has (no other text, for its own).

    Args:
        first, second: the words of each text.

    Returns:
        The shares of the first and of the second sample's texts, shapes (n,) and (m,), 0 to 1.
    """
    texts_with: Counter[str] = Counter()
    for words in first:
        texts_with.update(set(words))

    def measure(texts: Sequence[list[str]], own: int) -> Array:
        return np.array(
            [sum(texts_with[word] <= own for word in words) / len(words) if words else 0.0 for words in texts]
        )

    return measure(first, 1), measure(second, 0)


def new_share(table: Array) -> float:
    """Return the second sample's share of values that the first lacks; ``table`` has shape (2, categories)."""
    return float(table[1][table[0] == 0].sum() / table[1].sum())


def new_values(labels: list[str], table: Array, name: str) -> list[str]:
    """Return a note on the new values, the most frequent first, or an empty list."""
    new = sorted(
        ((int(b), label) for label, a, b in zip(labels, *table.tolist(), strict=True) if b and not a),
        reverse=True,
    )
    if not new:
        return []
    examples = ", ".join(f"{label:.60} ({count})" for count, label in new[:5])
    return [f"only in {name}: {examples}" + (f" and {len(new) - 5} more" if len(new) > 5 else "")]
