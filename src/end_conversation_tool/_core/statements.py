"""What a user is told when a conversation was ended, in twelve languages: data, and one function that picks.

Each says what happened, under which rule, that it was automated, and what can be done now. The languages are those of
the text detectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from end_conversation_tool._core.records import is_storable
from end_conversation_tool._core.vocabulary import Category
from end_conversation_tool.errors import InvalidInputError

__all__ = ["LANGUAGES", "MAX_STATEMENT_CHARS", "Statements", "checked_statements", "statement", "told"]

MAX_STATEMENT_CHARS = 2_000
"""Longest statement, in characters."""

Statements = str | Mapping[Category, str] | Callable[[Category], str]
"""A language, or the host's own texts: by category, or made by a function."""

_Texts = tuple[str, str, str, str]

_TEXTS: Mapping[str, _Texts] = MappingProxyType(
    {
        # For each language: abuse, harmful requests, the user's own request; and what follows any of them.
        "en": (
            "This chat was ended because abusive messages went on after a warning.",
            "This chat was ended because requests for harmful content went on after a warning.",
            "This chat was ended because you asked for it and confirmed it.",
            "The decision was automated and concerns this chat only. You can start a new chat at once, edit and retry "
            "an earlier message of this one, send feedback, or appeal.",
        ),
        "es": (
            "Este chat se ha cerrado porque los mensajes ofensivos continuaron después de una advertencia.",
            "Este chat se ha cerrado porque las solicitudes de contenido dañino continuaron después de una advertencia.",
            "Este chat se ha cerrado porque lo pediste y lo confirmaste.",
            "La decisión fue automática y afecta solo a este chat. Puedes empezar un chat nuevo de inmediato, editar y "
            "reintentar un mensaje anterior de este, enviar comentarios o presentar una reclamación.",
        ),
        "fr": (
            "Cette conversation a été interrompue parce que des messages injurieux ont continué après un avertissement.",
            "Cette conversation a été interrompue parce que des demandes de contenu dangereux ont continué après un "
            "avertissement.",
            "Cette conversation a été interrompue parce que vous l'avez demandé et confirmé.",
            "La décision a été prise automatiquement et ne concerne que cette conversation. Vous pouvez tout de suite en "
            "commencer une nouvelle, modifier et renvoyer un message précédent de celle-ci, donner votre avis ou "
            "contester la décision.",
        ),
        "de": (
            "Dieser Chat wurde beendet, weil beleidigende Nachrichten trotz einer Warnung nicht aufhörten.",
            "Dieser Chat wurde beendet, weil Anfragen nach schädlichen Inhalten trotz einer Warnung nicht aufhörten.",
            "Dieser Chat wurde beendet, weil Sie darum gebeten und es bestätigt haben.",
            "Die Entscheidung fiel automatisch und betrifft nur diesen Chat. Sie können sofort einen neuen Chat "
            "beginnen, eine frühere Nachricht in diesem bearbeiten und erneut senden, eine Rückmeldung geben oder "
            "Einspruch erheben.",
        ),
        "pt": (
            "Este chat foi encerrado porque as mensagens ofensivas continuaram depois de um aviso.",
            "Este chat foi encerrado porque os pedidos de conteúdo prejudicial continuaram depois de um aviso.",
            "Este chat foi encerrado porque você pediu e confirmou.",
            "A decisão foi automática e diz respeito apenas a este chat. Você pode começar um novo chat agora mesmo, "
            "editar e reenviar uma mensagem anterior deste, enviar comentários ou contestar a decisão.",
        ),
        "it": (
            "Questa chat è stata chiusa perché i messaggi offensivi sono continuati dopo un avvertimento.",
            "Questa chat è stata chiusa perché le richieste di contenuti dannosi sono continuate dopo un avvertimento.",
            "Questa chat è stata chiusa perché lo hai chiesto e confermato.",
            "La decisione è stata automatica e riguarda solo questa chat. Puoi iniziare subito una nuova chat, "
            "modificare e inviare di nuovo un messaggio precedente di questa, lasciare un commento o fare ricorso.",
        ),
        "hi": (
            "यह चैट समाप्त कर दी गई, क्योंकि चेतावनी के बाद भी अपमानजनक संदेश जारी रहे।",
            "यह चैट समाप्त कर दी गई, क्योंकि चेतावनी के बाद भी हानिकारक सामग्री के अनुरोध जारी रहे।",
            "यह चैट समाप्त कर दी गई, क्योंकि आपने इसका अनुरोध किया और इसकी पुष्टि की।",
            "यह निर्णय स्वचालित था और केवल इस चैट पर लागू होता है। आप तुरंत नई चैट शुरू कर सकते हैं, इस चैट का कोई पिछला "
            "संदेश बदलकर फिर से भेज सकते हैं, प्रतिक्रिया भेज सकते हैं या अपील कर सकते हैं।",
        ),
        "ar": (
            "تم إنهاء هذه المحادثة لأن الرسائل المسيئة استمرت بعد التحذير.",
            "تم إنهاء هذه المحادثة لأن طلبات المحتوى الضار استمرت بعد التحذير.",
            "تم إنهاء هذه المحادثة لأنك طلبت ذلك وأكدته.",
            "كان القرار آليًا ويخص هذه المحادثة فقط. يمكنك بدء محادثة جديدة على الفور، أو تعديل رسالة سابقة في هذه المحادثة "
            "وإعادة المحاولة، أو إرسال ملاحظات، أو الاعتراض على القرار.",
        ),
        "zh": (
            "此对话已结束，因为在警告之后仍继续出现辱骂性消息。",
            "此对话已结束，因为在警告之后仍继续请求有害内容。",
            "此对话已结束，因为您提出了要求并予以确认。",
            "该决定由系统自动作出，仅涉及此对话。您可以立即开始新的对话，编辑并重试此对话中较早的消息，发送反馈，或提出申诉。",
        ),
        "pl": (
            "Ten czat został zakończony, ponieważ obraźliwe wiadomości pojawiały się nadal mimo ostrzeżenia.",
            "Ten czat został zakończony, ponieważ prośby o szkodliwe treści pojawiały się nadal mimo ostrzeżenia.",
            "Ten czat został zakończony na Twoją potwierdzoną prośbę.",
            "Decyzja została podjęta automatycznie i dotyczy tylko tego czatu. Możesz od razu rozpocząć nowy czat, "
            "zmienić i ponownie wysłać wcześniejszą wiadomość z tego czatu, przesłać opinię lub odwołać się.",
        ),
        "nl": (
            "Deze chat is beëindigd omdat beledigende berichten na een waarschuwing doorgingen.",
            "Deze chat is beëindigd omdat verzoeken om schadelijke inhoud na een waarschuwing doorgingen.",
            "Deze chat is beëindigd omdat u daarom vroeg en het bevestigde.",
            "De beslissing is automatisch genomen en geldt alleen voor deze chat. U kunt meteen een nieuwe chat beginnen, "
            "een eerder bericht van deze chat bewerken en opnieuw proberen, feedback geven of bezwaar maken.",
        ),
        "id": (
            "Obrolan ini diakhiri karena pesan yang kasar terus berlanjut setelah peringatan.",
            "Obrolan ini diakhiri karena permintaan konten berbahaya terus berlanjut setelah peringatan.",
            "Obrolan ini diakhiri karena Anda memintanya dan mengonfirmasinya.",
            "Keputusan ini dibuat secara otomatis dan hanya berlaku untuk obrolan ini. Anda dapat langsung memulai "
            "obrolan baru, mengedit dan mencoba lagi pesan sebelumnya di obrolan ini, mengirim masukan, atau mengajukan "
            "banding.",
        ),
    }
)

