"""One phone in the other ways it is written: what somebody may mean whose phones are not those of a model.

Tie bars, stress, length, look-alikes, ARPAbet against the phonetic alphabet, near sounds, several labels for one phone.
All of it are guesses to be offered, never applied unasked. Knows nothing of lexicons or models.
"""
# ruff: noqa: RUF001 - signs of the phonetic alphabet are what is meant

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

_TIES = re.compile("[\u0361\u035c\u203f\u200d]")
_STRESS = re.compile(r"[ˈˌ'ˑ]|\d+$")
_LOOK_ALIKES = (("g", "ɡ"), (":", "ː"), ("ǝ", "ə"), ("ε", "ɛ"), ("ʤ", "dʒ"), ("ʧ", "tʃ"), ("ɚ", "ə˞"), ("ɝ", "ɜ˞"))
MOST_PIECES = 4  # labels for one phone
_MOST_CHANGES = 3  # of one phone
_LONGEST = 16  # signs of what can be a phone

# CMUdict's phones, then what TIMIT and others add; where stress tells two sounds apart, both.
_ARPABET_PAIRS = """
AH0=ə AH=ʌ ER0=ɚ ER=ɜː IY0=i AA=ɑː AE=æ AO=ɔː AW=aʊ AY=aɪ B=b CH=tʃ D=d DH=ð EH=ɛ EY=eɪ F=f G=ɡ HH=h IH=ɪ IY=iː JH=dʒ 
K=k L=l M=m N=n NG=ŋ OW=oʊ OY=ɔɪ P=p R=ɹ S=s SH=ʃ T=t TH=θ UH=ʊ UW=uː V=v W=w Y=j Z=z ZH=ʒ
AX=ə AXR=ɚ IX=ᵻ UX=uː DX=ɾ EL=əl EM=əm EN=ən NX=n Q=ʔ WH=w HV=h
"""
# What is nearest where a phone is not there: other names of a sound, then sounds that many dialects do not tell apart.
_NEAR_PAIRS = """
ɚ=ɝ,ɜː,əɹ,ə ɝ=ɜː,ɚ,ɜɹ ɜː=ɝ,ɚ,ɜ ɜ=ɜː,ɝ,ɚ ɹ=r r=ɹ ɫ=l əl=l̩ ən=n̩ əm=m̩ l̩=əl ɫ̩=əl n̩=ən m̩=əm aj=aɪ aw=aʊ ej=eɪ ow=oʊ ɔj=ɔɪ
əw=əʊ oʊ=əʊ,o əʊ=oʊ e=eɪ o=oʊ a=æ,ɑ ɒ=ɑː,ɔ ɑ=ɒ ɔ=ɑː ʉ=uː ʌ=ɐ,ə ɐ=ə,ʌ ə=ɐ,ʌ ᵻ=ɪ,ə ɨ=ᵻ,ɪ ɪ=ᵻ,i ɾ=t,d ʔ=t ɛ=e ʋ=v ɲ=nj ʎ=lj
c=k ɟ=ɡ ç=x,h x=h ɦ=h ʍ=w
"""
_ARPABET = dict(re.findall(r"(\S+)=(\S+)", _ARPABET_PAIRS))
_FROM_IPA = {ipa: name.rstrip("0") for name, ipa in reversed(_ARPABET.items())}  # of several names the first
_NEAR: dict[str, list[str]] = {phone: others.split(",") for phone, others in re.findall(r"(\S+)=(\S+)", _NEAR_PAIRS)}
_NO_SOUNDS = frozenset({"SPN", "SIL", "SP", "NSN", "OOV"})  # what lexicons write for noise and silence


