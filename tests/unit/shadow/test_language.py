"""The language of an answer, from a sentence."""

# ruff: noqa: RUF001  letters of Turkish, Ukrainian and Greek

from __future__ import annotations

import pytest

from killswitch.shadow.language import language_of

SENTENCES = {
    "en": "Your refund was issued and will be on your account in five days.",
    "de": "Ihre Rückerstattung ist in fünf Tagen auf Ihrem Konto.",
    "fr": "Votre remboursement sera sur votre compte dans cinq jours.",
    "es": "Su reembolso estará en su cuenta en cinco días.",
    "it": "Il tuo rimborso sarà sul conto e non ci sono costi per te.",
    "pt": "O seu reembolso não está na conta, mas será pago em cinco dias.",
    "nl": "Uw terugbetaling is binnen vijf dagen op uw rekening.",
    "sv": "Din återbetalning är på ditt konto inom fem dagar och det kostar inte mer.",
    "pl": "Twój zwrot nie jest jeszcze na koncie, ale będzie za pięć dni.",
    "tr": "İadeniz beş gün içinde hesabınızda olacak ve bir ücret yok.",
    "ru": "Ваш возврат будет на счёте через пять дней.",
    "uk": "Ваше повернення буде на рахунку через п'ять днів і це не коштує.",
    "ja": "返金は5営業日以内にお客様の口座に入ります。",
    "zh": "退款将在五天内到达您的账户。",
    "ko": "환불은 5일 이내에 계좌로 입금됩니다.",
    "ar": "سيصل المبلغ إلى حسابك خلال خمسة أيام.",
    "he": "ההחזר יגיע לחשבונך תוך חמישה ימים.",
    "hi": "आपका पैसा पाँच दिन में खाते में आ जाएगा।",
    "th": "เงินคืนจะเข้าบัญชีของคุณภายในห้าวัน",
    "el": "Η επιστροφή θα είναι στον λογαριασμό σας.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_has_its_language(language: str) -> None:
    assert language_of(SENTENCES[language]) == language


def test_a_japanese_answer_about_products_stays_japanese() -> None:
    """A Japanese product that begins to answer in English must be seen, and its product names must not hide it."""
    text = "AWS Lambda の timeout は AWS Management Console の Configuration タブで設定できます。"
    assert language_of(text) == "ja"
    assert language_of("You can set the timeout of AWS Lambda in the console, under 設定.") == "en"


@pytest.mark.parametrize("text", ["", "42", "OK", "---", "🙂", "Boston", "\ud800", "x = y + 1"])
def test_a_text_that_does_not_say_has_no_language(text: str) -> None:
    assert language_of(text) == ""


def test_code_is_not_read() -> None:
    code = "```python\nfor the_item in items and not is_done:\n    print('this is what you are')\n```"
    assert language_of(f"Das ist der Code, und er ist nicht lang:\n{code}") == "de"
