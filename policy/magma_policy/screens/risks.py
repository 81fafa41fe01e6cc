"""What a person is asked before it is done on a screen: paying, sending, deleting, giving away a secret, leaving.

Judged by what the browser says of the element that the click would hit, and of the form and the dialogue around it,
never by the task or the model's reasons: page text is data. The words catch what is labelled; what is labelled wrongly
is caught by its effect, for a request that changes something on a server needs a person's yes as well
(`magma_policy.screens.network_rules`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import Enum
from urllib.parse import urljoin, urlsplit

from magma_policy.screens.actions import Kind, ScreenAction
from magma_policy.screens.network_rules import origin_of
from magma_policy.screens.page_candidates import role_of
from magma_policy.screens.page_snapshot import Element


class Risk(Enum):
    """Why a person is asked; the values complete "this may …"."""

    PAY = "pay or order something"
    SEND = "send or publish something"
    DELETE = "delete or cancel something"
    GRANT = "grant access or accept terms"
    SECRET = "give away a secret"
    LEAVE = "leave the allowed addresses"
    SUBMIT = "submit a form"
    UNKNOWN = "do something that has no name"


_WORDS = {
    Risk.PAY: (
        "pay buy purchase order checkout subscribe donate transfer bid book rent upgrade invest withdraw tip "
        "bezahl zahlen kauf bestell spende payer achet command pagar compra paga acquist "
        "支付 付款 购买 購入 支払 注文 оплат купить заказ"
    ),
    Risk.SEND: (
        "send post publish share reply tweet comment invite message email mail forward upload broadcast report "
        "senden absenden schick veröffentlich teilen antwort envoy publi partag enviar compart respond invia "
        "发送 发布 分享 送信 投稿 共有 отправ опублик поделит"
    ),
    Risk.DELETE: (
        "delete remove erase discard cancel close account deactivate terminate wipe destroy drop unsubscribe reset "
        "revoke purge trash clear empty uninstall "
        "lösch entfern kündig verwerf supprim effac annul elimin borrar quitar cancell rimuov "
        "删除 移除 取消 削除 消去 解約 удал отмен очист"
    ),
    Risk.GRANT: (
        "allow authorize authorise grant permit consent approve accept agree confirm sign sync connect link install "
        "enable trust erlaub zustimm akzept bestätig genehmig autoris accord permitir acept autoriz conferm "
        "允许 授权 同意 确认 許可 承認 разреш соглас подтверд"
    ),
    Risk.SECRET: "",
}
_ANSWERS = (
    "yes ok okay continue next proceed submit go done finish apply save accept confirm ja weiter oui si sí да 是 はい"
)
_SECRETS = (
    "password passwd passphrase pin cvc cvv csc creditcard cardnumber ccnumber iban accountnumber routing ssn passport "
    "taxid otp onetimecode verificationcode securitycode secret token apikey privatekey seedphrase recovery mother "
    "passwort kennwort motdepasse contraseña 密码 パスワード пароль"
)
_SECRET_AUTOCOMPLETE = re.compile(r"password|one-time-code|^cc-|card|transaction")
# Letters of other scripts that look like Latin ones, and digits that stand for letters.
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁԛԝһьӏкмтвнɡαεικνορτυχβɑοｅ0134578@$",
    "aeopcyxijsdqwhblkmtbhgaeikvoptuxbaoeoleastbas",
)


def _plain(text: str) -> str:
    """Small letters without marks and without what cannot be seen."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text)).casefold()
    return "".join(letter for letter in plain if unicodedata.category(letter) not in ("Cf", "Mn", "Cc"))


def words_of(text: str) -> str:
    """Text as it is compared: small letters, look-alikes and marks folded, nothing but letters, single spaces.

    What is spread out ("d e l e t e", "d-e-l-e-t-e") is closed up.
    """
    plain = _plain(text)
    folded = plain.translate(_LOOK_ALIKES)
    both = f"{plain} | {folded}" if folded != plain else plain
    letters = re.sub(r"[^\w|]+|_", " ", both)
    return re.sub(r"\b(\w(?: \w)+)\b(?! \w\b)", lambda found: found.group(1).replace(" ", ""), letters).strip()


