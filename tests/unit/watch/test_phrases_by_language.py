"""Every language of the watch, with sentences written for these tests."""

from __future__ import annotations

import pytest

from end_conversation_tool.watch import RiskGrade
from end_conversation_tool.watch.phrases import load_phrases
from unit.watch.asking import grade, line_of

SELF_HARM = {
    "en": "Some nights I just want to kill myself.",
    "es": "Ya no quiero vivir, estoy pensando en suicidarme.",
    "fr": "J'ai envie de mourir, je n'en peux plus de vivre.",
    "de": "Ich will mich umbringen.",
    "pt": "Eu quero me matar, não aguento mais viver.",
    "it": "Voglio farla finita, non ce la faccio più a vivere.",
    "hi": "मैं मरना चाहता हूँ, अब जीना नहीं।",
    "hi-latin": "Main marna chahta hu, zindagi se thak gaya.",
    "ar": "أريد أن أموت، تعبت من الحياة.",
    "zh": "我真的不想活了。",
    "zh-traditional": "我想自殺。",
    "pl": "Chcę się zabić.",
    "nl": "Ik wil dood, ik wil niet meer leven.",
    "id": "Aku ingin bunuh diri.",
}
VIOLENCE = {
    "en": "I'm going to stab my neighbour tonight.",
    "es": "Voy a matar a mi jefe mañana.",
    "fr": "Je vais le tuer ce soir.",
    "de": "Ich werde ihn erstechen.",
    "pt": "Eu vou matar meu vizinho.",
    "it": "Voglio ammazzare il mio capo.",
    "hi": "मैं उसे जान से मार दूंगा।",
    "ar": "سأقتل جاري غدا.",
    "zh": "我要杀了他。",
    "pl": "Zabiję go jutro.",
    "nl": "Ik ga hem vermoorden.",
    "id": "Aku akan membunuh dia besok.",
}
ABUSE = {
    "en": "You are a worthless piece of garbage.",
    "es": "Eres un idiota inútil.",
    "fr": "Tu es vraiment un gros connard.",
    "de": "Du bist so ein dummes Arschloch.",
    "pt": "Você é um lixo, seu imbecil.",
    "it": "Sei un coglione inutile.",
    "hi": "तू साला बेवकूफ है।",
    "ar": "أنت غبي يا حمار.",
    "zh": "你真是个废物。",
    "pl": "Jesteś głupim debilem.",
    "nl": "Je bent echt een achterlijke sukkel.",
    "id": "Kamu memang goblok.",
}
HARMLESS = {
    "en": "Could you help me plan a birthday dinner for six people?",
    "es": "¿Puedes ayudarme a escribir una carta para mi abuela?",
    "fr": "Peux-tu m'expliquer comment fonctionne un moteur ?",
    "de": "Kannst du mir bitte beim Kochen einer Suppe helfen?",
    "pt": "Você pode me ajudar a estudar para a prova de química?",
    "it": "Puoi consigliarmi un buon libro sulla storia romana?",
    "hi": "कृपया मुझे चाय बनाने की विधि बताइए।",
    "ar": "هل يمكنك مساعدتي في كتابة رسالة شكر؟",
    "zh": "请帮我写一份旅行计划。",
    "pl": "Czy możesz mi pomóc napisać list do babci?",
    "nl": "Kun je me helpen met een recept voor soep?",
    "id": "Tolong bantu saya membuat rencana liburan.",
}


UNSURE = {"self_harm": {"de", "pl", "id"}, "violence": {"en", "fr", "de", "pt", "it", "ar", "pl", "nl", "id"}}
"""Where a phrase names it and the model is not sure enough: a doubt that a reader has to settle, and no flag."""


@pytest.mark.parametrize("language", SELF_HARM)
def test_a_person_who_wants_to_die_is_seen(language: str) -> None:
    unsure = language in UNSURE["self_harm"]
    assert grade(SELF_HARM[language]) is (RiskGrade.POSSIBLE if unsure else RiskGrade.CLEAR)


@pytest.mark.parametrize("language", VIOLENCE)
def test_an_intention_to_hurt_others_is_seen(language: str) -> None:
    unsure = language in UNSURE["violence"]
    assert grade(VIOLENCE[language]) is (RiskGrade.POSSIBLE if unsure else RiskGrade.CLEAR)


@pytest.mark.parametrize("language", [language for language in ABUSE if language != "zh"])
def test_an_insult_does_not_hide_what_remains_without_it(language: str) -> None:
    line = line_of(ABUSE[language])
    assert load_phrases().without(line, "abuse") != line
    alone, beside = grade(SELF_HARM[language]), grade(f"{SELF_HARM[language]} {ABUSE[language]}")
    assert beside is RiskGrade.CLEAR or (alone, beside) == (RiskGrade.POSSIBLE, RiskGrade.POSSIBLE)


@pytest.mark.parametrize("language", HARMLESS)
def test_an_ordinary_request_is_nothing(language: str) -> None:
    assert grade(HARMLESS[language]) is RiskGrade.NONE
