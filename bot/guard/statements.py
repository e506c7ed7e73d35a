"""Statements that are promises by themselves: money, dates, free service, liability, warranty.

`bot.guard.promises` weighs a subject against the words around it; here the whole statement is the promise.
Conditions, negations and questions are checked there.
"""

from __future__ import annotations

from bot.guard.clauses import either

_DAY_EN = (
    r"(?:today|tomorrow|tonight|this (?:afternoon|morning|evening|week)|next (?:week|day|morning)"
    r"|within (?:\w+ ){1,2}(?:minutes?|hours?|days?|weeks?)|(?:by|on|before) (?:mon|tue|wed|thu|fri|sat|sun)"
    r"\w*)"
)
_DAY_ZH = "(?:今天|明天|后天|今晚|明早|今日|明日|当天|(?:下?周|星期|礼拜)[一二三四五六日天])"
_MONEY = (
    r"(?:[$€£¥] ?\d|\d+ ?(?:usd|eur|rmb|yuan|dollars|euros)\b|gift cards?\b|vouchers?\b(?! error)"
    r"|coupons?\b(?! error)|credit notes?\b|(?:full )?credit note\b)"
)
_SUM_ZH = r"[\d一二两三四五六七八九十百千几]+ ?(?:元|块|百|千)"

STATEMENTS = {
    "promise.refund": either(
        r"\bconsider (?:it|the|your)\b[^,.?]{0,16}\b(?:returned|refunded|settled|paid back|reimbursed)\b"
        r"|\b(?:get|have|receive) (?:all|every bit|the whole|100 ?%) of your money\b",
        r"\b(?:cancel(?:led)?|revers(?:e|ed)|void(?:ed)?) (?:it|the (?:charge|payment"
        r"|transaction)) for you\b|\b(?:charge|payment) (?:will )?(?:disappears?|vanish\w*|be gone)"
        r"\b[^,.?]{0,12}\bstatement\b",
        r"\b(?:sends?|wires?|transfers?|pays?|gives?) you (?:back )?(?:the|your|all the|all your) (?:money"
        r"|amount|sum|cash|full price|purchase price)\b",
        "(?:扣款|付款|订单款|这笔)[^,。?]{0,6}(?:取消|撤销|撤回)(?:了|掉)",
        r"\b(?:price|money|amount|sum|payment|funds?|refund)\b[^,.?]{0,10}\b(?:is|are|will be|'ll be)"
        r"\b[^,.?]{0,8}\b(?:back (?:on|in|with|to)|in your account|on (?:its|the) way|with you"
        r"|on your (?:card|statement))\b",
        r"\b(?:i|we)(?:'ve|'ll|'m| have| will| am| are)?(?: \w+)? (?:issue|issued|issuing|process|processed"
        r"|approve|approved|trigger|triggered|initiate|initiated|push|pushed|authori[sz]ed?)"
        r"\b[^,.?]{0,16}\b(?:refund|reimbursement|money|chargeback|credit)\b",
        "(?:钱|款|退款)[^,。?]{0,4}(?:已经|就|马上|都)?(?:在路上|在退|打了|汇了|转了|到卡|回卡|到账上|进您)",
        r"\b(?:every (?:cent|penny|dollar)|all (?:of )?(?:it|your money)|(?:full|whole|entire) (?:amount"
        r"|sum|price)|what you paid|the money|the funds|the payment)\b[^,.?]{0,20}\b(?:back|returned"
        r"|refunded|reversed)\b(?! (?:by the (?:machine|terminal|printer)|slot))",
        r"\b(?:get|have|see|receive) (?:back )?(?:every (?:cent|penny)|all your money|what you paid"
        r"|your money)\b",
        r"\b(?:reverse|reversed|reversing|undo) (?:the|your) (?:charge|payment|transaction|purchase)\b",
        r"\byou(?:'ll| will) (?:be (?:made whole|out of pocket nothing)|not be out of pocket|lose nothing)\b",
        r"\b(?:money back|refund|reimbursement)\b[^,.?]{0,12}\b(?:approved|granted|lands|will land|is yours"
        r"|is guaranteed)\b",
        r"\Arefund: (?:approved|granted|done)\b",
        "(?:钱|款项?|货款|金额|费用)[^,。?]{0,6}(?:打回|打给|返到|返给|返回(?=[到原您你])|转回|汇回|汇给"
        "|退至|冲回|原路)",
        "把[^,。?]{0,8}(?:钱|款项?|货款|金额|全款)[^,。?]{0,6}(?:打|退|返|转|还)(?:回|到|给|您|你)",
        "(?:全款|全额|一分不少|分文不少|如数)[^,。?]{0,4}(?:退|返|还)(?!款政策)|(?:撤销|冲正)(?:了"
        "|掉)?(?:这笔|您的)",
        "(?:保您|包您|包你|保你)满意[^。]{0,6}退|不满意(?:就)?(?:全|包)退",
        r"\b(?:money|payment|price|amount|funds)\b[^,.]{0,24}\b(?:going|goes|coming|comes|returned|paid"
        r"|credited|sent|transferred)\b[^,.]{0,12}\bto (?:you\b|your (?:card|account|bank|wallet))",
        r"\b(?:we|i)(?:'ll| will| shall| can)? (?:gladly )?pay (?:you|it|this|that|everything"
        r"|them)?[^,.]{0,8}\bback\b",
        r"\b(?:we|i)(?:'ll| will| shall| can)? (?:return|credit|pay back) (?:you )?(?:your (?:payment"
        r"|money)|(?:the |your )?(?:full |whole |entire )?(?:amount|price|sum))\b",
        r"\brefund (?:request|claim|application)[^,.]{0,14}\b(?:accepted|approved|granted|authori[sz]ed"
        r"|confirmed)",
        r"\A\W*(?:sure|ok(?:ay)?|yes|done|great|good news)\b[^?]{0,20}\b(?:refund|money back)\b",
        r"\A\W*(?:now )?refunding (?:you|it|the|your)\b|\b(?:count on|expect|look forward to"
        r"|get ready for) (?:getting )?(?:your|the|a|full) (?:\w+ )?(?:money back|refund|reimbursement)",
        r"\byour (?:cash|money|payment) (?:will|is going to) be (?:returned|sent back|refunded|paid back)",
        r"\bqualify for (?:a |the )?(?:full |partial )?refund\b",
        r"\b(?:glad|happy|pleased|love) to (?:refund|reimburse)\b",
        "(?:退款|退货款)[^,。]{0,4}已经?[^,。]{0,4}(?:处理|办|通过|批准|成功|退)",
        "(?:退款|退货)申请[^,。]{0,4}(?:已|通过|批准)|全额退款[^。]{0,4}已经?(?:通过|批准|办)",
        "(?:钱|款项?|货款|金额)(?=[^,。]{0,12}[会将已全您你])[^,。]{0,8}(?:退回|退还|返还|原路退|退到|退给)",
        r"(?:退款|货款|钱)[^,。]{0,3}(?:会|将)[^,。]{0,10}(?:到(?:您|你|账)|打到|退)",
        "(?:您|你)(?:会|将)?(?:能)?收到[^,。]{0,4}(?:货款|退款|全款)|(?:给|为)(?:您|你)退(?:了|掉|款)(?!出"
        "|回)",
        "不(?:满意|行|好用)[^。]{0,3}(?:包退|全额退|全退|退钱|退款|全退)",
    ),
    "promise.compensation": either(
        r"\b(?:stand|answer|pay|be liable|be responsible|come up|compensate) for (?:every|all|any|the"
        r"|your) (?:\w+ )?(?:damages?|loss(?:es)?|injur\w+)\b",
        rf"\b(?:put|load|transfer|place|credit|book|add)(?:ing)? {_MONEY}[^,.?]{{0,6}}\b(?:on|to|in"
        rf"|into) your (?:account|card|wallet|balance)\b",
        r"\b(?:put|load|transfer|place|credit|book|add)(?:ing)? \d+ ?(?:usd|eur|euros?|dollars?|yuan"
        r"|pounds?|points?|credits?)\b[^,.?]{0,6}\b(?:on|to|in|into) your (?:account|card|wallet|balance)\b",
        "(?:损失|损坏|后果)[^,。?]{0,6}(?:公司|厂家|我们)[^,。?]{0,4}(?:认|担|全赔|负责|兜底)|(?:辛苦费"
        "|误工费|补贴|红包)[^,。?]{0,4}(?:给您|给你|打给|补给)|补[^,。?]{0,3}(?:块|元)[^。?]{0,6}(?:辛苦费"
        "|补偿)",
        r"\b(?:goodwill|as (?:an |a )?(?:apology|thank you|gesture|compensation)|for (?:the"
        r"|your) (?:inconvenience|trouble)"
        rf"|to make up)\b[^.?]{{0,40}}(?:{_MONEY}|\b\d+ ?(?:points|credits|percent|%)|\bfree\b|\bdiscount\b)",
        r"\b(?:knock|take|get|give you|offer you|apply)\b[^,.?]{0,12}\b\d+ ?(?:%|percent)"
        r"[^,.?]{0,6}(?:\boff\b|\bdiscount\b)|\b(?:half|double) the price (?:back|off)\b",
        r"\b(?:we|i)(?:'ll| will| shall)? (?:pay|give|transfer|send|wire) you\b[^,.?]{0,16}(?:[$€£¥]|\d"
        r"|\bmoney\b|\bcash\b)",
        "(?:医疗费|医药费|住院费|治疗费|误工费|损失|酒店费|住宿费|电费|水费|清洗费)[^,。?]{0,4}(?:都"
        "|全)?(?:由|归|算|是)?我(?:们|司|方)(?:公司|这边)?(?:来|全部?|都)?(?:出|承担|付|赔|报|负责)",
        "损失[^,。?]{0,6}(?:由|归|让)?[^,。?]{0,6}(?:公司|保险)[^,。?]{0,6}(?:赔|承担|负责|出)",
        "(?:作为|当作|算是|表示)(?:一点)?(?:补偿|歉意|心意|诚意)[^。?]{0,14}(?:送|给|充|减|返|发|赠|免)",
        "(?:打|给您|给你)[^,。?]{0,3}[一二两三四五六七八九1-9]折|(?:给|帮)(?:您|你)[^,。?]{0,4}(?:便宜|减"
        "|少收|优惠)[^,。?]{0,4}(?:\\d|[一二两三几]|半)",
        r"\b(?:we|i|our (?:company|insurer|insurance))(?:'ll| will| shall| can)? (?:gladly |also "
        r"|of course |fully )?(?:pay|cover|bear|take care of|settle|foot|reimburse)"
        r"\b[^,.?]{0,24}\b(?:medical|hospital|doctor\w*|dentist|damages?|losses?|injur\w+|legal|lawyer\w*"
        r"|hotel|electricity|water bill|cleaning bill)\b",
        r"\b(?:we|i)(?:'ll| will| shall) make (?:it|this|that) up to you\b|\bmake (?:good"
        r"|up) (?:for )?(?:all |any )?(?:your |the )(?:loss|damage|losses)\b",
        r"\bcompensation (?:of|worth|in the amount of) (?:[$€£¥]|\d)",
        "(?:承担|负担|支付|报销|赔付|出|付)[^,。?]{0,6}(?:医疗费|医药费|住院费|治疗费|误工费|精神损失"
        "|律师费|损失费|一切损失|全部损失|所有损失|酒店费|住宿费)",
        "(?:医疗费|医药费|住院费|治疗费|误工费|损失|精神损失费)[^,。?]{0,4}(?:都)?(?:由|归|算)?我(?:们|司"
        "|方)(?:来)?(?:出|承担|付|赔|报)",
        "(?:双倍|三倍|十倍|加倍|翻倍)[^,。?]{0,2}(?:赔|补|返|退)|假一赔|退一赔",
        r"\b(?:owe|pay|grant)\b[^,.]{0,8}\bcompensation\b",
        rf"\b(?:you|we|i)(?:'ll| will| can)?(?: also)? (?:get|receive|give|send|pay|offer|credit)"
        rf"\b[^,.]{{0,14}}{_MONEY}",
        f"(?:补|赔|补偿|赔偿)(?:您|你)?[^,。]{{0,3}}{_SUM_ZH}|(?:送|给|补|发|赠)(?:您|你)"
        f"[^,。]{{0,6}}(?:{_SUM_ZH}|红包|优惠券|代金券|现金|礼品卡|大礼包)",
        r"\b(?:you(?:'ll| will)?|we(?:'ll| will)?|i(?:'ll| will| can)?) (?:get|receive|give|do|offer)"
        r"\b[^,.]{0,16}\d+ ?% (?:off|discount)|\b(?:give|get|offer)\b[^,.]{0,8}\b\w+ (?:months?|weeks?"
        r"|years?) (?:for )?free\b",
        r"\b(?:we|i)(?:'ll| will| promise to) pay(?: for (?:the|your|all|any)\b|[ ]*\Z)",
        r"(?:会|来|将|就|都)(?:赔偿?|补偿)(?=[您你的]|\Z)",
        r"给(?:您|你)打?[一二两三四五六七八九\d](?:\.\d)?折|给(?:您|你)优惠[^,。]{0,4}\d",
        "(?:赔偿金?|补偿金|赔款)[^,。]{0,6}(?:到账|发放|打给|转给)",
    ),
    "promise.replacement": either(
        "(?:直接|马上|立刻|立即|这就|今天就|可以)?给(?:您|你)换(?:一?台|台|新)",
        "(?:换新|以旧换新|换货)[^。]{0,3}(?:不收费|免费|不要钱)",
    ),
    "promise.date": either(
        rf"\b(?:driver|courier|technician|engineer|mechanic|fitter|plumber|colleague|someone|team)"
        rf"\b[^,.?]{{0,12}}(?:\bwill\b|'ll)[^,.?]{{0,6}}\b(?:stand|knock|ring|show up|turn up|be)"
        rf"\b[^,.?]{{0,24}}\b{_DAY_EN}",
        rf"\b{_DAY_EN},? you(?:'ll| will) (?:definitely |certainly )?(?:have|get|hold|receive)"
        rf"\b[^,.?]{{0,24}}\b(?:machine|device|unit|parcel|part|replacement|phone|money|refund|one)\b",
        "(?:天|小时|周|日)(?:之内|以内|内)[^,。?]{0,3}(?:保证|一定|包|必)[^,。?]{0,3}(?:您|你|能|修|到|好)",
        f"(?:司机|师傅|快递员?|工程师)[^,。?]{{0,3}}{_DAY_ZH}[^,。?]{{0,6}}(?:点|准时|上午|下午|一早)",
        rf"\b(?:will|'ll|shall) (?:definitely |certainly |surely |also )?be (?:delivered|shipped|dispatched"
        rf"|collected|picked up|fixed|repaired|replaced|credited|refunded|with you|there"
        rf"|at your (?:door|place|house))\b[^,.?]{{0,30}}\b{_DAY_EN}",
        rf"\b(?:someone|somebody|colleague|agent|manager|technician|engineer|courier|driver|team|specialist"
        rf"|we|i)\b[^,.?]{{0,20}}\b(?:will|'ll|shall)\b[^,.?]{{0,8}}\b(?:ring|phone|call|drop by|turn up"
        rf"|stop by|come|visit|collect|pick (?:it|this) up|write|email|contact|reach)"
        rf"\b[^,.?]{{0,24}}\b(?:{_DAY_EN}|(?:before|by|at|after) (?:noon|\d)|in (?:an?|one|two|three"
        rf"|\d+) (?:hours?|minutes?|days?))",
        rf"\b(?:courier|driver|technician|engineer|we)\b[^,.?]{{0,6}}\b(?:picks?|collects?|delivers?|comes?"
        rf"|drops?)\b[^,.?]{{0,20}}\b{_DAY_EN}",
        f"{_DAY_ZH}[^,。?]{{0,10}}(?:会|就|一定|准时)?(?:给|跟|和)(?:您|你)(?:打电话|去电|来电|回电|联系"
        f"|回复|答复|发货|送|寄|修|换|装)",
        "(?:师傅|工程师|快递员?|客服|我们|同事)[^,。?]{0,3}(?:明早|今早|明晚|[下这本]?周末)"
        "[^,。?]{0,8}(?:上门|到|来|送|取|联系|打电话)",
        r"\b(?:replacement|parcel|package|part|unit|order|money|refund|technician|engineer|courier|repair)"
        r"\b[^,.?]{0,20}"
        rf"\b(?:lands?|reach(?:es)? you|(?:is|are) (?:due|scheduled|booked|with you)|will be (?:done|ready"
        rf"|finished|completed))\b[^,.?]{{0,16}}\b{_DAY_EN}",
        rf"\b(?:i|we)(?:'ve| have)? (?:booked|scheduled|arranged|reserved)\b[^.?]{{0,40}}\b(?:{_DAY_EN}"
        rf"|at \d|for (?:mon|tue|wed|thu|fri|sat|sun|\d))",
        f"(?:给您|帮您|为您)?(?:约|预约|安排|定)(?:好|了|到|在)+[^,。?]{{0,4}}(?:{_DAY_ZH}|上午|下午|\\d+号)",
        rf"\b(?:it|order|package|parcel|unit|replacement|part|device)"
        rf"\b[^,.]{{0,6}}\bships?\b[^,.]{{0,12}}{_DAY_EN}",
        r"\byou(?:'ll| will) (?:have|get|receive) (?:it(?! \w+ing)|them|(?:your|the|a) (?:new )?(?:part"
        r"|unit|parcel|package|order"
        rf"|replacement|device|machine|delivery))\b[^,.]{{0,16}}\b{_DAY_EN}",
        rf"\b(?:part|parcel|package|order|unit|replacement|courier|technician|engineer)"
        rf"\b[^,.]{{0,10}}\barrives?\b[^,.]{{0,20}}\b{_DAY_EN}|\bexpect (?:our|the|a) (?:technician"
        rf"|engineer|courier|parcel|package|delivery|call)\b[^,.]{{0,16}}\b{_DAY_EN}",
        r"\b(?:he|she|someone|they|somebody)(?:'ll| will) be (?:there|with you|at your (?:door|place|home))"
        r"\b[^,.]{0,12}\b(?:in|within|at|by|today|tomorrow)\b",
        "(?:师傅|工程师|人员|快递)[^,。]{0,3}(?:马上|立刻|立即|很快)(?:就)?(?:到|来|上门|过去)",
        rf"(?:[一二两三四五半\d]+个?(?:小时|分钟))[^,。]{{0,3}}(?:就|内|会)?到(?:您|你)(?:家|那)|(?:在路上"
        rf"|已发出?)[^。]{{0,3}}{_DAY_ZH}到",
        rf"\b(?:we|i)(?:'ll| will) (?:fix|solve|sort)\b[^,.]{{0,20}}\b{_DAY_EN}",
        f"{_DAY_ZH}[^,。看试能]{{0,8}}(?:送到(?!控制|电机|设备)|送达|到货|发货|寄到|寄出|上门|到您|到家"
        f"|修好|收到货)",
        f"(?:快递|包裹|新机|货|配件|师傅|工程师)[^,。]{{0,4}}{_DAY_ZH}[^,。能]{{0,4}}(?:到|来|送)(?!不)",
        r"\b(?:technician|engineer|courier|someone|colleague|agent|repairman|we|i|parcel|package"
        r"|replacement|order|refund|delivery(?! (?:pressure|valve|pipe|rate|flow|volume)))"
        r"\b[^,.]{0,20}(?:\bwill|'ll)\b[^,.]{0,12}\b(?:arriv|com|visit|deliver|ship|call|contact"
        "|reply|get back|be (?:there|fixed|repaired|delivered|with you)|repair|resolv|reach"
        r"|process|send)\w*[^,.]{0,40}\b(?:today|tomorrow|tonight|this (?:afternoon|morning|evening|week)"
        r"|next (?:week|day|morning)|within (?:\w+ ){1,2}(?:minutes?|hours?|days?|weeks?)|(?:with)?in \d+"
        r"|by (?:mon|tue|wed|thu|fri|sat|sun|noon|\d)|(?:on|before) (?:mon|tue|wed|thu|fri|sat|sun)|at \d)",
        r"\b(?:technician|engineer|courier|repairman)\b[^,.]{0,12}\b(?:comes?|arrives?|visits?|is coming)"
        r"\b[^,.]{0,20}\b(?:today|tomorrow|tonight|at \d|on (?:mon|tue|wed|thu|fri|sat"
        "|sun))",
        r"\b(?:delivery|repair|replacement|visit)\b[^,.]{0,12}\bguaranteed\b",
        r"(?:上午|中午|下午|晚上|早上|[一二三四五六七八九十\d]+点)[^,。]{0,8}(?:师傅|工程师|维修员"
        "|技术员|快递)[^,。]{0,6}(?:到|上门|来)",
        "(?:师傅|工程师|维修人?员|技术员|快递|我们|我|客服|专员|同事|专人|货|新机|配件)"
        r"[^,。]{0,8}(?:今天|明天|后天|今晚|今日|明日|当天|[\d一二三两四五六七八九十半]+ ?个?"
        "(?:小时|天|分钟|工作日)(?:内|之内|以内)?|(?:周|星期|礼拜)[一二三四五六日天])[^,。]{0,10}(?:上门"
        "|到达|到您|送达|送到|过去|过来|联系|回电|回复|处理|解决|修好|发货|发出|寄出|到货|给您)",
        r"(?:今天|明天|后天|今晚|[\d一二三两四五六七八九十半]+ ?个?(?:小时|天|分钟|工作日)(?:内"
        "|之内|以内))[^,。]{0,6}(?:保证|一定|必定|会|将|就)?(?:有(?:人|师傅|工程师))?(?:给您|为您)?(?:上门"
        "|到货|送达|发货|到账|(?<!能)修好|退款|回电)",
    ),
    "promise.free": either(
        "(?:过保|保修过了|保修到期)了?[^。?不收]{0,10}免费的?(?!电话|咨询)",
        r"\b(?:there(?:'ll| will) be|you(?:'ll| will) (?:get|receive)|we(?:'ll"
        r"| will)? send(?: you)?) no (?:bill|invoice|charge|fee)\b|\b(?:is|are|'s) on the house\b",
        "(?:不会|不)(?:再)?给(?:您|你)开(?:账单|发票收费)|(?:算|当)(?:是)?我们(?:公司)?(?:送|请)(?:您"
        "|你)?的?|(?:下次|这次|以后)[^,。?]{0,6}不(?:收|要)(?:您|你)",
        r"\b(?:we|i|the company)(?:'ll| will| shall)? (?:eat|absorb|swallow|carry|bear|take on|take care of"
        r"|handle)\b[^,.?]{0,10}\b(?:costs?|bill|fee|price|expenses?|charges?|postage|shipping)\b",
        r"\b(?:your|the) (?:visit|repair|part|service|labou?r|delivery|pickup)\b[^,.?]{0,16}\b(?:won't"
        r"|will not|doesn't) cost\b",
        r"\b(?:repair|fix|replace|service|mend|swap)\b[^,.?]{0,16}\b(?:for nothing"
        r"|without (?:any )?(?:charge|cost|payment)|gratis|free of charge|for free|at no (?:cost|charge)"
        r"|at our (?:own )?(?:cost|expense))\b",
        r"\b(?:even |though )?out of warranty\b[^.?]{0,24}\b(?:for free|for nothing|no charge"
        r"|free of charge|on us|without charge|cover it|won't charge)\b",
        r"\b(?:we|i)(?:'ll| will)? (?:won't|will not|not) charge (?:you )?(?:for|anything)\b"
        r"|\b(?:we )?won't charge you\b",
        r"\b(?:at|on) our (?:own )?(?:cost|expense|account)\b(?! (?:page|tab|manager|settings))",
        r"\bwon't cost you (?:a (?:cent|penny|thing|dime)|anything)\b|\b(?:labou?r|parts|shipping|postage)"
        r"\b[^,.?]{0,16}\b(?:are|is) (?:on us|free of charge|included free)\b",
        "(?:过保|过了保|超过?保修|出保|保修期外|过了质保|超出?(?:保修|质保))[^。?]{0,14}(?:照样|也|仍|还是"
        "|一样|依然)?(?:给您|给你|为您)?免费(?:修|换|维修|更换|上门|处理)",
        "(?:照样|一样|依然|仍然|全程|全部|终身)免费(?:修|换|维修|更换|上门|保修)"
        "|保修期内[^,。?]{0,3},?免费(?:修|维修)",
        "(?:我们|我|公司|本店|厂家)[^,。?]{0,4}(?:给您|给你|为您|帮您)?(?:白修|白换|不收钱|不收费|包修|全包)",
        r"\b(?:won'?t|will not|don'?t have to|need not) (?:have to )?pay\b|\bpay nothing\b",
        r"\b(?:repair|replacement|service|visit|exchange|shipping|part)s? (?:is|are|will be|comes?)"
        r"(?: \w+)? free\b(?! (?:of|from)\b)",
        "(?:维修|更换|上门|检测|换新|配件|换|修)[^,。]{0,4}不(?:收|要|花)[^,。]{0,4}(?:钱|费|分)",
        r"\b(?:we|i)(?:'ll| will)? cover (?:all |the |your )*(?:\w+ )?(?:costs?|bill|expenses)\b",
        "不收(?:您|你)?[^,。]{0,4}(?:钱|费)|免单",
        "(?:这次|本次|您的)[^,。]{0,4}(?:维修|检测|上门|更换|配件)[^,。]{0,4}免费",
        r"\bcosts? you nothing\b|\bcosts? nothing(?! to)\b|\b(?:repairs?|replacement|service|parts?"
        r"|shipping|it|this|that)(?:'s| is| are)(?: all)? on (?:us|the house)\b|\bpick up the (?:tab|bill)\b",
        r"\b(?:technician|engineer|colleague|team) will\b[^.]{0,30}\b(?:free of charge|for free"
        r"|at no (?:cost|charge))",
        r"\b(?:replac\w+|swap\w*|exchang\w+|new (?:one|unit|device|machine))\b[^.]{0,24}\bno (?:extra "
        r"|additional )?(?:cost|charge) (?:to|for) you\b",
        "(?:上门|检测|维修|修理|服务|运|安装)费[^,。]{0,4}(?:免了|全免|免除|免掉|我们?出|我来出)",
        r"[,;] no (?:extra )?(?:charge|cost)s?\W*\Z",
        r"\b(?:we|i)(?:'ll| will| can)? waive\b|\b(?:fee|cost|charge)s? (?:is|are|has been"
        r"|have been) waived\b",
        r"\bno (?:charge|fee|cost) for (?:this|the|your) (?:repair|replacement|visit|service|part|delivery)",
        "减免[^,。]{0,4}(?:费|款)|免(?:掉|去|除)(?:您|你)[^,。]{0,4}费|零费用|一分钱?(?:也|都)?不用",
        "(?:上门|检测|维修)(?:服务)?(?:是|都|全程?|一律)?免费(?!版|升级|电话)",
        "(?:费用?|钱|运费)[^,。]{0,4}(?:由|归)?我(?:们|司|方)(?:公司)?来?(?:出|承担|付|报销|负担|买单)",
        "不用?(?:您|你)[^,。]{0,3}(?:花|付|出|掏)[^,。]{0,4}(?:钱|费)|不用(?:花|付|出|掏)"
        "(?:一分)?(?:任何)?(?:钱|费)",
    ),
    "promise.liability": either(
        r"\b(?:our|the|my) company (?:fully )?(?:admits|acknowledges|accepts"
        r"|confirms)\b[^.?]{0,30}\b(?:fault|defect\w*"
        r"|liab\w+|responsib\w+|mistake|negligen\w+)\b",
        r"\bwe(?:'ve| have)? (?:clearly |really )?(?:messed up|screwed up|got (?:it|this) wrong|failed you"
        r"|sold you a (?:bad|faulty|defective))\b|\bwe(?:'ve| have)? (?:built|designed|made) (?:it|this"
        r"|that)\b[^,.?]{0,10}\b(?:badly|wrong|poorly)\b|\bwe(?:'ll| will) answer for\b",
        "(?:是|确实是)我们(?:公司|厂)?(?:的)?(?:没做好|做得不好|失职|疏忽|设计不好|没把好关)|我们负责到底",
        r"\b(?:defect|fault|mistake|error|mess|problem|damage|batch|one)s? (?:is|was|are|were) (?:entirely "
        r"|totally |all |completely )?(?:on us\b|down to us\b|our (?:doing|fault))",
        "(?:批次|产品|机器|设计|这个型号)[^,。?]{0,4}(?:确实|的确|本身|就是)[^,。?]{0,4}(?:有问题|有缺陷"
        "|有毛病|不合格|有瑕疵)",
        r"\b(?:it|this|that|the (?:fire|accident|damage|leak|injury|fault|defect))(?: \w+){0,2} (?:was"
        r"|is) (?:entirely |all |completely |clearly )?(?:our|the company's|the manufacturer's) (?:fault"
        r"|responsibility|doing|mistake)\b",
        r"\b(?:we|i|the company) (?:fully )?(?:admit|acknowledge|concede|confess)\b[^.?]{0,30}\b(?:fault"
        r"|defect\w*|design|negligen\w+|liab\w+|wrong|mistake|caused|responsib\w+)\b",
        r"\bon behalf of (?:the|our|my) company\b[^.?]{0,40}\b(?:admit|accept|apologi[sz]e for (?:our"
        r"|the) (?:defect|fault|negligence)|guarantee|promise|confirm (?:the|a|your) (?:refund"
        r"|compensation))",
        "(?:代表|以)(?:我们)?(?:公司|厂家)[^,。?]{0,4}(?:承认|保证|承诺|赔|道歉)|(?:责任|过错|问题)(?:完全"
        "|全部|全|都)?在(?:于)?我(?:们|方|司)",
        r"\b(?:it(?:'s| is| was)|this (?:is|was)|that(?:'s| is| was))(?: \w+){0,2} (?:our mistake|(?:our"
        r"|my) (?:fault|responsibility|liability))\b",
        r"\bwe (?:accept|take|assume|admit|acknowledge|bear)\b[^,.]{0,25}\b(?:liab\w+|responsib\w+|fault"
        r"|negligen\w+)",
        r"\bwe(?:'re| are) (?:\w+ )?(?:liable|responsible|at fault|to blame)\b",
        r"\bour (?:product|device|unit|battery|design) (?:is|was) (?:\w+ )?(?:defective|dangerous"
        "|faulty by design)",
        r"\bour (?:company|firm|factory|team|side)\b[^,.]{0,10}\b(?:to blame|liable|at fault"
        r"|responsible for (?:the|this|that|your)\b)",
        r"\bwe take the blame\b|\bmy company (?:is|was) (?:\w+ )?(?:responsible|liable|at fault|to blame)\b",
        "都?怪我(?:们|司)|(?:确实|就)是产品(?:的)?(?:缺陷|质量问题)|(?:这|我们?)(?:个)?(?:责任|错)我们?认",
        r"\bwe admit (?:that )?(?:it|our|the|this)\b|\bcaused by our (?:own )?(?:faulty|defective|poor|bad"
        r"|mistake|error|negligence|design)",
        "(?:事故|损失|损坏|问题|火灾|起火)[^,。]{0,3}由我(?:们|司|方)(?:公司)?来?(?:负责|承担|赔)",
        "责任在我",
        "我(?:们|司|方)[^,。]{0,4}的?(?:产品|设备|电池)[^,。]{0,4}(?:有|存在)[^,。]{0,4}(?:缺陷|质量问题)",
        "(?:是|属于|确实是|都是|全是)我(?:们|司|方|公司)?[^,。不]{0,4}的?(?:责任"
        "|(?<![看写说记认读数弄搞解打听想])错|过错|失误|过失|质量问题|设计缺陷)",
        "我(?:们|司|方|公司)[^,。]{0,6}承担[^,。]{0,8}(?:责任|损失|费用|赔)",
        "我(?:们|司|方|公司)?(?:负全责|全责|负责到底|认错|承认)|承认[^,。]{0,8}(?:缺陷|过错|责任)",
    ),
    "promise.warranty": either(
        r"\b(?:another|extra|additional|one more|two more|a further|a second|a free) (?:year|month"
        r"|\d+ months?)s? of (?:warranty|guarantee|cover(?:age)?)\b|\b(?:year|month)s? (?:of )?(?:extra"
        r"|free|additional) warranty\b",
        "(?:再)?(?:给|帮|为)(?:您|你)[^,。?]{0,4}(?:加|延|续|送)[^,。?]{0,4}(?:年|月)[^,。?]{0,3}(?:保修"
        "|质保)",
        r"\b(?:double|extend|prolong|renew|lengthen)\b[^,.?]{0,12}\bwarranty\b(?! (?:card|page|field|form"
        r"|program))",
        r"\b(?:add|give you|get)\b[^,.?]{0,8}\b(?:extra|additional|another|one more|two more) (?:year"
        r"|month)s?\b[^,.?]{0,12}\bwarranty\b",
        "(?:给|帮|为)(?:您|你)[^,。?]{0,6}(?:保修|质保)[^,。?]{0,4}(?:延|加|续)|(?:保修|质保)"
        "(?:期)?[^,。?]{0,3}(?:延长|加|续)[^,。?]{0,3}[一二两三半\\d]",
        r"\byour (?:[\w-]+ ){1,4}(?:is|are) (?:still |definitely |fully )?(?:covered|under|within|in)"
        r"\b[^,.]{0,12}\bwarranty",
        r"\bextend(?:ed)? (?:your|the) warranty",
        r"\byour warranty (?:is|has been) [^,.]{0,12}(?:valid|active|extended)",
        "您的[^,。]{0,10}(?:仍|还|是)?(?:在|属于|享受)[^,。]{0,4}(?:保修|质保)(?:期|范围)",
        "(?:送|给)(?:您|你)[^,。]{0,4}(?:延保|延长保修|免费保修)|我们(?:包修|全包)",
        r"\byou(?:'re| are) (?:still |fully )?covered\b(?! (?:in|with|by (?!the|our|your)))",
        "(?:为|给)您延长(?:保修|质保)|(?:保修|质保)期?[^,。]{0,4}给(?:您|你)[^,。]{0,4}(?:延|加)",
        r"\b(?:the|your) warranty (?:covers|will cover|includes) (?:this|it|that|the (?:repair|damage|fault"
        r"|replacement))\b(?! \w)",
        r"\b(?:this|it|that)(?:'s| is) (?:fully |still |all )?covered (?:by|under) (?:the |your "
        r"|our )?warranty",
        "(?:这个|这台|这种|您的)[^,。]{0,4}(?:可以|能|会|属于|还?在)(?:免费)?(?:保修|质保|三包)(?!登记|页"
        "|查询|卡|码)",
    ),
}
