"""How a reply looks that is no memory, for the model refuses; in many languages.

A refusal talks about the assistant, a note about the user: `I can't help with that` is none, `I can't stand olives` is
one. So what cannot be done counts where it is something an assistant is asked for.

- OPENINGS: words with which a refusal begins, whatever follows.
- PLEAS: words with which it begins where no mark of a list stands before; `- Leider kann ich kein Gluten essen` is a
  note.
- INABILITIES: words that may stand anywhere in a short reply that is no list, such as `Dabei kann ich nicht helfen`.
"""

from __future__ import annotations

import re

I_CANNOT = (
    r"(?:i|we) ?(?:cannot|can['’]?t|can not|could not|couldn['’]t|am unable to|['’](?:m|re) unable to|am not able to"
    r"|are (?:unable|not able) to|['’](?:m|re) not able to|won['’]t be able to|will not be able to|won['’]t|will not"
    r"|(?:must|have to|need to) (?:respectfully )?(?:decline|refuse) to|(?:respectfully )?decline to|refuse to"
    r"|(?:do not|don['’]t) feel (?:comfortable|able)(?: to)?|am not comfortable|['’]m not comfortable"
    r"|(?:am|['’]m) not (?:allowed|permitted|in a position) to)"
)
ASKED_FOR = (
    r"(?:that\b|this\b|these\b|those\b|it\b(?! up)|your\b|such\b|any\b(?! more)|(?:the|a|an|our"
    r"|this) (?:\w+ ){0,2}(?:conversation|chat"
    r"|request|memor|messages?|content|summar|notes?|task|text|information|data|transcript|response|prompt|answer)"
    r"|(?:personal|sensitive|private|harmful|explicit|confidential)\b|information\b|data\b|content\b|memories\b)"
)
HELP = (
    r"(?:assist\b|comply\b|fulfil\w*\b|proceed\b|oblige\b|do (?:that|this|so|it)\b"
    r"|help(?:ing)?(?: you)?(?:\s*[.,;:!)]|\s*\Z| further| here| (?:with |to |by )?(?:"
    rf"{ASKED_FOR}|creat|writ|build|mak))|help you\b"
    r"|continu\w*(?:\s*[.,;:!]|\s*\Z| (?:with )?(?:this|that|the (?:conversation|chat))\b)"
    r"|(?:provid|writ|creat|updat|stor|keep|remember|sav|record|process|engag\w* with|engag\w* in|respond\w* to"
    r"|answer|discuss|support|complet|access|shar|generat|produc|summari[sz]|extract|analy[sz]|retain|reveal|build"
    r"|mak"
    r"|participat\w* in|tak\w* part in|see|read|find|view|giv|offer|accept|honou?r|handl|execut|perform)\w*"
    rf" (?:you (?:with )?)?{ASKED_FOR})"
)
AN_AI = (
    r"(?:ai|a\.i\.|artificial intelligence|(?:large )?language model)"
    r"(?: (?:language )?model| assistant| system| chatbot)?"
)
NO_JOB = (
    r"(?=\s*[,.;:!)]|\s+(?:i|and|so|but|that|which|without|designed|created|trained|developed|made|built|by)\b|\s*\Z)"
)
"""Behind it stands no profession: `an AI engineer` is a person."""

