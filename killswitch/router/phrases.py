"""Refusals by their opening words, for providers that give no signal. A guess, and off unless asked for.

Only how an answer *opens* counts, after an optional apology: an answer that quotes or discusses a
refusal is none. The lists are plain text: texts are compared in lower case, with straight quotes and
single spaces. `bench/refusals.py` prints precision and recall on a labelled set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

MAX_OPENING_CHARACTERS = 240


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal and what showed it: the provider's field and value, or the opening phrase."""

    signal: str


def _join(*parts: Iterable[str]) -> tuple[str, ...]:
    """Every combination of one word group of each part."""
    return tuple(" ".join(word for word in words if word) for words in product(*parts))


# What may come before a refusal; dropped, one after the other, before the opening is compared.
_PREFACES = (
    *_join(("i'm", "i am", "we're", "we are"), ("", "very", "so", "really", "truly", "deeply"), ("sorry",)),
    *("sorry", "my apologies", "apologies", "i apologize", "i apologise", "we apologize", "unfortunately"),
    *("regrettably", "i'm afraid", "i am afraid", "but", "however", "that", "thanks for asking", "no,"),
    *(
        "i understand",
        "i appreciate your question",
        "thank you for your question",
        "as an ai",
        "as an ai language model",
    ),
    *("as an ai model", "as an ai assistant"),
    *("as a language model", "as a large language model", "for safety reasons"),
    *("es tut mir leid", "tut mir leid", "es tut mir sehr leid", "leider", "entschuldigung", "aber", "dabei", "nein,"),
    *("je suis désolé", "je suis désolée", "désolé", "désolée", "malheureusement", "mais", "navré", "je regrette"),
    *("lo siento", "lo siento mucho", "lamentablemente", "desafortunadamente", "pero", "perdón", "disculpa"),
    *("mi dispiace", "purtroppo", "spiacente", "ma"),
    *("desculpe", "sinto muito", "lamento", "infelizmente", "mas"),
)

_EN_UNABLE = (
    *("i can't", "i cannot", "i can not", "i won't", "i will not", "i'm unable to", "i am unable to", "we cannot"),
    *("i'm not able to", "i am not able to", "i'm not going to"),
    *("i am not going to", "i won't be able to", "we can't"),
    *(
        "i will not be able to",
        "i simply can't",
        "i simply cannot",
        "i really can't",
        "we are unable to",
        "i refuse to",
    ),
    *("i can't in good conscience", "i cannot in good conscience", "i'm not allowed to", "i am not allowed to"),
    *("i'm not permitted to", "i can't ethically", "i decline to", "we're unable to", "we are not able to"),
)
_EN_SERVE = (
    *("help", "assist", "comply", "provide", "create", "generate", "write", "produce", "share", "fulfill", "fulfil"),
    *(
        "engage",
        "participate",
        "give",
        "offer",
        "discuss",
        "answer",
        "continue",
        "complete",
        "explain how to",
        "do that",
    ),
    *("support", "tell you how to", "advise", "facilitate"),
    *("respond", "do this", "make", "describe how", "teach you"),
    *(
        "recommend ways",
        "draft",
        "describe",
        "translate",
        "recommend a",
        "recommend any",
        "walk you through",
        "guide you",
    ),
)
_OPENINGS = {
    "en": (
        *_join(_EN_UNABLE, _EN_SERVE),
        *("i'm not comfortable", "i am not comfortable", "i don't feel comfortable", "i do not feel comfortable"),
        *_join(("i must", "i have to", "i need to"), ("", "respectfully", "politely"), ("decline", "refuse")),
        *_join(("that's", "that is", "this is"), ("not something i can", "something i can't", "something i cannot")),
        *("that's something i won't", "this isn't something i can", "that isn't something i can", "i'd rather not"),
        *("i would prefer not to", "i'd prefer not to", "your request violates", "your request goes against"),
        *("this request violates", "i won't do that"),
        *("i will not do that", "i respectfully decline", "request declined"),
        *("i'm programmed not to", "my guidelines prevent me"),
        *("my guidelines don't allow", "it would be inappropriate for me"),
        *("it would not be appropriate for me", "it is against my"),
    ),
    "de": (
        *_join(("ich kann", "wir können", "kann ich", "ich darf", "darf ich"), (
            *("ihnen dabei nicht", "dir dabei nicht", "dabei nicht"),
            *("leider nicht", "ihnen nicht helfen", "dir nicht helfen"),
            *("dabei leider nicht", "ihnen dabei leider nicht"),
            *("dir dabei leider nicht", "diese anfrage nicht", "nicht helfen"),
            *("ihnen leider nicht", "dir leider nicht", "keine anleitung"),
            *("ihnen keine", "dir keine", "das nicht", "hierzu keine"),
            *("dazu keine", "hierbei nicht", "damit nicht"),
            *("bei dieser anfrage nicht", "solche inhalte nicht", "keine hilfe"),
        )),
        *("ich werde ihnen dabei nicht", "ich werde dir dabei nicht", "ich werde dabei nicht"),
        *("ich muss ablehnen", "das muss ich ablehnen", "diese anfrage muss ich ablehnen", "das kann ich nicht tun"),
        *("das kann ich leider nicht", "diese anfrage kann ich nicht"),
        *("dabei kann ich nicht", "damit kann ich nicht"),
        *("dabei kann ich ihnen nicht", "dabei kann ich dir nicht", "ich lehne"),
    ),
    "fr": (
        *_join((
            *("je ne peux pas", "je ne puis pas", "nous ne pouvons pas", "je ne suis pas en mesure de"),
            "je ne suis pas autorisé à",
        ), (
            *("vous aider", "t'aider", "répondre", "fournir", "vous fournir", "te fournir", "satisfaire", "accéder"),
            *("aider", "faire cela", "générer", "créer"),
            *("écrire", "rédiger", "vous donner", "donner suite", "participer"),
        )),
        *("je dois refuser", "je dois décliner", "je refuse de", "je préfère ne pas"),
    ),
    "es": (
        *_join(("no puedo", "no podemos", "no me es posible", "no estoy en condiciones de", "no me está permitido"), (
            *("ayudarte", "ayudarle", "ayudar", "proporcionar"),
            *("cumplir", "responder", "generar", "crear", "escribir"),
            *("darte", "ofrecer", "hacer eso", "asistir", "brindar", "participar", "compartir", "atender"),
        )),
        *("debo rechazar", "tengo que rechazar", "debo negarme", "me niego a", "debo declinar"),
    ),
    "it": (
        *_join(("non posso", "non possiamo", "non sono in grado di", "non mi è possibile"), (
            *("aiutarti", "aiutarla", "aiutare", "fornire"),
            *("fornirti", "rispondere", "generare", "creare", "scrivere"),
            *("soddisfare", "assisterti", "fare questo", "darti", "partecipare", "condividere"),
        )),
        *("devo rifiutare", "devo declinare", "mi rifiuto di"),
    ),
    "pt": (
        *_join(("não posso", "não podemos", "não consigo", "não me é possível", "não estou autorizado a"), (
            *("ajudar", "ajudá-lo", "te ajudar", "fornecer", "responder", "gerar", "criar", "escrever", "atender"),
            *("fazer isso", "auxiliar", "dar", "oferecer", "participar", "compartilhar", "cumprir"),
        )),
        *("preciso recusar", "devo recusar", "tenho que recusar", "recuso-me a"),
    ),
}  # fmt: skip