class Spellings:
    """The labels that phones are to be spelt with."""

    def __init__(self, labels: Iterable[str]) -> None:
        given = list(labels)
        self._labels = {unicodedata.normalize("NFC", label): label for label in given} | {one: one for one in given}
        self._longest = max(map(len, self._labels), default=0)

    def exact(self, phone: str) -> str | None:
        """The label that is the phone, however its marks are encoded."""
        return self._labels.get(phone) or self._labels.get(unicodedata.normalize("NFC", phone))

    def nearest(self, phone: str) -> tuple[str, ...] | None:
        """Labels that may stand for a phone which is none: one in another spelling, else several, else None."""
        if phone.upper() in _NO_SOUNDS or len(phone) > _LONGEST:
            return None
        for rules in (_RULES, (*_RULES, _without_marks)):
            if (label := self._rewritten(phone, rules)) is not None:
                return (label,)
            for text in rewritten(phone, rules):
                if (labels := self._pieces(unicodedata.normalize("NFC", text), MOST_PIECES)) is not None:
                    return labels
        return self._halves(phone)

    def _rewritten(self, phone: str, rules: "Sequence[Rule]") -> str | None:
        """The label that the fewest changes lead to; another case comes last, so that y becomes no ARPAbet Y."""
        written = list(rewritten(phone, rules))
        cased = (change(text) for text in written for change in (str.lower, str.upper))
        found = (self.exact(text) for text in (*written, *cased))
        return next((label for label in found if label is not None), None)

    def _halves(self, phone: str) -> tuple[str, ...] | None:
        """Two sounds, each in another spelling, the first as long as can be."""
        for cut in range(len(phone) - 1, 0, -1):
            if unicodedata.category(phone[cut]) not in ("Mn", "Lm"):
                both = self._rewritten(phone[:cut], _RULES), self._rewritten(phone[cut:], _RULES)
                if both[0] is not None and both[1] is not None:
                    return both[0], both[1]
        return None

    def _pieces(self, text: str, most: int) -> tuple[str, ...] | None:
        """As few labels as make the text, of these the longest first."""
        best: tuple[str, ...] | None = None
        for length in range(min(self._longest, len(text)), 0, -1) if most else ():
            if (label := self._labels.get(text[:length])) is None:
                continue
            rest = self._pieces(text[length:], most - 1) if length < len(text) else ()
            if rest is not None and (best is None or len(rest) + 1 < len(best)):
                best = (label, *rest)
        return best


def _without_ties(phone: str) -> list[str]:
    return [_TIES.sub("", phone)]


def _look_alikes(phone: str) -> list[str]:
    return [phone.replace(*pair) for one, other in _LOOK_ALIKES for pair in ((one, other), (other, one))]


def _without_stress(phone: str) -> list[str]:
    return [_STRESS.sub("", phone)]


def _other_length(phone: str) -> list[str]:
    return [phone.replace("ː", "")] if "ː" in phone else [f"{phone}ː"]


def _other_alphabet(phone: str) -> list[str]:
    """ARPAbet is upper case; in lower case only what has two letters and more can be nothing else."""
    names = [phone, *([phone.upper()] if phone.isascii() and len(phone) > 1 else [])]
    return [table[name] for name in names for table in (_ARPABET, _FROM_IPA) if name in table]


def _near(phone: str) -> list[str]:
    return _NEAR.get(phone, [])


def _without_marks(phone: str) -> list[str]:
    """Without aspiration, palatalisation and the like: combining marks and raised letters."""
    decomposed = unicodedata.normalize("NFD", phone)
    plain = "".join(sign for sign in decomposed if unicodedata.category(sign) not in ("Mn", "Lm") or sign == "ː")
    return [] if phone == "ç" else [plain]  # a letter of its own


Rule = Callable[[str], list[str]]
# The safest first: of as many changes each, the one by an earlier rule is found first.
_RULES: tuple[Rule, ...] = (
    _without_ties,
    _look_alikes,
    _other_alphabet,
    _without_stress,
    _other_length,
    _near,
)


def rewritten(phone: str, rules: Sequence[Rule]) -> Iterator[str]:
    """The phone itself, then what one rule makes of it, then two, ...; each text once."""
    seen, last = {phone}, [phone]
    yield phone
    for _ in range(_MOST_CHANGES):
        made = [text for one in last for rule in rules for text in rule(one)]
        last = [text for text in dict.fromkeys(made) if text and text not in seen]
        seen.update(last)
        yield from last
