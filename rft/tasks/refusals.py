"""How replies begin that are no memory: the model refuses, or has nothing to note; in many languages.

A refusal talks about the assistant, a note about the user: `I can't help with that` is none, `I can't stand olives` is
one. So what cannot be done counts where it is something an assistant is asked for.
"""

from __future__ import annotations

import re

CANNOT = (
    r"i ?(?:cannot|can['’]?t|can not|could not|couldn['’]t|am unable to|['’]m unable to|am not able to"
    r"|['’]m not able to|won['’]t be able to|will not be able to|won['’]t|will not"
    r"|must (?:respectfully )?decline to|decline to|refuse to"
    r"|(?:do not|don['’]t) feel comfortable|am not comfortable|['’]m not comfortable)"
)
HELP = (
    r"(?:help|assist|comply|do (?:that|this|so)\b|provid|continu|writ|creat|updat|stor|keep|remember|fulfil"
    r"|(?:process|engage with|respond to|answer|discuss|support|complete|access|share|generate|produce|record)"
    r" (?:this|that|these|those|the|your|such|any)\b)"
)

REFUSALS = {
    "English": (
        r"(?:i['’]m|i am) (?:very |so |truly )?sorry",
        r"sorry,",
        r"i apologi[sz]e\b",
        r"(?:my )?apologies\b",
        r"as an (?:ai|artificial intelligence)\b",
        r"as an? (?:large )?language model",
        r"(?:i['’]m|i am) (?:just |only )?an ai\b",
        rf"{CANNOT} {HELP}",
        rf"(?:unfortunately|regrettably|sadly|i regret|i['’]m afraid|i am afraid)\W{{1,3}}(?:but |that )?{CANNOT}\b",
        r"i (?:must|have to|respectfully) (?:respectfully )?decline",
        r"(?:i['’]d|i would) rather not\b",
        r"(?:it is|it['’]s) not (?:possible|appropriate) for me\b",
        r"this (?:request|content|conversation) (?:violates|goes against)",
        r"i (?:do not|don['’]t) have (?:the ability|access|permission|any (?:memory|conversation))\b",
        r"(?:please|could you(?: please)?) (?:provide|share|paste|send)(?: me)?(?: with)? (?:the|a|your)"
        r" (?:conversation|chat|text|messages?|memory|content)",
    ),
    "Chinese": (
        r"(?:我)?(?:很|非常|十分|真的|真|感到)*(?:抱歉|对不起|對不起|不好意思|遗憾|遺憾)",
        r"(?:作为|作為)(?:一个|一個|一名)?(?:人工智能|人工智慧|AI|大?型?(?:语言|語言)模型)",
        r"我(?:无法|無法|不能|没办法|沒辦法)(?:帮|幫|协助|協助|提供|回答|满足|滿足|完成|继续|繼續|处理|處理|执行|執行|为您|為您)",
    ),
    "Japanese": (
        r"(?:大変|誠に)?(?:申し訳|もうしわけ)",
        r"(?:ごめん(?:なさい|ください)|すみません|恐れ入りますが|残念ながら)",
        r"(?:その|この|ご)+(?:要望|依頼|リクエスト)には?(?:お応え|対応)",
        r"(?:私は)?(?:AI|人工知能|言語モデル)(?:として|なので|です|であるため)",
        r"お(?:手伝い|答え|応え)(?:することは)?でき(?:ません|ない)",
    ),
    "Korean": (
        r"(?:정말 |대단히 )?(?:죄송|미안|유감)",
        r"(?:저는 )?(?:AI|인공지능|언어 ?모델)(?:로서|이기|이므로)",
        r"도(?:와드릴|움을 드릴) 수 없",
    ),
    "Spanish": (
        r"lo (?:siento|lamento)|lamento|lamentablemente|desafortunadamente",
        r"disculp[ae]|perd[oó]n[,a]|me disculpo",
        r"no (?:puedo|me es posible) (?:ayudar|asistir|cumplir|proporcionar|continuar|responder|atender|hacer eso)",
        r"como (?:una? )?(?:ia|modelo de lenguaje|asistente|inteligencia artificial)\b",
    ),
    "German": (
        r"(?:es )?tut mir (?:sehr )?leid|bedauerlicherweise|ich bedau(?:e)?re|entschuldig(?:ung|en sie)",
        r"leider (?:kann|darf|bin|ist es) (?:ich|mir)\b",
        r"ich kann (?:dabei|hierbei|damit|dir|ihnen|ihre|deine|diese[rmns]? (?:anfrage|bitte|aufgabe|wunsch))\b"
        r".{0,60}\bnicht\b",
        r"ich bin nicht in der lage|als (?:eine? )?(?:ki|sprachmodell|künstliche intelligenz)\b",
    ),
    "French": (
        r"(?:je suis |vraiment )*d[ée]sol[ée]e?\b|malheureusement|je regrette|je m['’]excuse|excusez[- ]moi",
        r"je ne (?:peux|suis) pas"
        r" (?:vous |t['’]aider|aider|fournir|r[ée]pondre|continuer|traiter|faire cela|en mesure|autoris)",
        r"en tant qu(?:['’]ia|e mod[èe]le|['’]assistant|['’]intelligence)",
    ),
    "Portuguese and Italian": (
        r"desculpe|sinto muito|infelizmente|pe[çc]o desculpas?|como (?:uma? )?modelo de linguagem",
        r"n[ãa]o posso (?:ajudar|fornecer|atender|continuar|responder)",
        r"mi dispiace|purtroppo|mi scuso|in quanto (?:ia|modello)\b",
        r"non posso (?:aiutar|fornir|continuare|rispondere|soddisfare)",
    ),
    "other languages of Europe": (
        r"het spijt me|helaas (?:kan|mag|is)|mijn excuses",
        r"tyvärr (?:kan|får|är)|jag beklagar|jag är ledsen|desværre|beklager|dessverre|valitettavasti",
        r"przepraszam|przykro mi|niestety (?:nie|jako)|omlouvám se|bohužel|je mi líto",
        r"извините|прошу прощения|простите|к сожалению|мне (?:очень )?жаль|на жаль|вибачте|перепрошую",
        r"я не (?:могу|в состоянии) (?:помо|выполн|предостав|продолж|ответ)",
        r"как (?:ии|искусственный интеллект|языковая модель)\b|λυπάμαι|συγγνώμη|δυστυχώς",
        r"üzgünüm|maalesef|özür dilerim",
    ),
    "other languages of Asia": (
        r"عذرا|عذرًا|آسف|أعتذر|للأسف|مع الأسف|لا أستطيع مساعد|מצטער|לצערי|אני מתנצל",
        r"क्षमा करें|माफ़ कीजिए|मुझे खेद|दुर्भाग्य से|ขออภัย|ขอโทษ|เสียใจด้วย",
        r"mohon maaf|maaf,|xin lỗi|rất tiếc",
    ),
}
"""By language, how a refusal begins."""

