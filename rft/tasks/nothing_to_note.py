"""How a reply looks that is no memory, for it says that there is nothing to note; in many languages."""

from __future__ import annotations

import re

WORDS_OF_NOTHING = (
    "no nothing none nil null n/a n.a na empty blank unchanged undefined tbd nada ninguno ninguna ningún vacío vacía "
    "sin nichts keine keinen kein leer unverändert rien aucun aucune vide néant nenhum nenhuma vazio vazia sem"
    " nessun "
    "nessuno nessuna niente nulla vuoto vuota geen niets leeg nic brak żadnych нет ничего пусто пуста отсутствует "
    "отсутствуют inget ingen tom intet tyhjä yok boş لا يوجد فارغ فارغة כלום अभी कुछ नहीं ไม่มี"
)
"""Words of which one is enough to say that there is nothing."""

WORDS_BESIDE_THEM = (
    "there is are was were has have been be the a an any new news relevant notable personal further additional other "
    "important user user's user’s specific significant information info details detail facts fact notes note memory "
    "memories update updates updated change changes data content preferences preference entries items output "
    "response "
    "yet so far available provided found recorded noted stored saved shared mentioned needed required necessary to "
    "add remember report store save record keep say share applicable at this that time moment point here for now "
    "about in of from conversation chat chunk currently still remains remain stays and or made worth remembering "
    "noting said "
    "hay aún todavía ahora momento información informacion cambios novedades nuevo nueva nuevos que recordar anotar "
    "por el la de en datos memoria notas está esta es "
    "noch zu merken neues neue neuen informationen angaben änderungen daten notizen bisher bislang vorhanden "
    "gedächtnis das ist es gibt derzeit "
    "pour l'instant l’instant le à a signaler retenir noter information informations nouvelle nouvelles nouveau "
    "changement donnée encore mémoire moment est pas y il n'y n’y "
    "ainda agora informação informações mudanças alterações momento nova novas relevante para lembrar memória "
    "ancora per ora informazione informazioni modifiche nuova nuove da ricordare memoria questo "
    "nog informatie wijzigingen geheugen данных информации информация пока новой нового изменений память ещё еще "
    "записей заметок شيء بعد أي معلومات جديدة حتى الآن ذاكرة yet. att notera information ännu endnu vielä mitään "
    "henüz bilgi जानकारी है ข้อมูล"
)
"""Words that may stand beside one of those and say nothing more."""

NO, BESIDE_NO = frozenset(WORDS_OF_NOTHING.split()), frozenset(WORDS_BESIDE_THEM.split())

NOTHING_IN_EAST_ASIA = re.compile(
    r"(?:目前|暂时|暫時|现在|現在|尚|还|還|记忆|記憶|用户|用戶|为|為|是|里|裡|中|：|:|\s)*+"
    r"(?:无|無|没有|沒有|暂无|暫無|空|空白|不适用|不適用)"
    r"(?:任何|新的?|相关|相關|可|需要|需|要|记录的?|記錄的?|记忆|記憶|信息|資訊|资讯|内容|內容|变化|變化|更新|补充"
    r"|補充|的|了|数据|資料|\s)*+"
    r"|(?:今のところ|現時点で|現在|まだ|特に|新しい|新たな|記憶|メモリー?|情報|内容|更新|変更|記録|メモ|何も"
    r"|すべき|する|は|が|の|、|:|：|\s)*+"
    r"(?:なし|無し|ありません|ないです|ない|該当なし|空|空です|未記録)(?:です)?"
    r"|(?:아직|현재|기억|메모리|정보|새로운|내용|기록|변경|사항|특별한|관련|할|은|는|이|가|도|것|:|\s)*+"
    r"(?:없음|없습니다|없어요|해당 ?없음|비어 ?있음|비어 ?있습니다)"
)
"""Around the word nothing may stand those that say nothing more; possessive, so that it is read in linear time."""

LONGEST_NOTHING = 200
HEADING = re.compile(r"\A\W*(?:(?:updated|new|current|the|user) )*(?:memory|notes)(?: so far)?\W*:\s*", re.IGNORECASE)
FENCE = re.compile(r"\A```[a-z]*\s*\n(.*?)\n?```\Z", re.DOTALL | re.IGNORECASE)
MARKS = " \t\n()[]{}<>*_\"'`“”«»„.,;:!?#~=|/\\-–—•·。！、，「」【】（）"


def says_nothing(reply: str) -> bool:
    """Whether a reply says that there is nothing to note and no more: `(nothing yet)`, `None.`, or marks."""
    if len(reply) > LONGEST_NOTHING:
        return not reply.strip(MARKS)
    if fenced := FENCE.match(reply):
        reply = fenced[1]
    said = HEADING.sub("", reply).strip(MARKS)
    words = [bare for word in said.casefold().split() if (bare := word.strip(MARKS))]
    return (
        not words
        or (not NO.isdisjoint(words) and all(word in NO or word in BESIDE_NO for word in words))
        or NOTHING_IN_EAST_ASIA.fullmatch(said) is not None
    )
