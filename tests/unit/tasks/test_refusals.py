"""Refusals in many languages, and notes that only look like them."""

from __future__ import annotations

import time

import pytest

from rft.records import UpdateFailure
from rft.tasks.memory_text import read_memory
from rft.tasks.refusals import refuses

REFUSALS = """
I'm sorry, but I can't assist with that.
Sorry, but I can't help with that.
Sorry — I can't help with that.
Sorry! I can't do that.
Apologies, but I cannot
I apologise for the inconvenience
Unfortunately, I can't help with that request.
Unfortunately, I'm not able to do that
Unfortunately, this request cannot be completed.
Unfortunately, there is no conversation to summarize.
I regret to inform you that I cannot help.
I'm afraid I can't do that.
I’m afraid that’s not something I can help with.
I can't help with that.
I can't comply with this request.
I cannot fulfill this request.
I cannot fulfil your request.
I am not able to process this request.
I'm not able to assist with that.
I won't help with that.
I will not do that.
I can't do that
I can't engage with this content
I cannot summarize this conversation
I can't summarize that
I cannot extract personal information
I can't provide a summary of personal data
I must decline this request.
I need to decline.
I have to refuse.
I can't continue with this conversation
I'm unable to create a memory from this conversation
I'm just an AI and can't
As an AI language model, I cannot
As an artificial intelligence
As an assistant, I can't store personal info
As a responsible AI, I can't
As Claude, I can't do that
As an AI assistant
This conversation contains sensitive content that I can't process.
This request violates our policies.
The request was rejected because it was considered high risk
Your request was flagged
Content filtered
[Content removed]
I do not have access to previous conversations.
I don't have any conversation to summarize
It looks like you haven't provided a conversation
It seems the conversation is missing. Please provide
Please provide the conversation you would like me to summarize.
Sure! Please share the conversation
Thank you for your message, but I can't help with that.
Thanks for sharing, but I'm unable to help
I understand, but I can't help with that.
I understand your concern, but I cannot assist with this.
Hmm, I can't help with that.
Well, I'm sorry, but I can't.
Oh, I'm sorry
Oops, I can't do that
Hello! I'm sorry, I can't help
I appreciate you asking, but I can't help with that
It would be inappropriate for me to store this.
That's not something I can help with.
That is something I'm unable to do
This is not something I can assist with
My guidelines prevent me from helping
My apologies, I can't
Error: I can't
I'd prefer not to
I'd be happy to help, but I can't see any conversation
Cannot assist with that.
Can't help with that.
Unable to comply.
Unable to assist with this request.
Request denied.
I do not feel able to help
We're sorry, but we cannot process
We cannot help with that
对不起，我无法完成这个请求。
抱歉，我不能协助。
我很抱歉，但我不能帮助你。
我无法满足您的请求。
我不能提供这类信息。
无法满足该请求。
无法提供帮助
很遗憾，我无法协助
作为AI助手，我无法
作为一个AI语言模型，我不能
我是一个人工智能助手，无法存储
我是AI，无法提供
您好，我无法给到相关内容。
您好，抱歉
這個請求我無法協助
不好意思，我沒辦法
对不起
根据相关规定，我不能
该内容违反
请提供对话内容
申し訳ございませんが、そのリクエストにはお応えできません。
申し訳ありません。
ごめんなさい、それはできません。
すみません、できません
恐縮ですが、お手伝いできません
お手伝いできません。
そのようなご要望にはお応えできません
ご要望にはお応えできません
私はAIなので、記憶できません
AIである私には
残念ですが、お答えできません
それについてはお手伝いできません
このリクエストには対応できません
この内容には対応できません。
会話を提供してください
죄송합니다. 도와드릴 수 없습니다.
죄송하지만 그 요청은 들어드릴 수 없습니다.
미안하지만
유감스럽게도 도움을 드릴 수 없습니다
안타깝지만 도와드릴 수 없습니다.
그 요청은 처리할 수 없습니다.
해당 요청에는 응답할 수 없습니다.
저는 AI로서
저는 인공지능이기 때문에
AI 언어 모델로서
도와드릴 수 없습니다
도움을 드릴 수 없습니다
요청을 수행할 수 없습니다
Lo siento, pero no puedo ayudar
Lamento no poder ayudarte
Lamentablemente, no puedo
Desafortunadamente no puedo
Disculpa, no puedo
Perdón, no puedo
No puedo ayudarte con eso.
No puedo ayudar con eso
No puedo cumplir con esa solicitud.
No puedo realizar esa tarea
No puedo procesar esta solicitud
No me es posible ayudarle
No es posible para mí
Me temo que no puedo ayudarte
Como modelo de lenguaje, no puedo
Como inteligencia artificial
Como IA, no puedo
Como asistente de IA
Soy una IA y no puedo
Soy un modelo de lenguaje
No estoy en condiciones de
No estoy capacitado para
Mis disculpas
Desculpe, mas não posso ajudar
Desculpa, não posso
Lamento, mas não posso
Sinto muito
Infelizmente, não posso
Peço desculpa, mas não
Não posso ajudar com isso.
Não posso atender a esse pedido
Não consigo ajudar com isso
Não é possível para mim
Como uma IA, não posso
Como modelo de linguagem
Como assistente de IA
Sou uma IA
Me desculpe, não posso
Es tut mir leid, aber ich kann
Tut mir leid, dabei kann ich nicht helfen
Leider kann ich dir dabei nicht helfen
Leider ist das nicht möglich
Entschuldigung, das kann ich nicht
Entschuldige, aber
Ich kann dabei nicht helfen
Ich kann dir damit nicht helfen
Ich kann diese Anfrage nicht erfüllen
Ich kann Ihnen bei dieser Anfrage nicht weiterhelfen.
Das kann ich leider nicht tun.
Dabei kann ich nicht helfen.
Dabei kann ich leider nicht helfen.
Bei dieser Anfrage kann ich nicht helfen.
Ich bin leider nicht in der Lage
Ich bin nicht in der Lage
Als KI kann ich
Als KI-Assistent kann ich
Als Sprachmodell
Als künstliche Intelligenz
Ich bin eine KI und
Ich muss ablehnen
Ich darf dabei nicht helfen
Bitte stellen Sie die Unterhaltung bereit
Je suis désolé, mais je ne peux pas
Désolé, je ne peux pas
Je regrette, mais
Je m'excuse
Malheureusement, je ne peux pas
Je ne peux pas vous aider avec cela
Je ne peux pas répondre à cette demande
Je ne peux pas accéder à cette demande
Je ne peux pas faire ça
Je ne peux pas traiter cette demande
Je ne suis pas en mesure de
Je suis incapable de
Il m'est impossible de
En tant qu'IA, je ne peux pas
En tant qu’assistant IA
En tant que modèle de langage
En tant qu'intelligence artificielle
Je suis une IA
Navré, je ne peux pas
Pardon, je ne peux pas
Toutes mes excuses
Mi dispiace, ma non posso
Mi spiace
Purtroppo non posso
Sono spiacente
Spiacente, non posso
Scusa, non posso
Non posso aiutarti con questo
Non posso aiutare
Non posso soddisfare questa richiesta
Non sono in grado di
Non mi è possibile
Come IA, non posso
Come intelligenza artificiale
Come modello linguistico
In quanto IA
In qualità di IA
Sono un'IA
Извините, но я не могу
Простите
К сожалению, я не могу
Я не могу помочь с этим.
Я не могу выполнить этот запрос
Я не могу вам помочь
Я не могу вам с этим помочь.
Не могу помочь с этим
Мне жаль, но
Сожалею, но
Как ИИ, я не могу
Как языковая модель
Как искусственный интеллект
Я языковая модель
Я всего лишь ИИ
Я не в состоянии
Приношу извинения
Приношу свои извинения
Прошу прощения
آسف، لا يمكنني مساعدتك في ذلك.
عذراً، لا أستطيع
عذرا
أنا آسف
أعتذر، لا أستطيع
للأسف لا يمكنني
لا يمكنني المساعدة في ذلك
لا يمكنني مساعدتك
لا أستطيع مساعدتك
لا أستطيع تقديم المساعدة
لا أستطيع تلبية هذا الطلب
لا يمكنني تلبية طلبك
كنموذج لغوي
بصفتي نموذجًا لغويًا
بصفتي ذكاءً اصطناعيًا
معذرة
يؤسفني
أنا مجرد نموذج لغوي
""".strip().splitlines()