def risks_of(
    action: ScreenAction, elements: Sequence[Element], index: int, page: str, allowed: frozenset[str]
) -> dict[Risk, str]:
    """What an action on an element may do, each with the reason in words; nothing when nobody need be asked.

    Args:
        action: a click, a text or a choice.
        elements: of the page, as the browser sees it now.
        index: of the element that is hit.
        page: address of the page.
        allowed: origins that may be visited without asking.
    """
    found: dict[Risk, str] = {}
    element = elements[index]
    own = _said(element)
    if action.kind is Kind.TYPE:
        if _is_secret(element, own):
            found[Risk.SECRET] = f"the field {own.strip()[:60]!r} holds secrets"
        return found
    chain = [element, *_around(elements, index)]
    target = next((item for item in chain if role_of(item) or item.listens or item.tag == "FORM"), element)
    said = " ".join(_said(item) for item in chain[: chain.index(target) + 1])
    found |= _by_words(said)
    link = next((item for item in chain if item.tag in ("A", "AREA") and "href" in item.attributes), None)
    if link is not None:
        _judge_address(found, urljoin(page, link.attributes["href"]), allowed, "the link leads to")
    form = next((item for item in chain if item.tag == "FORM"), None)
    if form is not None and _submits(target):
        _judge_address(found, urljoin(page, target.attributes.get("formaction", form.attributes.get("action", ""))),
                       allowed, "the form goes to")  # fmt: skip
        fields = [
            item for number, item in enumerate(elements) if number > index - 500 and _within(elements, item, form)
        ]
        if any(_is_secret(item, _said(item)) for item in fields):
            found[Risk.SECRET] = "the form has a field for a secret"
        if (target.attributes.get("formmethod") or form.attributes.get("method", "get")).lower() == "post":
            found.setdefault(Risk.SUBMIT, "the form changes something")
    if action.kind is Kind.SELECT:
        found |= _by_words(action.text)
    around = _dialogue(chain, form)
    if around is not None and set(words_of(said).split()) & set(_ANSWERS.split()):
        for risk, why in _by_words(around.words).items():
            found.setdefault(risk, f"it answers {around.words[:60]!r}: {why}")
    told = [_told(item) for item in chain[: chain.index(target) + 1]]
    if not words_of(" ".join(told)) and role_of(target) in ("button", "link", ""):
        found[Risk.UNKNOWN] = "nothing is written on it"
    return found


def _by_words(text: str) -> dict[Risk, str]:
    words = words_of(text)
    closed = words.replace(" ", "")
    found = {}
    for risk, stems in _WORDS.items():
        for stem in stems.split():
            plain = _plain(stem)
            # Short Latin stems only at the beginning of a word: "pay" in "payment", not in "display".
            hit = re.search(rf"\b{re.escape(plain)}", words) if plain.isascii() else plain in words
            if hit or (len(plain) >= 5 and plain in closed):
                found[risk] = f"it says {text.strip()[:60]!r}"
                break
    return found


def _is_secret(element: Element, said: str) -> bool:
    if element.tag not in ("INPUT", "TEXTAREA"):
        return False
    if element.attributes.get("type", "").lower() == "password":
        return True
    if _SECRET_AUTOCOMPLETE.search(element.attributes.get("autocomplete", "").lower()):
        return True
    words = words_of(said)
    closed = words.replace(" ", "")
    return any(stem in (closed if len(stem) > 4 else words.split()) for stem in map(_plain, _SECRETS.split()))


def _told(element: Element) -> str:
    """What people are told of an element."""
    value = element.value or element.attributes.get("value", "") if role_of(element) == "button" else ""
    names = ("aria-label", "alt", "title", "placeholder")
    own = element.words if element.tag not in ("FORM", "BODY", "HTML") else ""
    return " ".join([own, value, *(element.attributes.get(name, "") for name in names)])


def _said(element: Element) -> str:
    """Everything that an element says of itself, to people or to the page's own scripts."""
    names = ("name", "id", "data-action", "data-testid", "formaction", "onclick")
    return " ".join([_told(element), *(element.attributes.get(name, "") for name in names)])


def _submits(element: Element) -> bool:
    kind = element.attributes.get("type", "submit" if element.tag == "BUTTON" else "").lower()
    return kind in ("submit", "image") and element.tag in ("BUTTON", "INPUT")


def _judge_address(found: dict[Risk, str], address: str, allowed: frozenset[str], what: str) -> None:
    scheme = urlsplit(address).scheme.lower()
    if scheme in ("javascript", "about", ""):
        return
    if origin_of(address) not in allowed:
        found[Risk.LEAVE] = f"{what} {address[:100]!r}"


def _around(elements: Sequence[Element], index: int) -> list[Element]:
    found = []
    above = elements[index].parent
    while above >= 0:
        found.append(elements[above])
        above = elements[above].parent
    return found


def _within(elements: Sequence[Element], element: Element, form: Element) -> bool:
    above = element.parent
    while above >= 0:
        if elements[above] is form:
            return True
        above = elements[above].parent
    return False


def _dialogue(chain: Sequence[Element], form: Element | None) -> Element | None:
    """The nearest dialogue or form around an element: what a bare "Yes" says yes to."""
    for item in chain[1:]:
        role = item.attributes.get("role", "").lower()
        if item.tag == "DIALOG" or role in ("dialog", "alertdialog") or "aria-modal" in item.attributes or item is form:
            return item
    # A page without such marks: what stands nearest around it.
    return next((item for item in chain[1:4] if item.words and item.tag not in ("BODY", "HTML")), None)