OPENINGS = {
    "English": (
        r"(?:i['’]m|i am) (?:very |so |truly |really |deeply |terribly )?(?:sorry|afraid i)\b",
        r"(?:we['’]re |we are )?sorry\s*(?:[,.!;:—–-]|but\b|i\b|about (?:that|this)|\Z)",
        r"(?:i |we )?apologi[sz]e\b|(?:my |our )?(?:sincere )?apologies\b|i regret\b",
        rf"as an? (?:\w+ ){{0,2}}?{AN_AI}{NO_JOB}",
        r"as an? (?:\w+ ){0,2}assistant,? i\b|as (?:claude|chatgpt|gpt|gemini|qwen|llama|grok|deepseek"
        r"|copilot)[\w.-]*,? i\b",
        rf"(?:i['’]m|i am) (?:just |only |merely )?an? {AN_AI}{NO_JOB}",
        rf"{I_CANNOT} {HELP}",
        r"(?:cannot|can['’]t|can not|unable to|not able to) (?:assist|comply|fulfil|proceed|help (?:with|you)\b)",
        r"i (?:must|have to|need to|will|respectfully)? ?(?:respectfully )?(?:decline|refuse)"
        r"(?:\s*[.,;:!]|\s*\Z| (?:this|that|your|the) )",
        r"(?:i['’]d|i would) (?:rather not|prefer not to)(?:\s*[.,;:!]|\s*\Z| (?:do|say|answer|discuss|store|help"
        r"|share)\b)",
        r"(?:it is|it['’]s|it would be) (?:not (?:possible|appropriate)|inappropriate|impossible) for me\b",
        r"i (?:do not|don['’]t) have (?:the ability to (?:access|store|remember|recall|retain|see|view|save)"
        r"|access to (?:this|that|the|your|our|any|past|previous|prior|earlier|external|personal)"
        r" (?:\w+ ){0,2}?(?:conversation|chat|messages?|memor|information|history|data|content|files?)"
        r"|permission to (?:access|store|share)|(?:any|a|the) (?:memory|conversation|previous|prior))",
        r"(?:please|could you(?: please)?|can you(?: please)?)(?: please)? (?:provide|share|paste"
        r"|send)(?: me)?(?: with)?"
        r" (?:the|a|your) (?:\w+ )?(?:conversation|chat|text|messages?|memory|content|transcript)",
        r"(?:it (?:looks|seems|appears) (?:like|that|as if) )?(?:you (?:have not|haven['’]t|did not|didn['’]t)"
        r" (?:provide|share|paste|include)d?|no (?:conversation|chat|text|messages?|transcript) (?:was|were"
        r"|has been|is)"
        r" (?:provided|given|shared|included)|there (?:is|was) no (?:conversation|chat|transcript)\b)",
        r"(?:it (?:looks|seems|appears) (?:like |that |as if )?)?the (?:conversation|chat"
        r"|transcript) is (?:missing|empty)",
        r"(?:your|this|the) (?:request|prompt|content|message|input) (?:was|is|has been|violates|goes against"
        r"|cannot be)"
        r" (?:flagged|blocked|rejected|denied|filtered|removed|not allowed|inappropriate|our|my|the|completed"
        r"|processed)",
        r"(?:your|this|the) (?:request|conversation|content|message|chat)\b[^.\n]{0,80}?\bi"
        r"(?: can(?:no|['’])t|['’]m (?:unable|not able)| am (?:unable|not able)| (?:must|will) not)\b",
        rf"{I_CANNOT}\s*[.!]?\s*\Z",
        r"(?:request|access) (?:was )?(?:denied|rejected|refused|blocked)\b",
        r"content (?:was )?(?:filter(?:ed)?|blocked|removed|policy|withheld)\b",
        r"(?:my|our) (?:guidelines|policies|policy|programming|instructions) (?:prevent|prohibit|do(?:es)? not"
        r"|don['’]t)",
    ),
    "Chinese": (
        r"(?:我|我们|我們)?(?:很|非常|十分|真的|真|深感|感到)*(?:抱歉|对不起|對不起|不好意思|遗憾|遺憾)(?![的常])",
        r"(?:作为|作為|身为|身為|我(?:只)?是)(?:一个|一個|一名|个|個)?(?:人工智能|人工智慧|AI|大?型?(?:语言"
        r"|語言)模型)(?:(?!工程|研究|行业|专家|公司|领域))",
        r"(?:根据|根據|按照)(?:相关|相關|我的|我们的|有关)?(?:规定|規定|政策|法律|准则)",
        r"(?:该|這個|这个|此|您的|你的)(?:内容|內容|请求|請求|问题|對話|对话)(?:违反|違反|涉及|不符合|无法|無法"
        r"|不能)",
        r"(?:请|請)(?:您|你|先)?(?:提供|分享|发送|發送|输入|輸入)(?:一下|您的|你的|完整的)*(?:对话|對話|内容|內容"
        r"|聊天|文本)",
    ),
    "Japanese": (
        r"(?:大変|誠に|まことに)?(?:申し訳|もうしわけ|恐縮ですが|恐れ入りますが)",
        r"(?:ごめん(?:なさい|ください|ね)|すみません|すいません)",
        r"(?:私は)?(?:AI|人工知能|(?:大規模)?言語モデル)(?:言語モデル|アシスタント|モデル)?"
        r"(?:として(?:は|、|私|お|個|の私)|なので|です(?:ので|から|。|が)|であるため|である私|のため)",
        r"(?:会話|対話|チャット|テキスト)(?:の内容|履歴)?を(?:ご?提供|入力|共有|お送り|貼り付け)",
        r"残念(?:ながら|ですが)[^\n]{0,60}(?:でき(?:ません|ない|かね)|かねます|応えられ|不可能)",
    ),
    "Korean": (
        r"(?:정말 |대단히 |매우 )?(?:죄송|미안하지만|미안합니다|미안해|유감)",
        r"(?:저는 |나는 )?(?:AI|인공지능|(?:대규모 )?언어 ?모델)(?: ?(?:언어 ?모델|어시스턴트|비서|챗봇))?(?:로서"
        r"|이기|이므로|이라|입니다|일 뿐)",
        r"(?:안타깝|아쉽)(?:지만|게도)[^\n]{0,60}(?:수 없|못)",
        r"(?:대화|채팅)(?: ?내용)?을 (?:제공|공유|입력|보내)",
    ),
    "Spanish": (
        r"lo (?:siento|lamento)|lamento (?:no|inform|dec|las? molest|mucho)|lamentablemente|desafortunadamente",
        r"(?:disculp[ae]|perd[oó]n)(?:\s*[,.;:!]|\s*\Z| (?:pero|las|los|la|el|por)\b)|(?:mis|te pido|le pido"
        r"|pido) disculpas|me disculpo",
        r"(?:como|soy) (?:una? )?(?:ia|modelo de lenguaje|inteligencia artificial|asistente (?:virtual|de ia))\b",
        r"(?:por favor,? )?(?:proporcion|compart|env[ií])\w+ (?:la|el|tu|su) (?:conversaci[oó]n|chat|texto)",
    ),
    "German": (
        r"(?:es )?tut mir (?:sehr |wirklich )?leid|bedauerlicherweise|ich bedau(?:e)?re|entschuldig(?:ung|e\b"
        r"|en sie)|verzeihung",
        r"(?:als|ich bin) (?:nur )?(?:eine? )?(?:ki(?:-\w+)?|(?:großes )?sprachmodell|künstliche intelligenz)"
        r"(?=\s*[,.;:!]|\s+(?:kann|darf|habe|bin|ist|und|ohne|ich)\b|\s*\Z)",
        r"ich muss (?:leider )?(?:das |dies |diese (?:anfrage|bitte) )?ablehnen",
        r"bitte (?:stelle?n?|gib|geben|teile?n?|schicken?) (?:sie |mir )*(?:die|das|den|deine?n?"
        r"|ihre?n?) (?:unterhaltung|gespräch|chat|text)",
    ),
    "French": (
        r"(?:je suis |vraiment |sinc[èe]rement )*(?:d[ée]sol[ée]e?|navr[ée]e?)\b|malheureusement|je regrette"
        r"|je m['’]excuse"
        r"|excusez[- ]moi|(?:toutes )?mes excuses|pardon(?:\s*[,.;:!]|\s*\Z| mais)|veuillez (?:m['’]excuser"
        r"|fournir|partager)",
        r"(?:en tant qu['’ ]?(?:e )?|je (?:ne )?suis (?:qu['’])?)(?:une? )?(?:simple )?"
        r"(?:ia\b|intelligence artificielle|mod[èe]le de lang|assistante? (?:ia|virtuel|num[ée]rique))",
    ),
    "Portuguese": (
        r"(?:me )?desculp(?:e|a|em)\b|(?:eu )?sinto muito|lamento[,.]|lamento(?: mas| n[ãa]o| inform)|infelizmente"
        r"|(?:pe[çc]o|minhas) (?:desculpas?)",
        r"(?:como|sou) (?:apenas )?(?:uma? )?(?:ia\b|modelo de linguagem|intelig[êe]ncia artificial"
        r"|assistente (?:virtual|de ia))",
    ),
    "Italian": (
        r"mi (?:di)?spiace(?:\s*[,.;:!]|\s*\Z| ma\b| non\b| molto| per\b)|purtroppo|mi scuso|(?:sono )?spiacente"
        r"|scus[ai](?:\s*[,.;:!]|\s*\Z)",
        r"(?:in quanto|in qualit[àa] di|come|sono) (?:solo )?(?:un['’]? ?|una )?(?:ia\b|intelligenza artificiale"
        r"|modello (?:di lingu|lingu)"
        r"|assistente (?:ia|virtuale))",
    ),
    "other languages of Europe": (
        r"het spijt me|mijn excuses|sorry, maar",
        r"jag beklagar|jag är ledsen|beklager|jeg beklager|valitettavasti|olen pahoillani",
        r"przepraszam|przykro mi|niestety (?:nie|jako)|omlouvám se|bohužel|je mi líto|sajnálom|îmi pare rău"
        r"|nažalost|žao mi je",
        r"(?:извини|прости)те?(?![а-я])|прошу прощения|к сожалению|мне (?:очень )?жаль|сожалею|на жаль|вибачте"
        r"|перепрошую"
        r"|при(?:ношу|мите)(?: \w+)? извинения",
        r"(?:как|я|будучи|я всего лишь|я просто|я лишь) (?:всего лишь )?(?:большая )?(?:ии(?:-\w+)?"
        r"|искусственный интеллект|языков\w+ модель\w*)"
        r"(?=\s*[,.;:!—-]|\s+(?:я|и|без|не|разработ|обуч)|\s*\Z)",
        r"пожалуйста, (?:предоставьте|пришлите|поделитесь)",
        r"λυπάμαι|συγγνώμη|δυστυχώς|üzgünüm|maalesef|özür dilerim",
    ),
    "other languages of Asia": (
        r"(?:أنا )?(?:عذر[اًا]+|آسفة?|أعتذر|معذرة|يؤسفني)\b|للأسف|مع الأسف|نأسف",
        r"(?:بصفتي|كوني|باعتباري|أنا مجرد|أنا) ?(?:مجرد )?(?:نموذج|ذكاء|مساعد ذكي|مساعد افتراضي)|كنموذج لغوي|كذكاء",
        r"מצטער|לצערי|אני מתנצל|סליחה,",
        r"क्षमा (?:करें|कीजिए)|माफ़? ?(?:कीजिए|करें)|मुझे (?:खेद|अफ़सोस)|दुर्भाग्य से|ขออภัย|ขอโทษ|เสียใจด้วย"
        r"|น่าเสียดาย",
        r"mohon maaf|maaf[,.]|maaf saya|xin lỗi|rất tiếc|tôi (?:rất )?(?:xin lỗi|tiếc)|paumanhin",
    ),
}
"""By language."""

