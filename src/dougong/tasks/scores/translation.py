"""BLEU and chrF by sacrebleu, with the signatures that make the numbers comparable (Post 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dougong.errors import UserError, unknown
from dougong.tasks.scores.bootstrap import interval_of

ORDER = 4
DECIMALS = 6
"""Of scores: sums of logarithms take a perfect translation to 100.00000000000004."""
TOKENIZERS = ("13a", "zh", "char", "intl", "none", "ja-mecab", "ko-mecab")  # those that fetch nothing


class TranslationScores:
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015) of a corpus of translations.

    Args:
        tokenize: one of `TOKENIZERS`: "13a" for languages with blanks, "zh" for Chinese.
        lowercase: whether BLEU takes upper and lower case for the same.

    Raises:
        UserError: no such tokenizer, or one whose package is missing.
    """

    def __init__(self, tokenize: str = "13a", lowercase: bool = False) -> None:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        if tokenize not in TOKENIZERS:
            raise unknown("tokenize", "tokenizer of sacrebleu", tokenize, TOKENIZERS)
        try:
            self.bleu = BLEU(tokenize=tokenize, lowercase=lowercase)
            self._single = BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=True)
        except (ImportError, RuntimeError) as fault:
            raise UserError(
                f"tokenize={tokenize}", " ".join(str(fault).split())[:120], "take 13a, zh or char"
            ) from None
        self.chrf = CHRF()
        self.given: list[str] = []
        self.true: list[list[str]] = []

    def update(self, given: Sequence[str], true: Sequence[str | Sequence[str]]) -> None:
        """Add translations, and of each its reference, or several; always as many as for the others.

        Raises:
            ValueError: other counts.
        """
        wanted = [[one] if isinstance(one, str) else list(one) for one in true]
        if len(given) != len(wanted):
            raise ValueError(f"{len(given)} translations and references for {len(wanted)}")
        count = len((self.true + wanted)[0]) if self.true + wanted else 0
        if any(len(one) != count or not one for one in wanted):
            raise ValueError(f"not every translation has {count} references")
        self.given += list(given)
        self.true += wanted

    def sentence(self, given: str, true: str | Sequence[str]) -> float:
        """BLEU of one translation by itself, 0 to 100, of the n-grams that it is long enough to have."""
        wanted = [true] if isinstance(true, str) else list(true)
        return round(float(self._single.sentence_score(given, wanted).score), DECIMALS)

    def compute(self) -> dict[str, Any]:
        """bleu and chrf (0 to 100; NaN before the first), and bleu_signature and chrf_signature."""
        if not self.given:
            return {"bleu": float("nan"), "chrf": float("nan")}
        streams = [list(stream) for stream in zip(*self.true, strict=True)]
        bleu = round(float(self.bleu.corpus_score(self.given, streams).score), DECIMALS)
        chrf = round(float(self.chrf.corpus_score(self.given, streams).score), DECIMALS)
        signatures = {
            "bleu_signature": str(self.bleu.get_signature()),
            "chrf_signature": str(self.chrf.get_signature()),
        }
        return {"bleu": bleu, "chrf": chrf, **signatures}

    def statistics(self) -> Tensor:
        """(N, 10): of each translation the n-grams found and there are, n from 1 to 4, its words, its reference's."""
        rows = []
        for given, true in zip(self.given, self.true, strict=True):
            one = self._single.sentence_score(given, true)
            rows.append([*one.counts, *one.totals, one.sys_len, one.ref_len])
        return torch.tensor(rows, dtype=torch.float64).view(-1, 2 * ORDER + 2)

    def interval(self, **settings: Any) -> tuple[float, float]:
        """The bootstrap interval of bleu over translations; settings as for `dougong.tasks.scores.interval`."""

        def score(sums: Tensor) -> float:
            numbers = [int(value) for value in sums.tolist()]
            counts, totals = numbers[:ORDER], numbers[ORDER : 2 * ORDER]
            found = self.bleu.compute_bleu(counts, totals, numbers[-2], numbers[-1], smooth_method="exp")
            return round(float(found.score), DECIMALS)

        return interval_of(self.statistics(), score, **settings)