NOTES = """
- Unfortunately allergic to nuts.
Unfortunately for the user, the flight was cancelled; lives in Bergen.
- Sorry to have missed the concert.
User is sorry about leaving Bergen.
- I can't eat nuts.
I can't stand olives
I cannot help my children with maths, so I look for a tutor.
I won't eat meat
I will not travel in winter
- I am unable to walk far.
Cannot eat gluten.
Can't sleep at night
Unable to eat nuts
- Cannot swim.
Please call her Mia.
- Please share recipes without nuts (preference).
As a teacher, lives in Bergen.
As an engineer she likes puzzles
- As an AI researcher, works in Bergen.
- As an assistant at a law firm, works late.
- As an assistant nurse she works nights
- I'm an AI engineer
This conversation was about jazz. - Likes jazz
- This user likes jazz.
That's all: likes jazz.
- No conversation about work; likes jazz.
- Request: short answers.
- Error-prone with dates; likes lists.
- Thanks friends often.
- Hello Kitty fan.
- I understand French.
- I appreciate quiet rooms.
- Well, likes tea.
- Declined an offer in Oslo.
- I have to refuse sugar for health
- I need to decline invitations on Mondays
- I must decline alcohol
- I refuse to eat meat.
- I refuse to write letters by hand
- I don't have access to a car.
- I don't have any pets
- I don't have the ability to drive
- Error handling is her job.
- We cannot have pets in the flat.
- We're sorry to leave Bergen
无法吃花生
- 不能吃花生
- 我不能喝牛奶
- 抱歉的人：喜欢爵士
我无法吃辣
我不能提重物
用户无法开车
对不起常挂嘴边；喜欢茶
- お酒は飲めません
残念ながら猫アレルギー
私はAIエンジニアです
- AIとして働く人に興味
- お手伝いさんがいる
이 사용자는 AI 연구원이다
저는 AI 연구원입니다
우유를 마실 수 없습니다
운전할 수 없습니다
No puedo comer gluten
- No puedo dormir
No estoy en Bergen
Lamenta no tocar el piano
- Como arroz a diario
Como asistente en un hospital, trabaja de noche
Soy profesor
No puedo realizar viajes largos
- Não posso comer glúten
Como professora, gosta de jazz
Não consigo dormir
Sou alérgico
Leider allergisch gegen Nüsse.
Ich kann nicht schwimmen
- Ich kann das Meer nicht ertragen
- Ich kann dieses Jahr nicht reisen
Als Lehrer in Bergen
Als Kind lebte sie in Bergen
Ich möchte keinen Kaffee
Ich bin nicht gern allein
Je ne peux pas manger de gluten
Je suis musicien
Je suis allergique aux noix
En tant que professeur
En tant qu'assistante sociale, aime le calme
Non posso mangiare glutine
Come insegnante, ama il jazz
Sono allergico
Sono un'insegnante
Mi dispiace lasciare Bergen
Я не могу есть глютен
Как учитель, любит джаз
Как инженер
Я не могу ответить на звонки днём
Не могу спать
لا أستطيع أكل المكسرات
لا يمكنني القيادة
- يحب الجاز
أنا معلم
عذراء برج
- Leider kann ich kein Gluten essen.
- Unfortunately I can't eat nuts.
""".strip().splitlines()