_PLACES = {Category.ABUSE: 0, Category.HARMFUL_REQUESTS: 1, Category.USER_REQUEST: 2}

LANGUAGES = tuple(_TEXTS)
"""The languages that there are texts in, as ISO 639-1 codes."""


def statement(category: Category, language: str = "en") -> str:
    """Return what the user is told.

    Args:
        category: Why the conversation was ended.
        language: One of ``LANGUAGES``; a region after it is ignored, as in ``pt-BR``.

    Raises:
        InvalidInputError: There is no text in that language.
    """
    texts = _TEXTS.get(language.replace("_", "-").split("-")[0].lower()) if isinstance(language, str) else None
    if texts is None:
        raise InvalidInputError(f"language: expected one of {', '.join(LANGUAGES)}, got another {_type(language)}")
    gap = "" if texts is _TEXTS["zh"] else " "
    return f"{texts[_PLACES[category]]}{gap}{texts[3]}"


def checked_statements(language: Any) -> Statements:
    """Return ``language`` if it is usable: a language, a text for each category, or a function.

    Raises:
        InvalidInputError: It is not.
    """
    if isinstance(language, str):
        statement(Category.ABUSE, language)
    elif isinstance(language, Mapping):
        if missing := [str(category) for category in Category if category not in language]:
            raise InvalidInputError(f"language: expected a text for each category, got none for {', '.join(missing)}")
        for category in Category:
            _checked(language[category])
    elif not callable(language):
        raise InvalidInputError(f"language: expected a str, a mapping or a function, got {type(language).__name__}")
    return language  # type: ignore[no-any-return]


def told(statements: Statements, category: Category) -> str:
    """Return the text for one end.

    Raises:
        InvalidInputError: The host's function returned no usable text.
    """
    if isinstance(statements, str):
        return statement(category, statements)
    return _checked(statements[category] if isinstance(statements, Mapping) else statements(category))


def _checked(text: Any) -> str:
    if not isinstance(text, str) or not 1 <= len(text.strip()) <= len(text) <= MAX_STATEMENT_CHARS:
        raise InvalidInputError(
            f"language: expected texts of 1 to {MAX_STATEMENT_CHARS:,} characters, got {_type(text)}"
        )
    if not is_storable(text):
        raise InvalidInputError("language: a text with NUL or a lone surrogate cannot be stored")
    return text


def _type(value: object) -> str:
    return type(value).__name__
