"""Accounts on messengers that are not ours: `@name`, a WeChat or QQ number, a name after `telegram:`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bot.guard.candidate import Link, Lists
from bot.guard.clauses import Words, either
from bot.guard.fold import Folded

_HANDLE = re.compile(r"(?<![a-z0-9_@./+-])(@[a-z][a-z0-9_]{3,31})(?![a-z0-9_@]|[/.][a-z])")
_ACCOUNT = either(
    r"(?:微信|薇信|(?<![a-z])(?:wechat|weixin|qq|telegram|whatsapp|skype|wx))(?:[ ]?(?:群|公众"
    r"|客服)?(?:号码?|id|账号|account|number)[ ]?(?:是|为|is)?[ ]?[:是为]?|[ ]?[:=]"
    r"|[ ]is(?=[ ][a-z]*[-_]?[a-z]*\d))[ ]?([a-z0-9][a-z0-9_+-]{4,24})",
    r"\b(?:wechat|weixin|telegram|whatsapp|skype|line|discord)[ ]?,[ ]?(?:his|her|their|the|my|our"
    r"|username|user|id|name|number)(?:[ ][a-z]{2,8}){0,2}[ ](?:is[ ]|:[ ]?)([a-z0-9][a-z0-9_+.#-]{4,24})",
    r"(?:微信|扣扣|qq|telegram),(?:号码?|账号|id|名字)[是为叫:][ ]?([a-z0-9][a-z0-9_+-]{4,24})",
    r"\b(?:on|via|over) (?:wechat|weixin|telegram|whatsapp|skype|line|discord|instagram)(?: under"
    r"| as| at|: )[ ]?(?=[a-z0-9_.-]*[\d_])([a-z0-9][a-z0-9_+.-]{4,24})",
    r"(?:微信|扣扣|qq|telegram)(?:上|里)?(?:搜索?|搜一下|查找?|找)[ :]?([a-z0-9][a-z0-9_+-]{4,24})(?![.\w])",
    r"\b(?:add|contact|message|my) (?:my )?(?:wechat|weixin|whatsapp"
    r"|line) (?=[a-z0-9_-]*[\d_])([a-z][a-z0-9_-]{4,24})",
    # names used only to avoid detection need no `:`
    r"(?:v信|薇信|威信|q群|扣扣|(?<![a-z])vx)[ :是]{0,3}([a-z0-9][a-z0-9_+-]{4,24})",
    r"(?<![a-z])line id[ ]?[:=]?[ ]?(?!\d)([a-z0-9][a-z0-9_.]{4,24})",
    r"(?:企鹅[号群]?|加[v薇威]|加微|扣q|抖音号|公众号)[ :号是]{0,3}([a-z0-9][a-z0-9_+-]{4,24})",
    r"(?<![a-z])(?:telegram|skype|instagram)[ ](?![a-z]+_(?:\d|api|bot|id|token|key)\b|(?:bot|api)_)"
    r"(?=[a-z0-9_.]{0,24}[\d_])([a-z][a-z0-9_]{4,24})(?![.\w])|(?<![a-z])wx[ ](?=[a-z]{2,12}\d{3})"
    r"([a-z0-9]{5,24})(?![.\w])",
    r"(?<![a-z])(?:ins|instagram|snapchat|signal|discord)[ ]?[:=][ ]?(?!\d)(?=[a-z0-9_.#]*[\d_])"
    r"([a-z0-9][a-z0-9_.]{4,24})",
    r"微信[ ]?(?=[a-z0-9_-]{0,19}[\d_])([a-z][a-z0-9_-]{5,19})(?![.\w])",
)
# A messenger, at least one word or sign that leads to a name, and a name with a digit or an underscore.
_NAMED = either(
    r"(?<![a-z])(?:skype|discord|snapchat|instagram|insta|ig|tiktok|whatsapp|telegram|viber|kakao|wechat"
    r"|line id)(?:[ :,\"'=]{1,3}(?:id|name|number|username|user|handle|account|is|as|at|me|us|under|channel"
    r"|search(?: for)?|find|add)(?![a-z])){0,4}"
    r"(?:[ ]?[:=,][ ]?|[ ](?:is|me|as|at|under|name|search)[ :]{1,2})"
    r"(?:live:)?(?=[a-z0-9_.#@-]{0,28}[\d_#]|@[a-z0-9]+\.[a-z])([@.]?[a-z][a-z0-9_.#-]{3,30})(?![\w])",
    r"(?:飞机|飞信|电报|卫星|微号|薇|v芯|旺旺|扣扣|闲鱼|抖音|快手|小红书|威信|薇信|(?<![a-z])(?:v信|(?:vx|wx|tg)(?=[搜号加是:])))"
    r"(?:号码?|群|裙|账号|上|里|的|搜索?|搜一下|找|加|用户|好友|是|为|叫|[ :\"❤♥@]){1,6}"
    r"(?=[a-z0-9_-]{0,24}[\d_])([a-z0-9][a-z0-9_-]{4,24})(?![.\w])",
    r"(?:微博|私信|抖音|快手|小红书)[^。@\n]{0,4}(@[\u4e00-\u9fffa-z0-9_]{2,20})",
    # the name first: `fixit_88 on Instagram`
    r"(?<![a-z0-9_./-])(?=[a-z0-9_.]{0,24}[\d_])([a-z][a-z0-9_.]{4,24})[\"' ]{1,2}(?:on|in|via|at) "
    r"(?:instagram|insta|telegram|whatsapp|wechat|skype|discord|snapchat|tiktok|facebook|viber|signal)(?![a-z])",
)
_QQ = re.compile(
    r"(?<![a-z0-9])qq(?:[ ]?(?:群|裙|号码?|number|is|是|[:,]))*[ ]?([1-9](?:[ ]?\d){4,10})(?!\d)"
)
_MESSENGER_NAMES = Words(
    "微信|薇信|威信|v信|q群|扣扣|wechat|weixin|qq|telegram|whatsapp|skype|vx|wx",
    "企鹅|加v|加薇|加威|加微|扣q|抖音号|公众号|discord|line id|ins:|ins :|ins=|instagram|snapchat|signal:"
    "|signal :|discord:|discord :|insta | insta:| ig:| ig |tiktok|viber|kakao",
    "飞机|飞信|电报|卫星|微号|薇|v芯|旺旺|闲鱼",
    "抖音|快手|小红书|私信|微博|tg搜|tg号|tg加|tg:|tg是",
)


def find_accounts(folded: Folded, *, allowed: Lists) -> Iterator[Link]:
    """Accounts in a text that are not on the allow-lists."""
    folded = folded.squeezed or folded
    seen = folded.text
    for pattern in (_HANDLE,) * ("@" in seen) + (_ACCOUNT, _NAMED, _QQ) * _MESSENGER_NAMES.occur_in(seen):
        for match in pattern.finditer(seen):
            group = match.lastindex or 0
            if match.group(group).removeprefix("@") not in allowed.handles:
                yield Link("handle", folded.span(*match.span(group)))
