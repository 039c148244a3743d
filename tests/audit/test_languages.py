"""Languages are told apart by script and words, and nothing is told from nothing."""

from __future__ import annotations

import pytest

from freehold.audit.languages import detect_language


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The ferry leaves at nine and is back before the shops are closed."),
        ("zh", "渡轮九点出发，商店关门之前回来。"),
        ("zh", "这台机器用的是 USB 接口。"),
        ("fi", "Lautta lähtee yhdeksältä ja palaa ennen kuin kaupat suljetaan."),
        ("ja", "フェリーは九時に出発して、店が閉まる前に戻ります。"),
        ("ko", "배는 아홉 시에 떠나서 가게가 닫기 전에 돌아옵니다."),
        ("ru", "Паром отходит в девять и возвращается до закрытия магазинов."),
        ("uk", "Пором відходить о дев'ятій і повертається до закриття крамниць."),
        ("ar", "تغادر العبارة في التاسعة وتعود قبل إغلاق المتاجر."),
        ("de", "Die Fähre legt um neun ab und ist zurück, bevor die Läden schließen."),
        ("sv", "Färjan går klockan nio och är tillbaka innan affärerna stänger, om det inte blåser."),
        ("el", "Το πλοίο φεύγει στις εννέα."),
    ],
)
def test_a_sentence_is_recognised(language: str, text: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize("text", ["", "   ", "1234 + 5 = ?", "🙂🙂", "\ud800", "zzz qqq xxx"])
def test_nothing_is_told_from_nothing(text: str) -> None:
    assert detect_language(text) == "und"


def test_the_beginning_of_a_long_text_decides() -> None:
    assert detect_language("the end of it " * 300 + "好" * 100_000) == "en"
