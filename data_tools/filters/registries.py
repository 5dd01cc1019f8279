"""What registries say, as far as checks of personal data need it: top-level domains, calling codes, account numbers."""

from __future__ import annotations

#: Top-level domains of two letters that were given out to countries.
COUNTRY_DOMAINS = frozenset(
    b"ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca "
    b"cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo "
    b"fr ga gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je "
    b"jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo "
    b"mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt "
    b"pw py qa re ro rs ru rw sa sb sc sd se sg sh si sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg th tj tk "
    b"tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw".split()
)

#: Of the others those in common use for mail. (A list of all 1,400 would take in .zip, .mov and others that are file
#: names far more often.)
GENERIC_DOMAINS = frozenset(
    b"com org net edu gov mil int arpa info biz name pro coop aero museum jobs mobi travel cat tel asia post xxx "
    b"app dev blog shop online site tech store cloud email website space live life world today news media agency "
    b"digital design studio group company solutions services systems technology software network academy center "
    b"institute foundation university school college clinic health care legal law tax finance bank capital fund "
    b"insurance consulting marketing events tours vacations holiday restaurant cafe bar beer wine pub fitness yoga "
    b"sport football club team family love wedding photography photo photos art gallery music band film video tv "
    b"radio press ink pub wiki page one xyz top icu vip win bid loan work rocks guru expert ninja plus social "
    b"community city london berlin hamburg koeln paris nyc tokyo amsterdam wien moscow swiss bayern saarland ruhr "
    b"scot wales cymru quebec eus gal bzh corsica gmbh ltd inc llc international global earth eco green energy "
    b"solar house garden land farm vet dog pet auto cars parts tools supply supplies equipment industries "
    b"engineering construction builders contractors plumbing estate properties apartments rent realty hosting "
    b"domains codes computer cool fun games game chat zone link click".split()
)

#: Calling codes that are assigned (ITU-T E.164).
CALLING_CODES = frozenset(
    b"1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 "
    b"84 86 90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230 231 232 233 234 "
    b"235 236 237 238 239 240 241 242 243 244 245 246 248 249 250 251 252 253 254 255 256 257 258 260 261 262 263 "
    b"264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 "
    b"376 377 378 379 380 381 382 383 385 386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 "
    b"592 593 594 595 596 597 598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 "
    b"691 692 850 852 853 855 856 880 886 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 992 "
    b"993 994 995 996 998".split()
)

#: Length of an account number by country (the IBAN registry, SWIFT).
IBAN_LENGTHS = {
    code: length
    for length, codes in {
        15: "NO", 16: "BE", 18: "DK FO FI GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ XK LT LU MN",
        21: "HR LI LV CH", 22: "BH BG CR GE DE IE ME RS GB VA", 23: "TL GI IQ IL OM SO AE",
        24: "AD CZ MD PK RO SA SK ES SE TN VG", 25: "PT ST LY", 26: "IS TR", 27: "FR GR IT MR MC SM DJ BI",
        28: "AL AZ CY DO GT HU LB PL BY SV NI", 29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 33: "LC RU",
    }.items()
    for code in codes.split()
}  # fmt: skip