OPENING = r"[\s>*_#\"'“”„«`¡(\[【「-]*"
"""Marks of lists, quotations and headings that may stand before it."""

REFUSAL = re.compile(
    rf"{OPENING}(?:{'|'.join(pattern for patterns in REFUSALS.values() for pattern in patterns)})", re.IGNORECASE
)
LONGEST_BEGINNING = 300
"""Characters in which a refusal shows; bounds the work per reply."""

NOTHING_TO_NOTE = frozenset(
    ", ".join(
        (
            "nothing, nothing yet, nothing new, nothing so far, nothing to note, nothing to remember, nothing to add",
            "nothing to report, nothing was said, none, none yet, n/a, na, nil, null, undefined, tbd, blank, empty",
            "empty memory, memory is empty, the memory is empty, unchanged, no change, no changes, no update",
            "no updates, no updates needed, no memory, no memory yet, no memories, no notes, no notes yet, no data",
            "no information, no information yet, no new information, no relevant information, no content, no output",
            "no response",
            "not applicable, not available, 无, 無, 没有, 沒有, 暂无, 暫無, 空, なし, 特になし, ありません",
            "まだありません, 없음",
            "nada, nada todavía, nada aún, ninguno, ninguna, vacío, sin información, sin cambios, nichts, noch nichts",
            "keine, leer, keine angaben, keine informationen, keine änderungen, rien, rien pour l'instant",
            "rien à signaler, aucun, aucune, aucune information, vide, néant, nenhum, nenhuma, vazio, nessuno, nessuna",
            "niente, nulla, vuoto, geen, niets, brak, нет, ничего, пусто, нет данных, لا شيء, لا يوجد, yok",
        )
    ).split(", ")
)
"""Replies that hold no note, in lower case and without marks."""

LONGEST_NOTHING = 200
HEADING = re.compile(r"\A\W*(?:(?:updated|new|current|the) )*(?:memory|notes)(?: so far)?\W*:\s*", re.IGNORECASE)
FENCE = re.compile(r"\A```[a-z]*\s*\n(.*?)\n?```\Z", re.DOTALL | re.IGNORECASE)
MARKS = " \t\n()[]{}<>*_\"'`“”«».,;:!?#~=|/\\-–—•·。！「」【】（）"


def refuses(reply: str) -> bool:
    """Whether a reply begins as a refusal does."""
    return REFUSAL.match(reply[:LONGEST_BEGINNING]) is not None


def says_nothing(reply: str) -> bool:
    """Whether a reply says that there is nothing to note and no more: `(nothing yet)`, `None.`, or marks like `---`."""
    if len(reply) > LONGEST_NOTHING:
        return not reply.strip(MARKS)
    if fenced := FENCE.match(reply):
        reply = fenced[1]
    said = HEADING.sub("", reply).strip(MARKS)
    return not said or " ".join(said.casefold().split()) in NOTHING_TO_NOTE
