"""Every empirical sentence of the paper has a row of the ledger, or a reason."""

import os
import re
from pathlib import Path

import pytest

from lib.paper import claims
from lib.paper.sentences import SENTENCES
from lib.theory.statements import STATEMENTS

IDS = {claim.id for claim in claims.CLAIMS} | {statement.id for statement in STATEMENTS}


def test_every_sentence_has_rows_that_exist_or_a_reason():
    assert len(SENTENCES) > 120
    for sentence in SENTENCES:
        assert bool(sentence.rows) != bool(sentence.why), sentence
        assert set(sentence.rows) <= IDS, sentence
        assert len(set(sentence.rows)) == len(sentence.rows)
        assert 2 <= len(sentence.quote.split()) <= 10, "a few words, not the sentence"


def test_every_section_of_the_paper_is_there_in_order():
    sections = list(dict.fromkeys(sentence.section for sentence in SENTENCES))
    expected = ["Abstract", "1", "2", "2.1", "2.2", "3", "3.1", "3.2", "3.3", "4", "4.2", "5", "6", "A.1", "A.2", "B"]
    assert sections == expected


def test_every_row_that_counts_is_a_sentence_of_the_paper():
    named = {row for sentence in SENTENCES for row in sentence.rows}
    assert not {claim.id for claim in claims.CLAIMS if claim.counted} - named


@pytest.mark.skipif("BN_PAPER" not in os.environ, reason="BN_PAPER does not name the paper's text")
def test_quotes_are_the_papers_own_words_in_its_order():
    text = re.sub(r"[*_\\]", "", Path(os.environ["BN_PAPER"]).read_text())
    text = re.sub(r"\s+", " ", re.sub(r"\[(.*?)\]\(#.*?\)", r"\1", text))
    at = 0
    for sentence in SENTENCES:
        found = text.find(sentence.quote, at)
        assert found >= 0, (sentence, "not after" if sentence.quote in text else "nowhere")
        at = found + 1
