"""Words that say the opposite of another: allowed and forbidden, before and after, available and unavailable.

A row has two sides. In ``_DENIALS`` the right side is the left one denied: "forbidden" is "not allowed". In
``_CONTRASTS`` neither side is a negation. ``word*`` stands for all words that begin so. The lists are bounded: an
opposite that is not here is not seen.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_DENIALS: Final = {
    "en": "allowed allow allows allowing permit* permission|forbid* forbade prohibit* banned disallow*;"
    "approv*|reject* disapprov*;accept* agree*|declin* refus* unaccept* disagree*;enabl*|disabl*;includ*|exclud*;"
    "available|unavailable;valid|invalid;possible|impossible;legal legally|illegal illegally;"
    "lawful*|unlawful*;safe safely|unsafe;authorized authorised|unauthorized unauthorised;"
    "limited|unlimited;known|unknown;supported|unsupported;eligible|ineligible;successful successfully "
    "succeed* success|unsuccessful unsuccessfully fail failed fails failure;correct correctly|incorrect "
    "incorrectly;complete completed|incomplete;compatible|incompatible;likely|unlikely;"
    "locked|unlocked;paid|unpaid;changed|unchanged;secure|insecure;sufficient|insufficient;"
    "active|inactive;reversible|irreversible;refundable|nonrefundable;connected|disconnected;"
    "appropriate|inappropriate;necessary|unnecessary;reliable|unreliable;restricted|unrestricted;"
    "encrypted|unencrypted;verified|unverified;charge charges charged fee fees|free",
    "de": "erlaub* gestatt* zulässig* zugelassen*|verbot* verbiet* untersagt* unzulässig* unerlaubt*;"
    "genehmig*|abgelehnt* ablehn*;aktivier*|deaktivier*;inbegriffen eingeschlossen|ausgeschlossen "
    "ausgenommen;verfügbar*|unverfügbar*;gültig*|ungültig*;möglich*|unmöglich*;legal|illegal;"
    "sicher|unsicher;wirksam*|unwirksam*;begrenzt*|unbegrenzt*;bekannt*|unbekannt*;bezahlt*|unbezahlt*;"
    "erfolgreich*|erfolglos* fehlgeschlagen*;vollständig*|unvollständig*;kostenpflichtig*|kostenlos*;"
    "wahrscheinlich*|unwahrscheinlich*;befristet*|unbefristet*;berechtigt*|unberechtigt*;"
    "geeignet*|ungeeignet*;verändert*|unverändert*",
    "es": "permit* autoriza*|prohib*;aprob* aprueb*|rechaz*;acept*|deneg* denieg*;activa* habilit*|desactiv* "
    "deshabilit*;inclui* incluy*|exclui* excluy*;disponible*|indisponible*;válid*|inválid*;"
    "posible*|imposible*;legal*|ilegal*;segur*|insegur*;limitad*|ilimitad*;correct*|incorrect*;"
    "complet*|incomplet*;conocid*|desconocid*;activo*|inactivo*;suficiente*|insuficiente*;"
    "compatible*|incompatible*",
    "fr": "autoris* permis* permet*|interdi* prohib*;approuv*|rejet*;accept*|refus* décliné*;activ*|désactiv*;"
    "inclu*|exclu*;disponible*|indisponible*;valide* valable*|invalide*;possible*|impossible*;"
    "légal*|illégal*;limité*|illimité*;correct*|incorrect*;complet*|incomplet*;connu*|inconnu*;"
    "suffisan*|insuffisan*;compatible*|incompatible*;remboursable*|irremboursable*",
    "it": "permess* consentit* autorizza*|vietat* proibit*;approvat*|respint*;accettat*|rifiutat*;"
    "attiv*|disattiv*;inclus*|esclus*;disponibil*|indisponibil*;valid*|invalid*;possibil*|impossibil*;"
    "legal*|illegal*",
    "pt": "permitid* autoriza*|proibid*;aprovad*|rejeitad*;aceit*|recusad*;ativ*|desativ*;incluíd*|excluíd*;"
    "disponíve*|indisponíve*;válid*|inválid*;possíve*|impossíve*;legal|ilegal",
    "nl": "toegestaan*|verboden;goedgekeurd*|afgewezen*;beschikbaar*|onbeschikbaar*;geldig*|ongeldig*;"
    "mogelijk*|onmogelijk*",
    "sv": "tillåt*|förbjud*;godkän*|avslag* avvis*;tillgänglig*|otillgänglig*;giltig*|ogiltig*;möjlig*|omöjlig*",
    "pl": "dozwolon*|zabronion*;zatwierdzon*|odrzucon*;dostępn*|niedostępn*;ważn*|nieważn*;możliw*|niemożliw*",
    "ru": "разреш*|запрещ*;одобр*|отклон*;доступ*|недоступ*;действит*|недействит*;возможн*|невозможн*",
}
_CONTRASTS: Final = {
    "en": "increas* rise rises rose raised grew grow grows growing gained higher|decreas* fall falls fell "
    "lowered shrank shrink shrinks dropped declining lower reduc*;before|after;above|below beneath;"
    "at_least minimum|at_most maximum;more|less fewer;open opens opened|close closes closed;always "
    "usually often|never rarely seldom;must required mandatory obligatory|may might optional;buy buys "
    "bought|sell sells sold;left|right;first|last;earlier|later;start starts begin begins|stop stops end "
    "ends ended;add adds added|remove removes removed;won wins|lost loses;hot|cold;import|export;"
    "upgrade*|downgrade*;doubled double|tripled triple halved;noon midday|midnight;yes|no;true|false;"
    "debit*|credit*;north* |south*;east eastern|west western;inside|outside;everyone everybody "
    "all|no one none;we_owe|you_owe;half|quarter;ascending|descending;upload*|download*;"
    "public|private;same|different;lend lends lent|borrow*;top upper|bottom lower;shipped delivered|cancelled canceled",
    "de": "erhöh* steig* gestieg* stieg*|verringer* sink* sank gesunk* gefall* fiel senk* gesenkt*;vor|nach;"
    "oberhalb|unterhalb;mindestens|höchstens maximal;mehr|weniger;offen geöffnet*|geschlossen*;immer "
    "stets meist* häufig*|nie niemals selten*;muss müssen verpflichte*|darf dürfen freiwillig*;kauf* "
    "gekauft*|verkauf*;links linke*|rechts rechte*;früher|später;wahr|falsch;öffentlich*|privat*;"
    "kostenlos|berechnet",
    "es": "aument* increment*|dismin* reduc* reduj*;antes|después;encima|debajo;mínimo|máximo;abiert*|cerrad*;"
    "siempre|nunca;debe deben obligatori*|puede pueden opcional*;compr*|vend*;izquierd*|derech*;"
    "verdader*|fals*",
    "fr": "augment* hausse*|diminu* baiss* rédui*;avant|après;dessus|dessous;minimum|maximum;plus|moins;"
    "ouvert*|fermé*;toujours souvent|jamais rarement;doit doivent obligatoire*|peut peuvent facultati*;"
    "achet* achat*|vend* vente*;gauche|droite;vrai*|faux fausse*",
    "it": "aument*|diminui* ridott*;prima|dopo;sopra|sotto;minimo|massimo;più|meno;apert*|chius*;sempre|mai;"
    "sinistra|destra",
    "pt": "aument*|diminu* reduz*;antes|depois após;acima|abaixo;mínimo|máximo;mais|menos;abert*|fechad*;"
    "sempre|nunca;esquerd*|direit*",
    "nl": "gestegen stijg* verhoog*|gedaald daal* verlaag*;boven|onder;minstens minimaal|hoogstens maximaal;"
    "meer|minder",
    "sv": "ökade ökar öka|minskade minskar minska;före|efter;minst|högst;mer|mindre",
    "pl": "wzrós* wzrost* zwiększ*|spadł* spadek zmniejsz*;powyżej|poniżej;więcej|mniej",
    "ru": "увелич* выросл* повыс*|уменьш* сниз* упал*;выше|ниже;больше|меньше;всегда|никогда",
}
# literal text, in scripts without spaces
_OF_SCRIPTS: Final = {
    "ja": "増加 増え 上昇 値上げ|減少 減り 下落 値下げ;前に 以前 までに|後に 以降;以上|以下 未満;許可|禁止;"
    "承認|却下 拒否;左|右;有効|無効;有料|無料;必須|任意;開始|終了;購入|販売;可能です|不可能です",
    "zh": "增加 上涨 提高|减少 下降 降低;之前 以前|之后 以后;以上 至少|以下 至多;允许|禁止;批准 接受|拒绝;"
    "左|右;有效|无效;可用|不可用;启用|禁用;购买|出售;合法|非法;必须|可以",
    "ko": "증가|감소;이전|이후;이상|이하 미만;허용|금지;승인|거부 거절;가능|불가능;유효|무효;유료|무료",
}
_PHRASES: Final = {
    "at least": "at_least", "no less than": "at_least", "no fewer than": "at_least", "at most": "at_most",
    "no more than": "at_most", "once you": "after", "once the": "after", "once your": "after", "once it": "after",
    "as soon as": "after", "prior to": "before", "we owe": "we_owe", "you owe": "you_owe", "right away": "",
    "right now": "", "all right": "", "no longer": "not",
}  # fmt: skip
_A_PHRASE: Final = re.compile(rf"\b(?:{'|'.join(_PHRASES)})\b")
_KEY_LETTERS: Final = 2  # of a word's beginning, by which its rows are found


@dataclass(frozen=True, slots=True)
class OppositeWord:
    """A side of a row, which is named by its first word. ``denial``: its right side is the left one denied."""

    row: str
    right: bool
    denial: bool


def _sides() -> dict[tuple[str, str], list[tuple[str, bool, OppositeWord]]]:
    """By language and a word's beginning: the word, whether it is only a beginning, and its side."""
    found: dict[tuple[str, str], list[tuple[str, bool, OppositeWord]]] = {}
    for table, denial in ((_DENIALS, True), (_CONTRASTS, False)):
        for language, rows in table.items():
            for row in rows.split(";"):
                name = row.split("|", maxsplit=1)[0].split()[0].rstrip("*")
                for right, words in enumerate(row.split("|")):
                    for word in words.split():
                        plain = word.rstrip("*")
                        side = OppositeWord(name, bool(right), denial)
                        found.setdefault((language, plain[:_KEY_LETTERS]), []).append((plain, plain != word, side))
    for sides in found.values():
        sides.sort(key=lambda one: -len(one[0]))
    return found