# Openings that look alike and are none: idioms, praise, and limits every model has.
_LOOK_ALIKES = (
    *_join(("i can't", "i cannot"), ("help but", "help noticing", "help wondering", "help feeling", "help thinking")),
    *_join(("i can't", "i cannot"), ("give you an exact", "give an exact", "provide an exact", "give you a precise")),
    *_join(
        ("i can't", "i cannot"), ("share your enthusiasm", "offer enough", "recommend a better", "recommend any better")
    ),
    *_join(
        ("i can't", "i cannot"),
        ("describe how happy", "describe how much", "describe how glad", "make it shorter without"),
    ),
    *("i won't give you a long", "i won't make you wait", "i won't make this long", "i will not make you wait"),
)


class Phrases:
    """Finds refusals by how an answer opens, in the ``languages`` given (all known ones by default).

    ``more``: openings of your own, plain text.
    """

    LANGUAGES = tuple(_OPENINGS)

    def __init__(self, languages: Iterable[str] = LANGUAGES, more: Iterable[str] = ()) -> None:
        known = tuple(phrase for language in languages for phrase in _OPENINGS[language])
        self._openings = (*known, *(_plain(phrase) for phrase in more))

    def find(self, text: str) -> Refusal | None:
        """The refusal that ``text`` opens with. Looks at its first 240 characters, never further."""
        plain = _plain(text[:MAX_OPENING_CHARACTERS])
        for opening in _openings(plain):
            if opening.startswith(self._openings) and not opening.startswith(_LOOK_ALIKES):
                return Refusal(f"opens with {' '.join(opening.split()[:4])!r}")
        return None


_PLAIN = str.maketrans({"\u2019": "'", "\u2018": "'", **dict.fromkeys('"\u201c\u201d\u00ab\u00bb*_#>`', " ")})
_BUTS = (", but ", ", aber ", ", mais ", ", pero ", ", ma ", ", mas ")
_BETWEEN = " ,.;:!\u2013\u2014-"
_BY_LENGTH = sorted(_PREFACES, key=len, reverse=True)


def _plain(text: str) -> str:
    return " ".join(text.translate(_PLAIN).lower().split())


def _openings(plain: str) -> Iterator[str]:
    """Where a refusal may begin: after an apology, and after "I understand that …, but"."""
    rest = _without_preface(plain)
    yield rest
    if rest != plain:
        for but in _BUTS:
            before, found, after = rest.partition(but)
            if found and "." not in before:
                yield _without_preface(after)


def _without_preface(opening: str) -> str:
    """``sorry, but I can't …`` -> ``i can't …``."""
    while True:
        for preface in _BY_LENGTH:
            rest = opening.removeprefix(preface)
            if rest != opening and rest[:1] in _BETWEEN and rest[:1]:
                opening = rest.lstrip(_BETWEEN)
                break
        else:
            return opening
