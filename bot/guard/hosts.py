"""Endings of host names: which make a word a link, which only sometimes, and which are local."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOP_LEVEL = _words(
    """
    com c0m net org edu gov mil int info biz name pro mobi asia tel travel jobs top xyz vip shop store
    site online club icu buzz fun work live life ltd group cloud tech dev app website space press
    host link click help support center services service chat cash money pay loan bet casino poker
    win bid trade market sale deals promo gift gifts cards credit finance financial bank insure
    exchange fund capital ventures email ink wang ren red pink blue one love party date faith review
    science stream download racing men cam sbs cfd lol monster quest beauty hair skin makeup homes
    rest autos boats bond rocks ninja guru world today news media agency network systems solutions
    gle company international social digital zone run games game video tube photos pics page wiki
    blog art design studio academy school cn hk tw mo jp kr sg vn th ph mm kh ru su ua by kz uz uk
    eu fr nl ch se no dk fi pt gr cz sk hu ro bg ie ca mx br ar co cl pe ve au nz za ng ke gh eg il
    ae sa qa tr ir pk lk np bd cc tv ws io ai gg ly gd tk ml ga cf gq pw nu ag bz fm vc sx st sc ac
    tc
    """
)
"""Sufficient by themselves: `evil.top` is a link wherever it appears."""

WORDS = _words("me us in de id la es am pa my is it at be to so do as or an he")
"""Country endings that are also words: a link if written as one, but not if a space was forgotten."""

LINKING_WORDS = _words("me us de id la es am")
"""Those of them that hardly ever start a sentence after a forgotten space."""

FILE_ENDINGS = _words("py sh md rs pl ps zip mov cab pub vi mp ms sb bin exe app so")
"""Country or new endings that are also file endings: a link only with a scheme, `www.` or a path."""

LOCAL_ENDINGS = _words("local lan home internal localhost intranet arpa localdomain")
"""Names that exist only on a local network."""

STRONG = _words("com c0m cn net org top xyz vip cc info shop ru tk icu")
"""Endings for which a disguised dot (`evil 。com`) counts as one."""

MESSENGERS = _words(
    """
    t.me telegram.me telegram.dog wa.me m.me line.me discord.gg bit.ly is.gd goo.gl youtu.be tinyurl.com
    t.cn dwz.cn url.cn suo.im b23.tv cutt.ly ow.ly rb.gy t.ly v.gd qr.ae lnkd.in fb.me ift.tt forms.gle
    """
)
"""Short hosts that may lead anywhere: always links, whatever their ending."""