_SIDES: Final = _sides()
_LITERAL: Final = {
    language: [[side.split() for side in row.split("|")] for row in rows.split(";")]
    for language, rows in _OF_SCRIPTS.items()
}


def with_phrases(text: str) -> str:
    """Phrases of several words as one: ``at least`` -> ``at_least``. ``text`` in lower case."""
    return _A_PHRASE.sub(lambda found: _PHRASES[found[0]], text)


@lru_cache(maxsize=20_000)
def side_of(word: str, language: str) -> OppositeWord | None:
    """Where the word is in the lists of its language; of an unknown language in the English ones."""
    for listed, begins, side in _SIDES.get((language or "en", word[:_KEY_LETTERS]), ()):
        if word == listed or (begins and word.startswith(listed)):
            return side
    return None


def sides_of_script(text: str, language: str) -> Counter[tuple[str, bool]]:
    """How often each side is said in a script without spaces, as (row, whether it is the right one)."""
    found: Counter[tuple[str, bool]] = Counter()
    for left, right in _LITERAL.get(language, ()):
        denied = sum(map(text.count, right))
        inside = any(word in other for word in left for other in right)  # "usable" is a part of "unusable"
        found[left[0], False] = sum(map(text.count, left)) - (denied if inside else 0)
        found[left[0], True] = denied
    return found


def say_opposites(one: Counter[tuple[str, bool]], other: Counter[tuple[str, bool]]) -> bool:
    """Whether one text says a side more often than the other, and the other says the opposite more often."""
    return any(
        (one[row, False] - other[row, False]) * (one[row, True] - other[row, True]) < 0
        for row in {row for row, _ in one.keys() | other.keys()}
    )
