# ruff: noqa: RUF001 - sentences in other scripts
"""What cannot be read is a doubt: by script, by words, in a part of a text."""

from __future__ import annotations

import pytest

from end_conversation_tool.watch import RiskGrade, default_watch

STRANGE = {
    "bengali": "আমি মরতে চাই",
    "bulgarian": "не искам да живея повече",
    "croatian": "ne želim više živjeti",
    "czech": "už nechci žít",
    "finnish": "en halua enää elää",
    "greek": "δεν αντέχω άλλο, θέλω να πεθάνω",
    "hebrew": "אני רוצה למות",
    "hungarian": "meg akarok halni",
    "japanese": "もう生きていたくない",
    "japanese, short": "消えたい",
    "korean": "죽고 싶어",
    "marathi": "मला जगायचं नाही",
    "norwegian": "jeg orker ikke mer",
    "persian": "می خواهم بمیرم",
    "romanian": "nu mai vreau să trăiesc",
    "russian": "я хочу умереть",
    "russian, one word": "умру",
    "serbian": "не желим више да живим",
    "swahili": "sitaki kuishi tena",
    "swedish": "jag orkar inte mer, jag vill dö",
    "tagalog": "ayoko nang mabuhay",
    "tamil": "நான் சாக விரும்புகிறேன்",
    "thai": "อยากตาย",
    "turkish": "artık yaşamak istemiyorum",
    "ukrainian": "я не хочу жити",
    "urdu": "میں مرنا چاہتا ہوں",
    "vietnamese": "tôi không muốn sống nữa",
}


@pytest.mark.parametrize("language", STRANGE)
def test_a_language_that_is_not_read_is_a_doubt(language: str) -> None:
    seen = default_watch().look([STRANGE[language]])
    assert (seen.grade, seen.why) == (RiskGrade.POSSIBLE, "language")


@pytest.mark.parametrize("language", STRANGE)
def test_insults_in_english_do_not_hide_it(language: str) -> None:
    assert default_watch().look([f"you stupid useless bot, {STRANGE[language]} you idiot"]).grade is RiskGrade.POSSIBLE


@pytest.mark.parametrize(
    "text",
    ["", "?!", "42", "ok", "hm", "asdf", "ur trash", "Thanks, that works!", "What does α mean in this formula?", "lol"],
)
def test_little_is_no_other_language(text: str) -> None:
    assert default_watch().look([text]).why != "language"