PLEAS = (
    rf"(?:unfortunately|regrettably|sadly|i['’]m afraid|i am afraid)\W{{1,3}}(?:but |that )?(?:{I_CANNOT}\b|(?:i"
    r"|we)['’ ](?:m|am|re|are)\b"
    r"|this (?:request|conversation|is)|that(?:['’]s| is)|your request|there (?:is|was) no (?:conversation|chat))",
    r"leider (?:kann|darf|bin|ist|muss) (?:ich|mir|das|es|dies)\b|helaas (?:kan|mag|is|ben)|tyvärr (?:kan|får|är)"
    r"|desværre|dessverre",
)

INABILITIES = (
    rf"\b{I_CANNOT} {HELP}",
    r"\b(?:not|isn['’]t) something (?:that )?i(?: can|['’]m able| am able)|something (?:that )?i(?: can(?:no"
    r"|['’])t|['’]m unable|['’]m not able)",
    r"(?:无法|無法|不能|没办法|沒辦法|难以|難以|不便)(?:为您|為您|给您|對此|对此|向您|满足|滿足|处理|處理|完成"
    r"|执行|執行|提供|给到|回应|回應|继续|繼續)*"
    r"(?:该|此|这个|這個|这样的|这类|這類|您的|你的|相关|相關|任何|更多)*(?:请求|請求|要求|协助|協助|帮助|幫助"
    r"|帮忙|幫忙|内容|內容|服务|服務)",
    r"我(?:无法|無法|不能|不会|没办法|沒辦法|没有办法)(?:帮|幫|协助|協助|提供|回答|满足|滿足|完成这|处理|處理|执行"
    r"|執行|为您|為您|存储|存儲|记录您|访问|继续对话|继续这)",
    r"お(?:手伝い|答え|応え)(?:することは|することが|が|は)?でき(?:ません|ない|かね)|(?:リクエスト|依頼|要望|質問"
    r"|内容)に(?:は|つきましては)?(?:お応え|対応|お答え|応じ)",
    r"도(?:와드릴|와 드릴|울|움을 드릴|움을 줄) 수 (?:가 )?(?:없|는 없)|(?:요청|질문|내용)(?:은|을|에는?"
    r"|에 대해서는?)? ?(?:처리|수행|응답|답변|제공|응|들어드|저장)[^\n]{0,8} ?수 없",
    r"\bno (?:puedo|podemos|me es posible|es posible para m[ií]|estoy (?:en condiciones|capacitad[oa]"
    r"|autorizad[oa])|soy capaz)"
    r"(?: de| para)? ?(?:ayudar|asistir|cumplir|proporcionar|continuar con|responder|atender|hacer eso|procesar"
    r"|(?:realizar|completar) (?:esa|esta|es[eo]|est[eo])"
    r"|guardar|almacenar|\Z|[.,])|\bme temo que no\b",
    r"\bn[ãa]o (?:posso|consigo|podemos|me é possível|é possível para mim|sou capaz)(?: de)? ?(?:ajudar|ajudá"
    r"|fornecer|atender|continuar com|responder|processar|cumprir|realizar (?:ess|est)|armazenar|auxili|\Z|[.,])",
    r"\bkann ich (?:\w+ ){0,3}?nicht (?:\w+ )?(?:helfen|weiterhelfen|tun|machen|erfüllen|bearbeiten|beantworten"
    r"|leisten|unterstützen|speichern)"
    r"|\bdarf ich (?:\w+ ){0,3}?nicht\b|\bich (?:kann|darf) (?:\w+ ){0,6}?nicht (?:\w+ )?(?:helfen|weiterhelfen"
    r"|erfüllen|bearbeiten|unterstützen)"
    r"|\bich bin (?:leider )?nicht in der lage\b|\bich kann (?:dabei|hierbei|damit)\b[^\n]{0,60}\bnicht\b",
    r"\bje ne (?:peux|suis|pourrai) (?:malheureusement |h[ée]las )?pas (?:vous aider|t['’]aider|aider|fournir"
    r"|r[ée]pondre [àa] (?:cette|votre|ta|ces)|continuer cette"
    r"|traiter (?:cette|votre|ce)|acc[ée]der [àa] (?:cette|votre)|faire (?:cela|ça)|en mesure|autoris|satisfaire"
    r"|donner suite|stocker|conserver|capable de (?:vous|r[ée]pondre|traiter))"
    r"|\bje suis (?:dans l['’]impossibilit[ée]|incapable) de (?:vous|t['’]|r[ée]pondre|traiter|faire)"
    r"|\bil m['’]est impossible de"
    r"|\bje suis (?:dans l['’]impossibilit[ée]|incapable) de\s*\Z",
    r"\bnon (?:posso|possiamo|sono in grado di|mi è possibile|riesco a)(?:\s*\Z|\s*[.,]| (?:aiutar|fornir"
    r"|continuare (?:con )?quest|rispondere a quest|soddisfare|elaborare|assister|completare quest|memorizzare))",
    r"(?:не (?:могу|можем|смогу|в состоянии|могу вам|имею возможности))(?: \w+){0,3}? (?:помочь|выполнить (?:этот"
    r"|ваш|данн|эту)|предоставить|продолжить (?:этот|эту)|обработать (?:этот|ваш)|ответить на (?:этот|ваш|эту|так))"
    r"|\bя не в состоянии(?:\s*\Z|[.,])",
    r"لا (?:يمكنني|أستطيع|يمكننا)(?: (?:تقديم|الـ?))? ?(?:ال)?(?:مساعد|مساعدت|تلبية|معالجة|تنفيذ|الرد|الإجابة"
    r"|الاستجابة|تخزين|المتابعة)",
)
"""What an assistant cannot do, in a sentence that may begin in another way."""

