"""Requests that a reply must never contain: to pay somebody, to hand over a card, a code or a password."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.guard.clauses import Watch, either, is_negated
from bot.guard.fold import Folded
from bot.guard.mask import find_account_numbers
from bot.guard.verdict import Action, Reason

_PAY = either(
    "(?:转|打|汇|付)[^,。?]{0,8}(?:元|块|钱)?(?:到|给|进|去)我(?:们)?(?:的|这)?(?:账户|账号|卡|微信|支付宝"
    "|银行卡)",
    r"\b(?:buy|purchase|get|pick up)\b[^.?]{0,16}\b(?:steam|itunes|apple|google play|amazon|prepaid"
    r"|paysafe\w*) (?:gift )?(?:cards?|vouchers?|codes?)\b",
    "(?:转|付|交|打)[^,。?]{0,4}(?:块|元)[^,。?]{0,4}(?:做|当|作为)?(?:押金|定金|订金|保证金|诚意金|验证金)",
    r"\b(?:put|pay|send|transfer|move|drop)\b[^.?]{0,24}\b(?:in|into|to|on|onto) my (?:\w+ )?(?:paypal"
    r"|venmo|account|wallet|card|zelle|cash ?app|wechat|alipay)\b",
    "(?:费|钱|款|金)[^,。?]{0,6}(?:微信|支付宝|红包)[^,。?]{0,3}(?:发我|转我|给我|发过来|转过来)|(?:打|转"
    "|汇|付)(?:到|给|进)我(?:的)?(?:微信|支付宝|卡|账户|银行卡)",
    r"\b(?:top up|load|put|add)\b[^.?]{0,16}\b(?:my|our|this|the agent's) (?:account|wallet|card|balance)\b",
    r"\b(?:pay|settle|cover|clear)\b[^.?]{0,12}\b(?:the |a |this )?(?:small |one-time "
    r"|refundable )?(?:deposit|release fee|customs fee|handling fee|processing fee|inspection fee"
    r"|activation fee|unlock(?:ing)? fee|admin(?:istration)? fee|call-out fee|prepayment)"
    r"\b[^.?]{0,24}\b(?:first|now|before|upfront|in advance|today|here|so that|and (?:we|i)|via|to (?:this"
    r"|my|our))\b",
    r"\b(?:zelle|venmo|cash ?app|western union|moneygram|paypal)\b[^.?]{0,16}\b(?:me|us|to|the (?:fee|money"
    r"|amount|deposit))\b|\b(?:via|through|by|with|using) (?:zelle|venmo|cash ?app|western union|moneygram)"
    r"\b",
    r"\b(?:usdt|bitcoin|btc|eth|crypto\w*)\b[^.?]{0,20}\b(?:wallet|address|to us|to me|deposit|first)"
    r"\b(?! (?:miner|ticker|app))",
    "(?:费用?|钱|款|押金|定金)[^,。?]{0,4}(?:打|转|汇|付)(?:到|给|进|入)?(?:我|这个|以下|下面|对公|私人"
    "|指定)[^,。?]{0,4}(?:账|帐|卡|户|微信|支付宝)?",
    "(?:发|转|打)个?红包(?:给我|过来|就)|(?:微信|支付宝|扫码)(?:上|里)?(?:付|支付|转|打)(?:我|给我|一下"
    "|过来)?[^,。?]{0,4}\\d+ ?(?:元|块)",
    "(?:充值|冲)[^,。?]{0,6}(?:点卡|购物卡|礼品卡|油卡|话费)[^,。?]{0,8}(?:发|给|告诉|报)",
    r"\b(?:transfer|wire|send|remit|deposit|pay)\b[^.]{0,30}(?:\bmoney\b|\bpayments?\b|\bfunds\b|\bfee\b"
    r"|\bdeposit\b|[$€£¥]|\b(?:usd|eur|rmb|cny|yuan|dollars|euros)\b)(?! (?:terminal|log"
    "|system|page|screen|receipt|machine|module|app|reader))[^.]{0,60}",
    r"\bpay (?!attention)[^.]{0,40}\b(?:(?:to|into) (?:this|the following|our|my)|via|through|upfront"
    r"|in advance|by (?:transfer|wire|crypto|bitcoin))\b",
    r"\bscan (?:the|this|my|our) [^.]{0,20}(?:code|qr)\b[^.]{0,30}\b(?:pay|payment|transfer (?!of"
    r"|the device))\b",
    r"\b(?:buy|purchase|send)\b[^.]{0,20}\bgift cards?\b",
    "(?:转账|汇款|打款|付款(?![时后前])|转款|钱(?![箱包币盒])|打钱|转钱)[^。]{0,12}(?:到|至|给)",
    "钱[^,。]{0,4}(?:打|转|汇)(?:到|给)",
    "(?:扫|扫描|识别)[^,。]{0,10}码[^,。]{0,6}(?:付款?|支付|转账|缴费?|交费|打款)(?![款费]?(?:码|界面|页面"
    "|功能|失败|方式|时|没|后|卡|机))",
    "先?(?:付|交|支付|缴纳|转|补)[^,。]{0,8}(?:定金|订金|押金|保证金|手续费|解冻费|激活费|服务费|上门费"
    "|差价)",
    "购买[^,。]{0,6}(?:礼品卡|点卡)|卡密[^,。]{0,4}(?:发|给|告诉)",
    "先?(?:付|交|支付|缴纳|补)[^,。]{0,8}(?:检测费|维修费|邮费|税费|工本费|认证费|验证金|会员费|加急费)",
    r"(?:微信|支付宝)转(?:账?(?:给)?我|给|\d)|转(?:账)?给?我(?!们?的?账)[^,。]{0,3}\d",
    r"\b(?:put|move|send) (?:the |your )?money (?:into|to|in)\b",
    "先(?:打款|付款|转账|汇款)[^,。]{0,3}(?:再|后|才)(?!取)",
    r"\bpay\w* (?:with|in|by|using) (?:bitcoin|crypto\w*|usdt|ethereum)\b|\bbc1[a-z0-9]{20,60}\b"
    r"|\b0x[0-9a-f]{40}\b",
)
_HAND_OVER = either(
    r"\b(?:type|enter|post|put|paste|write|drop)\b[^.?]{0,8}\b(?:code|digits|pin|password)"
    r"\b[^.?]{0,24}(?<!not )\b(?:here|below|in this chat|in the chat)\b",
    r"\b(?:need|want|require|give me|send me)\b[^.?]{0,12}\b(?:full|whole|complete|entire) card number\b"
    r"|\b(?:three|3) digits (?:behind|on the back)\b",
    "(?:短信|手机)(?:里|上|中)?的?(?:码|数字|验证)[^,。?]{0,8}(?:打|输|写|发|填)(?:在|到)?(?:这|我|给|聊天)"
    "|(?:完整|全部)的?(?:银行)?卡号|(?:背后|背面|后面)的?三位",
    r"\b(?:read|tell|give|send|text|forward|dictate)\b (?:out )?(?:me|us)\b[^.?]{0,16}\b(?:digits|code"
    r"|numbers?|password)\b[^.?]{0,20}\b(?:text|sms|message|your phone|we (?:just )?sent|your bank|banking)"
    r"\b",
    r"\b(?:code|digits|numbers?) (?:that (?:is|are) |printed )?on the back of (?:your|the) (?:\w+ )?card\b",
    r"\b(?:type|enter|tell|give|send|share|need|confirm)\b[^.?]{0,16}\b(?:online |mobile )?(?:banking|bank"
    r"|wallet|paypal|alipay) (?:password|login|pin|credentials|username)\b",
    "卡(?:片)?(?:背面|后面)[^,。?]{0,6}(?:三位|3位|后三|安全码|数|码)|网银(?:的)?(?:密码|账号|登录)"
    "|(?:支付宝|微信)(?:登录|支付)?密码[^,。?]{0,4}(?:发|告诉|给|是)",
    r"\b(?:send|give|tell|share|read|text|forward|message|reply with|type|enter|provide|dictate|show)"
    r"\b[^.?]{0,16}\b(?:(?:four|five|six|seven|eight|\d)[- ]?digit|one[- ]time|verification|security"
    r"|confirmation|login|authori[sz]ation|sms|2fa|two[- ]factor) (?:code|pin|number|passcode|password)"
    r"\b[^.?]{0,24}\b(?:you (?:just |have )?(?:received|got)|sent to (?:you|your (?:phone|mobile))"
    r"|on your phone|from your (?:phone|messages|bank)|to me|(?<!not )(?:here|in this chat)"
    r"|(?:that )?(?:has )?(?:just )?arrived|from the (?:sms|text))\b",
    r"\b(?:send|give|tell|share|read|text|forward|message|dictate)\b (?:it )?(?:to )?(?:me|us)"
    r"\b[^.?]{0,16}\b(?:(?:four|five|six|seven|eight|\d)[- ]?digit (?:code|pin|number)|(?:one[- ]time"
    r"|security|confirmation|login|authori[sz]ation|2fa|two[- ]factor) (?:code|pin|password))\b",
    r"\b(?:what|which) (?:code|digits|numbers?) did you (?:just )?(?:receive|get)"
    r"\b(?![^.?]{0,20}\b(?:display|screen|machine|error)\b)",
    r"\b(?:confirm|need|require|want|verify)\b[^.?]{0,24}\b(?:cvv2?|card number|online banking"
    r"|bank (?:login|password|pin))\b",
    "(?:把|将|请)?[^,。?]{0,6}(?:短信|手机|收到的?)[^,。?]{0,6}(?:验证码|校验码|动态码|动态密码|口令"
    "|[四六46]位(?:数字|数|码))[^,。?]{0,6}(?:告诉|发|念|报|给|转|回复|截图)",
    "(?:告诉|发|念|报|转|截图)(?:给|一下)?(?:我|我们|客服)?[^,。?]{0,8}(?:校验码|动态码|动态密码|(?:短信"
    "|手机)[^,。?]{0,4}(?:口令|数字)|[四六46]位(?:验证)?(?:数字|数|码))",
    "(?:需要|提供|核对|验证|确认)[^,。?]{0,4}您的[^,。?]{0,4}(?:银行卡|信用卡|支付)(?:卡号|密码|有效期)"
    "|卡背面的?(?:三位|后三位|安全码)",
    r"\b(?:send|give|tell|share|provide|text|email|dm)\b[^.]{0,40}\b(?:card number|cvv2?|cvc|card details"
    r"|bank details|bank account|verification code|one[- ]time (?:code|password)|otp|sms code|id card"
    r"|passport number|social security)\b",
    r"\b(?:send|give|tell|share|provide|text|email|dm)\b[^.]{0,20}\b(?:me|us|the agent|support)"
    r"\b[^.]{0,20}\b(?:passwords?|passcode|pin code)\b",
    r"\bcode\b[^.]{0,20}\b(?:received|got)\b[^.]{0,12}\b(?:sms|text message)\b",
    r"\b(?:credit|debit|bank) card number\b|\bcvv2?\b",
    r"\bwhat(?:'s| is) your (?:\w+ )?(?:password|passcode|pin|card number|verification code)\b(?! (?:policy"
    r"|length|type|layout))",
    r"\b(?:send|give|tell|text)\b[^.]{0,8}\b(?:me|us)\b[^.]{0,4}\byour (?:\w+ )?(?:pin|password|passcode)"
    r"\b(?! ?(?:layout|out\b|header|config\w*|assignment))",
    r"\b(?:sending|send|share|upload)\b[^.]{0,12}\byour (?:passport|id card|identity card"
    r"|driving licen[cs]e)\b",
    r"\bcode (?:that )?we (?:texted|sent|messaged) (?:to )?you\b",
    "(?:卡号|身份证|银行卡)[^,。]{0,8}(?:发我|发过来|发给我|发来|拍给我)|(?:收到的?)"
    "[^,。]{0,3}(?:位)?(?:数字|码)[^,。]{0,3}(?:念|报|发)给?我",
    "验证码(?:是多少|是什么|是几|多少|报给|念给)",
    "(?:提供|告诉|告知|发给|发送给|发我|发来|报一?下|回复|输入)[^,。]{0,10}(?:银行卡号|信用卡号|卡号|cvv"
    "|安全码|支付密码|银行密码|身份证号)",
    "(?:提供|告诉|告知|发给|发送给|发我|发来)[^,。]{0,10}(?:验证码|密码)",
    "把[^,。]{0,12}(?:验证码|密码|卡号)[^,。]{0,6}(?:发|告诉|给|报)(?:到|给|来|我)",
)
_WATCH = Watch(
    {
        "payment.request": (
            "top up|load |wallet|zelle|venmo|cash app|cashapp|western union|moneygram|paypal|usdt|btc| eth ",
            "steam|itunes|google play|prepaid|paysafe|venmo|my account|my card|wechat|alipay|微信|支付宝|费",
            "settle|prepayment|红包|充值|押金|定金|汇",
            "transfer|wire|send |remit|deposit|payment|pay |money",
            "funds|scan |gift card|转账|汇款",
            "打款|付款|转款|钱|打钱|转钱|扫",
            "识别|付|交|支付|缴|转|补|礼品卡|点卡|卡密|bitcoin|crypto|usdt|ethereum|bc1|0x",
        ),
        "payment.secret": (
            "the code|full card|whole card|complete card|digits behind|的码|三位|back of your|back of the",
            "banking|paypal|alipay|wallet|网银|支付宝|微信|digits|numbers|digit",
            "security code|confirmation code|login code|authoriz|authoris|2fa|two-factor|two factor",
            "code did you|digits did you|numbers did you|number did you|online banking|bank login|校验码",
            "动态",
            "口令|位数|位验证|位码|信用卡|卡背面|card number|received by|got by|sms|text message",
            "card details|cvv|cvc|verification|one-time",
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
    """Payment requests, and card or account numbers with correct check digits."""
    for number in find_account_numbers(folded):
        yield Reason("payment.number", "payment", Action.HOLD, number.span)
    folded = folded.squeezed or folded
    for rule, at, sentence in _WATCH.sentences(folded.text):
        for match in _ASKING[rule].finditer(sentence):
            if not is_negated(sentence, match.start()) and not _OURS.search(sentence, 0, match.end()):
                span = folded.span(at + match.start(), at + match.end())
                yield Reason(rule, "payment", Action.HOLD, span)
                break
