"""Links, addresses, handles and numbers: ours leave, strangers are masked, tricks are blocked."""

from __future__ import annotations

import pytest

from bot.guard import Action
from tests.guard.cases import judge, rules


@pytest.mark.parametrize(
    "reply",
    [
        "See https://support.example.com/help",
        "See support.example.com.",
        "Help is at docs.support.example.com:8443/a?b=c",
        "Call 400-123-4567 or 400 123 4567, 0086-4001234567",
        "Write to help@example.com or @example_help",
        "node.js v2.1.3 at 24.5V, see 192.168.1.1",
        "Open http://192.168.1.1/admin or http://10.0.0.138:8080",
        "Ports 8.8.8.8:53 and 10.0.0.0/24, CIDR 172.16.0.0/12",
        "ASP.NET 4.8, main.py, run.sh, README.md, libfoo.so",
        "Turn it off.It should restart. See e.g. chapter 4.In the box",
        "SN: 13812345678, order 123-456-7890, IMEI 356938035643809",
        "检查WiFi。LED灯亮，RS232。COM口正常",
        "遇到火情拨打119，急救拨打120",
        "printer.local answers, fritz.local too",
        "2024-05-01 12:30:45, M8x1.25, 12-24VDC 50-60Hz",
    ],
)
async def test_our_contacts_and_technical_words_leave_unchanged(reply: str) -> None:
    verdict = await judge(reply)
    assert (verdict.action, verdict.text) == (Action.ALLOW, reply)


@pytest.mark.parametrize(
    ("stranger", "shown"),
    [
        ("evil-pay.com", "[link removed]"),
        ("https://evil-pay.com/x?y=1", "[link removed]"),
        ("t.me/x", "[link removed]"),
        ("www.evil.zzz", "[link removed]"),
        ("ｅｖｉｌ．ｃｏｍ", "[link removed]"),
        ("evil.co.uk", "[link removed]"),
        ("@evil_bot", "[account removed]"),
        ("someone@evil.com", "[address removed]"),
        ("138 1234 5678", "[number removed]"),
        ("１３８１２３４５６７８", "[number removed]"),
        ("一三八一二三四五六七八", "[number removed]"),
        ("+44 20 7946 0958", "[number removed]"),
        ("(415) 555-0132", "[number removed]"),
        ("400-999-8888", "[number removed]"),
        ("1 3 8 1 2 3 4 5 6 7 8", "[number removed]"),
        ("138*1234*5678", "[number removed]"),
        ("壹叁捌壹贰叁肆伍陆柒捌", "[number removed]"),
        ("evil-pay.me/x", "[link removed]"),
        ("支付evil.top", "支付[link removed]"),
    ],
)
async def test_plain_stranger_is_masked_and_the_rest_leaves(stranger: str, shown: str) -> None:
    verdict = await judge(f"Clean the filter, then ask {stranger} about it.")
    assert verdict.action is Action.ALLOW
    assert verdict.text == f"Clean the filter, then ask {shown} about it."
    assert verdict.repaired
    assert stranger in verdict.checked


@pytest.mark.parametrize(
    ("reply", "rule"),
    [
        ("evil-pay[.]com", "contact.disguised"),
        ("evil-pay。com", "contact.disguised"),
        ("evil-pay (dot) com", "contact.disguised"),
        ("evil dot com", "contact.disguised"),
        ("evil点com", "contact.disguised"),
        ("hxxps://evil.com", "contact.disguised"),
        ("name (at) evil.com", "contact.disguised"),
        ("http://xn--80ak6aa92e.com", "contact.punycode"),
        ("http://3232235777/", "contact.numeric"),
        ("http://0x7f.1/", "contact.numeric"),
        ("http://93.184.216.34/login", "contact.numeric"),
        ("https://support.example.com@evil.com", "contact.userinfo"),
        ("https://support.example.com.evil.com", "contact.lookalike"),
        ("https://support-example.com", "contact.lookalike"),
        ("https://support.exаmple.com/", "contact.lookalike"),
        ("https://support.exmaple.com/", "contact.lookalike"),
        ("support.exam\u200bple.com", "contact.lookalike"),
        ("[refund](https://evil.com)", "contact.relabelled"),
        ('<a href="https://evil.com">help</a>', "contact.relabelled"),
        ("weixin://dl/chat", "contact.scheme"),
        ("alipays://platformapi/startapp", "contact.scheme"),
        ("javascript:alert(1)", "contact.scheme"),
        ("evil-pay,com", "contact.disguised"),
        ("www。evil-pay。com", "contact.disguised"),
        ("http://[2001:db8::1]/", "contact.numeric"),
        ("data:text/html;base64,PGI+", "contact.scheme"),
    ],
)
async def test_contact_that_hides_what_it_is_blocks_the_reply(reply: str, rule: str) -> None:
    verdict = await judge(f"Go to {reply} now")
    assert (verdict.action, verdict.text) == (Action.BLOCK, "")
    assert rule in rules(verdict)


@pytest.mark.parametrize(
    "reply",
    [
        "WeChat: evilpay888",
        "微信号：evilpay888",
        "微信evilpay888",
        "薇❤信 evilpay888",
        "V信evilpay888",
        "QQ群123456789",
    ],
)
async def test_account_of_a_stranger_is_masked(reply: str) -> None:
    verdict = await judge(f"ask {reply}")
    assert verdict.text.endswith("[account removed]")


async def test_stranger_behind_our_own_redirect_is_masked() -> None:
    verdict = await judge("https://support.example.com/go?to=https://evil-pay.com/x")
    assert "evil-pay" not in verdict.text


async def test_sentence_mark_after_our_host_hides_no_stranger() -> None:
    verdict = await judge("见 support.example.com。evil-pay.com 也行", language="zh")
    assert verdict.text == "见 support.example.com。[链接已隐去] 也行"


async def test_customers_own_number_is_shortened_instead_of_masked() -> None:
    verdict = await judge("We will use 13812345678.", asked="My number is 138 1234 5678")
    assert verdict.text == "We will use 138****5678."


async def test_short_service_number_counts_only_after_a_call_word() -> None:
    assert (await judge("请拨打95588咨询", language="zh")).text == "请拨打[号码已隐去]咨询"
    assert (await judge("参数 95588 写入寄存器", language="zh")).text == "参数 95588 写入寄存器"