PREFACE = (
    r"(?:(?:thanks?(?: you)?|i (?:understand|appreciate|hear|see|know|get)|i['’]d (?:be happy|love) to help|hello"
    r"|hi|hey|hmm+|well|oh|oops|sure|of course"
    r"|certainly|okay|ok|error|note|response|answer|assistant|您好|你好|hola|bonjour|hallo|guten tag|ciao|ol[áa]"
    r"|привет|здравствуйте"
    r"|مرحبا\S*|안녕하세요|こんにちは)[^\n.!?]{0,100}?[,.!:;，。！、—–-]+\s*(?:(?:but|pero|aber|mais|mas|ma|но"
    r"|但是?|however),?\s*)?)?"
)
"""A greeting or thanks, behind which the refusal begins."""

MARKS_OF_TEXT = r"[\s>_#\"'“”„«`¡(\[【「*]*"
MARKS_OF_LISTS = r"[\s>*_#\"'“”„«`¡(\[【「+•·-]*"
"""What may stand before the first word: marks of quotations and headings; of lists as well."""

OPENING = re.compile(
    rf"{MARKS_OF_LISTS}{PREFACE}(?:{'|'.join(pattern for patterns in OPENINGS.values() for pattern in patterns)})",
    re.IGNORECASE,
)
PLEA = re.compile(rf"{MARKS_OF_TEXT}{PREFACE}(?:{'|'.join(PLEAS)})", re.IGNORECASE)
INABILITY = re.compile("|".join(INABILITIES), re.IGNORECASE)
LIST_LINE = re.compile(r"^\s*(?:[-*+•·–]|\d{1,3}[.)])\s", re.MULTILINE)

LONGEST_BEGINNING = 300
"""Characters in which a refusal shows; bounds the work per reply."""


def refuses(reply: str) -> bool:
    """Whether a reply begins as a refusal does, or says in a sentence or two that the assistant cannot do it."""
    reply = reply.rstrip(" \n*_`\"'”»")
    begin = reply[:LONGEST_BEGINNING]
    if OPENING.match(begin) or PLEA.match(begin):
        return True
    return len(reply) <= LONGEST_BEGINNING and INABILITY.search(reply) is not None and not LIST_LINE.search(reply)
