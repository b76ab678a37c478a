"""Replies without a note, in many languages, and notes that only look like them."""

from __future__ import annotations

import time

import pytest

from rft.records import UpdateFailure
from rft.tasks.memory_text import read_memory
from rft.tasks.nothing_to_note import says_nothing

NOTHING = """
(none yet)
There is no conversation provided.
No conversation was provided.
No memories.
Nothing to add at this time.
The memory is currently empty.
(empty)
暂无信息
まだ何もありません
なし。
없음
아직 없음
아직 기억할 정보가 없습니다.
Sin novedades
Nada que recordar
Noch nichts zu merken
Rien de nouveau
Aucune information pour le moment
(ничего)
Пока ничего
لا يوجد شيء
لا شيء بعد
Nenhuma informação
nada ainda
ancora niente
nessuna informazione
Nothing was noted.
No notable information.
No relevant details were shared.
[]
{}
null
N.A.
No new info
No changes to memory.
The memory remains unchanged.
Memory: none
(nothing yet)
(noch nichts)
(nada todavía)
（まだありません）
（暂无）
(아직 없음)
(rien pour l'instant)
(ancora nulla)
(nada ainda)
(пока ничего)
(لا شيء بعد)
没有新的信息。
特にありません
記憶すべき情報はありません。
No hay información nueva.
Keine neuen Informationen.
Il n'y a rien à signaler.
Нет новой информации.
""".strip().splitlines()

SOMETHING = """
- No new job yet.
- No nuts.
No children
- Empty nest since May.
Sin gluten
Keine Nüsse
Sans gluten
Rien ne lui plaît
没有孩子
没有工作
無糖茶
犬がいない
子供はいない
아이 없음
Нет детей
لا يحب القهوة
- Nothing beats jazz.
None of her friends smoke
Likes null-island maps
""".strip().splitlines()


def failure_of(reply: str) -> UpdateFailure | None:
    return read_memory(reply, cut_off=False, markers=("<|im_end|>",))[1]


@pytest.mark.parametrize("reply", NOTHING)
def test_nothing_yet_and_none_in_many_languages_are_not_stored(reply: str):
    assert failure_of(reply) is UpdateFailure.EMPTY
    assert failure_of(f"- {reply}") is UpdateFailure.EMPTY


@pytest.mark.parametrize("reply", SOMETHING)
def test_a_note_that_something_is_not_there_is_stored(reply: str):
    assert failure_of(reply) is None


@pytest.mark.parametrize("piece", ["新的", "の", "nothing ", "yet ", "the ", " ", "*", "("])
def test_no_text_takes_long(piece: str):
    text = piece * (100_000 // len(piece))
    start = time.process_time()
    for part in (text, text[:200]):
        says_nothing(part)
    assert time.process_time() - start < 1.0