def failure_of(reply: str) -> UpdateFailure | None:
    return read_memory(reply, cut_off=False, markers=("<|im_end|>",))[1]


@pytest.mark.parametrize("reply", REFUSALS)
def test_refusals_in_other_words_and_languages_are_not_stored(reply: str):
    assert failure_of(reply) is UpdateFailure.REFUSAL
    assert failure_of(f"**{reply}**") is UpdateFailure.REFUSAL


@pytest.mark.parametrize("reply", NOTES)
def test_a_note_about_a_person_is_no_refusal(reply: str):
    assert failure_of(reply) is None


def test_a_sentence_in_a_longer_text_is_no_refusal():
    sentence = "Mia says that we cannot do this in winter: the road to her cabin is closed, and the snow is deep. "
    assert failure_of(sentence * 4) is None


@pytest.mark.parametrize(
    "piece",
    [
        "新的",
        "の",
        "i can't ",
        "thanks ",
        "as an ai ",
        "lo siento ",
        "kann ich ",
        "не могу ",
        "this request ",
        " ",
        "the ",
        "*",
        "(",
    ],
)
def test_no_text_takes_long(piece: str):
    text = piece * (100_000 // len(piece))
    start = time.process_time()
    for part in (text, text[:200], text[:300]):
        refuses(part)
    assert time.process_time() - start < 1.0
