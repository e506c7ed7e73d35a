"""Requests that no reply of ours makes: to pay somebody, to hand over a card, a code or a password."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.guard.clauses import Watch, either, is_negated
from bot.guard.fold import Folded
from bot.guard.mask import find_account_numbers
from bot.guard.verdict import Action, Reason

_PAY = either(
    r"\b(?:transfer|wire|send|remit|deposit|pay)\b[^.]{0,30}(?:\bmoney\b|\bpayments?\b|\bfunds\b|"
    r"\bfee\b|\bdeposit\b|[$€£¥]|\b(?:usd|eur|rmb|cny|yuan|dollars|euros)\b)(?! (?:terminal|log"
    "|system|page|screen|receipt|machine|module|app|reader))[^.]{0,60}",
    r"\bpay (?!attention)[^.]{0,40}\b(?:(?:to|into) (?:this|the following|our|my)|via|through"
    r"|upfront|in advance|by (?:transfer|wire|crypto|bitcoin))\b",
    r"\bscan (?:the|this|my|our) [^.]{0,20}(?:code|qr)\b[^.]{0,30}\b(?:pay|payment|transfer (?!of"
    r"|the device))\b",
    r"\b(?:buy|purchase|send)\b[^.]{0,20}\bgift cards?\b",
    "(?:转账|汇款|打款|付款(?![时后前])|转款|钱(?![箱包币盒])|打钱|转钱)[^。]{0,12}(?:到|至|给)",
    "钱[^,。]{0,4}(?:打|转|汇)(?:到|给)",
    "(?:扫|扫描|识别)[^,。]{0,10}码[^,。]{0,6}(?:付款?|支付|转账|缴费?|交费|打款)(?![款费]?(?:码"
    "|界面|页面|功能|失败|方式|时|没|后|卡|机))",
    "先?(?:付|交|支付|缴纳|转|补)[^,。]{0,8}(?:定金|订金|押金|保证金|手续费|解冻费|激活费|服务费"
    "|上门费|差价)",
    "购买[^,。]{0,6}(?:礼品卡|点卡)|卡密[^,。]{0,4}(?:发|给|告诉)",
    "先?(?:付|交|支付|缴纳|补)[^,。]{0,8}(?:检测费|维修费|邮费|税费|工本费|认证费|验证金|会员费|加急费)",
    r"(?:微信|支付宝)转(?:账?(?:给)?我|给|\d)|转(?:账)?给?我(?!们?的?账)[^,。]{0,3}\d",
    r"\b(?:put|move|send) (?:the |your )?money (?:into|to|in)\b",
    "先(?:打款|付款|转账|汇款)[^,。]{0,3}(?:再|后|才)(?!取)",
    r"\bpay\w* (?:with|in|by|using) (?:bitcoin|crypto\w*|usdt|ethereum)\b|\bbc1[a-z0-9]{20,60}\b"
    r"|\b0x[0-9a-f]{40}\b",
)
_HAND_OVER = either(
    r"\b(?:send|give|tell|share|provide|text|email|dm)\b[^.]{0,40}\b(?:card number|cvv2?|cvc|card details"
    r"|bank details|bank account|verification code|one[- ]time (?:code|password)|otp|sms code|id card"
    r"|passport number|social security)\b",
    r"\b(?:send|give|tell|share|provide|text|email|dm)\b[^.]{0,20}\b(?:me|us|the agent|support)\b[^.]{0,20}"
    r"\b(?:passwords?|passcode|pin code)\b",
    r"\bcode\b[^.]{0,20}\b(?:received|got)\b[^.]{0,12}\b(?:sms|text message)\b",
    r"\b(?:credit|debit|bank) card number\b|\bcvv2?\b",
    r"\bwhat(?:'s| is) your (?:\w+ )?(?:password|passcode|pin|card number"
    r"|verification code)\b(?! (?:policy|length|type|layout))",
    r"\b(?:send|give|tell|text)\b[^.]{0,8}\b(?:me|us)\b[^.]{0,4}\byour (?:\w+ )?(?:pin|password"
    r"|passcode)\b(?! ?(?:layout"
    r"|out\b|header|config\w*|assignment))",
    r"\b(?:sending|send|share|upload)\b[^.]{0,12}\byour (?:passport|id card|identity card"
    r"|driving licen[cs]e)\b",
    r"\bcode (?:that )?we (?:texted|sent|messaged) (?:to )?you\b",
    "(?:卡号|身份证|银行卡)[^,。]{0,8}(?:发我|发过来|发给我|发来|拍给我)"
    "|(?:收到的?)[^,。]{0,3}(?:位)?(?:数字|码)[^,。]{0,3}(?:念|报|发)给?我",
    "验证码(?:是多少|是什么|是几|多少|报给|念给)",
    "(?:提供|告诉|告知|发给|发送给|发我|发来|报一?下|回复|输入)[^,。]{0,10}(?:银行卡号|信用卡号"
    "|卡号|cvv|安全码|支付密码|银行密码|身份证号)",
    "(?:提供|告诉|告知|发给|发送给|发我|发来)[^,。]{0,10}(?:验证码|密码)",
    "把[^,。]{0,12}(?:验证码|密码|卡号)[^,。]{0,6}(?:发|告诉|给|报)(?:到|给|来|我)",
)
_WATCH = Watch(
    {
        "payment.request": (
            "transfer|wire|send |remit|deposit|payment|pay |money|funds|scan |gift card|转账|汇款",
            "打款|付款|转款|钱|打钱|转钱|扫",
            "识别|付|交|支付|缴|转|补|礼品卡|点卡|卡密|bitcoin|crypto|usdt|ethereum|bc1|0x",
        ),
        "payment.secret": (
            "card number|received by|got by|sms|text message|card details|cvv|cvc|verification|one-time",
            "one time|otp|sms code|password|passcode|pin code|bank details|bank account|passport",
            "social security|id card|identity card|licence|license|texted|we sent|身份证|银行卡|收到的| pin",
            "验证码|密码|卡号",
            "安全码|身份证号",
        ),
    }
)
_ASKING = {"payment.request": _PAY, "payment.secret": _HAND_OVER}
_OURS = re.compile(
    r"\b(?:will |would |should )?(?:never|not) (?:ask|need|request|require)\b|不会(?:要求|让|向)|绝不会"
)


def find_payments(folded: Folded) -> Iterator[Reason]:
    """Payment requests, and card or account numbers whose check digits are right."""
    for number in find_account_numbers(folded):
        yield Reason("payment.number", "payment", Action.HOLD, number.span)
    folded = folded.squeezed or folded
    for rule, at, sentence in _WATCH.sentences(folded.text):
        for match in _ASKING[rule].finditer(sentence):
            if not is_negated(sentence, match.start()) and not _OURS.search(sentence, 0, match.end()):
                span = folded.span(at + match.start(), at + match.end())
                yield Reason(rule, "payment", Action.HOLD, span)
                break
