"""Writes tests/golden/text/patterns.json, kinds.json and folders.json: what the tokenizers package makes of
patterns and of each kind of normalizer, pre-tokenizer, post-processor and decoder, and what transformers makes
of the files that stand beside a tokenizer.

    pip install tokenizers==0.23.3 transformers==5.24.0
    python3.11 tools/make_tokenizer_parts_golden.py

Python 3.11 knows Unicode 14, as Debian 12's Oniguruma does: later characters are in no text.
"""

import json
import os
import pathlib
import tempfile
import unicodedata

import tokenizers
from tokenizers import Regex, pre_tokenizers

os.environ["HF_HUB_OFFLINE"] = "1"
OUT = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "text"
BEHAVIORS = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]

I = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = [
    # Of published tokenizers: GPT-2, Llama 3, Qwen2, o200k, Kimi, DeepSeek-V3, cl100k, Bloom and Viking, StarCoder.
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    I + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL,
    I + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL,
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{I}?|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*{I}?|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL,
    rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}&&[^\p{{Han}}]]*[{LOWER}&&[^\p{{Han}}]]+{I}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}&&[^\p{{Han}}]]+[{LOWER}&&[^\p{{Han}}]]*{I}?|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL,
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    + TAIL,
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",
    r"\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$))",
    # Sets within sets, their intersections, POSIX brackets.
    r"[\p{L}\p{M}&&[^\p{Han}]]+",
    r"[a-z&&[^aeiou]]+",
    r"[[a-c][x-z]]+",
    r"[^a-c[x-z]]+",
    r"[a-w&&[^c-g]z]+",
    r"[[:punct:]]+",
    r"[[:^punct:]]+",
    r"[[:alpha:]_]+",
    r"[[:^alpha:]]",
    r"[^[:space:]]+",
    r"[[:word:]]+",
    r"[[:upper:]][[:lower:]]*",
    r"[[:digit:]&&[^0-4]]",
    r"[[:cntrl:][:blank:]]+",
    r"[[:graph:]]+",
    r"[[:print:]]+",
    r"[[:xdigit:]]+",
    r"[[:alnum:]]+",
    r"[[:ascii:]]+",
    # Escapes.
    r"\h+",
    r"\H+",
    r"\v+",
    r"\R",
    r"\X",
    r"\w+",
    r"\W",
    r"\d{2}",
    r"\s",
    r"\S+",
    r"[\u4e00-\u9fff]+",
    r"\x{1F600}|\xC3\xA9|\t",
    r"\p{Word}+",
    r"\p{Punct}+",
    r"\p{Alnum}+",
    r"\p{^L}+",
    r"\P{Lu}+",
    # Anchors, options, groups.
    r"^\s+",
    r"\s+$",
    r"^",
    r"$",
    r"\A\w|\w\z",
    r"\Z",
    r"a{,2}b",
    r"(?m)a.*b",
    r"a.*b",
    r"(?i)straße|ǆ",
    r"(?x) [a-z]+ # letters",
    r"(\w)\1",
    r"(?<l>[aeiou])\k<l>",
    r"(?>a+)b",
    r"a++",
    r"(?<=\p{L})\p{N}+(?!\p{L})",
    r"foo\Kbar",
    r"(?~ab)c",
    r"\p{L}+?\b",
    # Matches of nothing.
    r"(?=(\d{3})+(?!\d))",
    r"(?<=[a-z])(?=[A-Z])",
    r"(?<!\d)(?=\d)",
    r"\b",
    r"\B",
    r"(?<=.)",
    r"x*",
    r"",
    r"(?=[一-龥])|\s",
    # Scripts.
    r"\p{Greek}+|\p{Cyrillic}|\p{Arabic}",
]

TEXTS = [
    "",
    " ",
    "a",
    "\n",
    "  ",
    "é",
    "漢",
    "😀",
    "abc def 12",
    "naïve café 漢字 mixed漢x",
    "tab\n  a\n b  \n",
    "हिन्दी कुछ क्षत्रिय",
    "f00 cafe zzz deadBEEF",
    "a$b a+b €5 → x ≤ y",
    "foo (bar|baz). qux",
    "👩‍💻 x 👍🏽 🇫🇷🇩🇪",
    "1234567 x 1000000",
    "12 123 1234 12345",
    "fooBar HTMLParser iOS9",
    "a\nb\n\nc",
    "\r\n\r\n x\r",
    "they're WE'VE I'll 'Twas don't'S",
    "e\u0301 o\u0302 n\u0303a \u0301",
    "Ελληνικά Кириллица עברית العربية",
    "١٢٣ ४५६ ½ Ⅷ ²",
    "aabaaab aab ab b",
    "line one\nline two\n",
    "\ta\t\tb \t c",
    "x\u00a0y\u2003z\u3000w\u200bv",
    "straße STRASSE ǆ ǅ Ǆ",
    "snake_case camelCase-kebab",
    "\u0b95\u0bcd\u0bb7 \u0e44\u0e17\u0e22\u0e44\u0e21\u0e48",
    "한국어 ㅎㅏㄴ 각",
    "日本語のテキスト、カタカナー。",
    "foobar foofoobar",
    "[a-b] ^c$ {d,e} \\f",
    "...!?… ،۔ ।",
    "\x00\x01\x1b[0m\x7f\x85",
    "a\u2028b\u2029c\x0bd\x0ce",
    "end with space ",
    "  begin",
    "x" * 40,
    "0x1F600 #ff00aa 1e-9",
    "http://a.b/c?d=e&f#g",
    "\ufeffbom \ufffd",
    "ﬁ ﬀ İstanbul ıI ſ",
    "q=a&&b||c",
    "aa bb cc dd aab",
    "ab\nab\ncab c",
    "mixed१२३abc４５６",
]
assert len(TEXTS) == 50 and len(PATTERNS) >= 60


def fnv1a(values):
    value = 0xCBF29CE484222325
    for v in values:
        for byte in v.to_bytes(4, "little"):
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def cuts(pre_tokenizer, text):
    """Begins and ends of the words, in bytes."""
    byte = [0]
    for c in text:
        byte.append(byte[-1] + len(c.encode()))
    return [byte[i] for _, span in pre_tokenizer.pre_tokenize_str(text) for i in span]


def patterns():
    result = []
    for pattern in PATTERNS:
        split = lambda behavior, invert=False: pre_tokenizers.Split(Regex(pattern), behavior, invert=invert)
        isolated = split("isolated")
        entry = {"pattern": pattern, "isolated": [cuts(isolated, text)[1::2] for text in TEXTS], "hashes": {}}
        for behavior in BEHAVIORS:
            for invert in (False, True):
                made = split(behavior, invert)
                spans = [x for text in TEXTS for x in [*cuts(made, text), 0xFFFFFFFF]]
                entry["hashes"][behavior + (" inverted" if invert else "")] = fnv1a(spans)
        result.append(entry)
    return {"versions": {"tokenizers": tokenizers.__version__}, "texts": TEXTS, "patterns": result}


# Characters as tokens, so that ids show the words; a few of more characters, and byte tokens.
ALPHABET = sorted({c for text in TEXTS for c in text} | set(map(chr, range(32, 127))) | {"▁"})


def base(**parts):
    vocab = {c: i for i, c in enumerate(ALPHABET)}
    for token in ["ab", "foo", "</s>", "<s>", "<pad>", "<0xC3>", "<0xA9>", "<0x0A>", "<0xFF>"]:
        vocab.setdefault(token, len(vocab))
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": ["a b"],
    }
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    for key, value in parts.items():
        whole[key] = {**whole[key], **value} if key == "model" else value
    return whole


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


STRIP = {"type": "Strip", "strip_left": True, "strip_right": True}
NORMALIZERS = [
    {"type": "Lowercase"},
    STRIP,
    {**STRIP, "strip_right": False},
    {**STRIP, "strip_left": False},
    {"type": "StripAccents"},
    sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, STRIP),
    {"type": "Replace", "pattern": {"String": ""}, "content": "-"},
    {"type": "Replace", "pattern": {"Regex": r"(?<=\d)(?=\d)"}, "content": "_"},
    {"type": "Replace", "pattern": {"Regex": r"[[:punct:]]+"}, "content": ""},
    {"type": "NFKC"},
    {"type": "NFKD"},
    {"type": "NFC"},
    {"type": "Prepend", "prepend": "▁"},
]
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
PRE_TOKENIZERS = [
    {"type": "Whitespace"},
    {"type": "WhitespaceSplit"},
    {"type": "BertPreTokenizer"},
    {"type": "UnicodeScripts"},
    *[
        {"type": "Punctuation", "behavior": b}
        for b in ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
    ],
    {"type": "CharDelimiterSplit", "delimiter": "a"},
    {"type": "CharDelimiterSplit", "delimiter": "漢"},
    {"type": "FixedLength", "length": 1},
    {"type": "FixedLength", "length": 5},
    {"type": "Digits", "individual_digits": True},
    {"type": "Digits", "individual_digits": False},
    METASPACE,
    {**METASPACE, "prepend_scheme": "always"},
    {**METASPACE, "prepend_scheme": "never"},
    {**METASPACE, "split": False},
    {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"String": "a"}, "behavior": "MergedWithNext", "invert": False},
    sequence("pretokenizers", {"type": "WhitespaceSplit"}, METASPACE),
    sequence("pretokenizers", {"type": "Punctuation"}, {"type": "Digits", "individual_digits": True}, METASPACE),
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
]
FUSE, FALLBACK = {"type": "Fuse"}, {"type": "ByteFallback"}
REPLACE = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
strip = lambda start, stop, content=" ": {"type": "Strip", "content": content, "start": start, "stop": stop}
decoders = lambda *parts: sequence("decoders", *parts)
DECODERS = [
    None,
    FUSE,
    FALLBACK,
    REPLACE,
    LEVEL,
    strip(1, 0, "▁"),
    {k: v for k, v in METASPACE.items()},
    {**METASPACE, "prepend_scheme": "never"},
    decoders(REPLACE, FALLBACK, FUSE, strip(1, 0)),
    decoders(REPLACE, FALLBACK, FUSE, strip(2, 3)),
    decoders(REPLACE, FALLBACK, FUSE),
    decoders(FALLBACK, METASPACE),
    decoders(FUSE, REPLACE),
    decoders(FALLBACK, FUSE, REPLACE, strip(1, 1)),
    decoders(FALLBACK, FUSE, METASPACE, strip(0, 1)),
    decoders(LEVEL, strip(1, 1, "a")),
    decoders({"type": "Replace", "pattern": {"Regex": "[ab]+"}, "content": "_"}, FUSE),
    decoders(strip(1, 0, "▁"), FUSE),
]
DECODED = [
    [],
    ["a"],
    ["▁", "▁", "a", "ab", "▁", "b", "▁"],
    ["<0xC3>", "<0xA9>", "▁", "foo"],
    ["<0xC3>", "a", "<0xFF>", "<0xFF>", "<0x0A>"],
    ["▁", "▁", "▁"],
    ["a", "<s>", "b", "</s>"],
    ["é", "漢"],
    ["a", "a", "b", "a"],
    ["ab", "<0x0A>"],
]
SPECIAL = lambda name, i: {"id": name, "ids": i, "tokens": [name] * len(i)}


def post_processors(vocab):
    bos, eos = vocab["<s>"], vocab["</s>"]
    a = {"Sequence": {"id": "A", "type_id": 0}}
    special = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    template = lambda single, tokens: {
        "type": "TemplateProcessing",
        "single": single,
        "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": tokens,
    }
    bert = {"type": "BertProcessing", "sep": ["</s>", eos], "cls": ["<s>", bos]}
    return [
        bert,
        {**bert, "type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": True},
        LEVEL,
        template([special("<s>"), a], {"<s>": SPECIAL("<s>", [bos])}),
        template([a, special("x")], {"x": SPECIAL("x", [eos, bos])}),
        sequence("processors", LEVEL, bert),
        sequence("processors", template([special("<s>"), a, special("<s>")], {"<s>": SPECIAL("<s>", [bos])}), LEVEL),
    ]


def assigned():
    """Every character of Unicode 14."""
    return [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs")]


def every_character():
    """Of single-character kinds, a hash over all of Unicode 14."""
    codes = lambda text: [len(text), *map(ord, text)]
    result = {}
    for kind in ("Lowercase", "StripAccents"):
        normalize = getattr(tokenizers.normalizers, kind)().normalize_str
        result[kind] = fnv1a([x for c in assigned() for x in codes(normalize(c))])
    for kind in ("Punctuation", "Whitespace", "WhitespaceSplit", "UnicodeScripts", "Digits"):
        cut = getattr(pre_tokenizers, kind)()
        result[kind] = fnv1a([x for c in assigned() for x in [*cuts(cut, "a" + c + "b"), 0xFFFFFFFF]])
    result["characters"] = []
    for c in map(ord, assigned()):
        if result["characters"] and result["characters"][-1] == c:
            result["characters"][-1] = c + 1
        else:
            result["characters"] += [c, c + 1]
    return result


ADDED = (
    lambda i, content, **more: {
        "id": i,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": False,
    }
    | more
)


def added_cases(n):
    """Texts cut at added tokens: name, tokenizer, texts."""
    texts = [
        "foo<x>bar",
        " <x>  <y> ",
        "<x><y>\n<x>",
        "a <x>\u0301b",
        "\u0301<x>",
        "q<x>_",
        "x<x> ",
        "<X>",
        "<x",
        "  <x>   q",
        "<x>\u200d",
        "ab <x> ab",
    ]
    for flag in ["single_word", "lstrip", "rstrip", "normalized", "special"]:
        yield flag, base(added_tokens=[ADDED(n, "<x>", **{flag: True}), ADDED(n + 1, "<y>", rstrip=True)]), texts
    yield "both", base(
        added_tokens=[ADDED(n, "<x>", rstrip=True, lstrip=True), ADDED(n + 1, "<y>", lstrip=True), ADDED(n + 2, " q")]
    ), texts
    yield "white space", base(added_tokens=[ADDED(n, "<x>", rstrip=True), ADDED(n + 1, "  ")]), texts
    yield "lower case", base(normalizer={"type": "Lowercase"}, added_tokens=[ADDED(n, "<X>", normalized=True)]), texts
    yield "character of the vocabulary", base(added_tokens=[ADDED(ALPHABET.index("q"), "q", single_word=True)]), texts
    yield "first metaspace", base(pre_tokenizer=METASPACE, normalizer=STRIP, added_tokens=[ADDED(n, "<x>")]), texts
    yield "replaced start", base(
        pre_tokenizer=METASPACE, normalizer={"type": "Replace", "pattern": {"String": "ab"}, "content": "q"}
    ), texts
    yield "twice a merge", base(
        model={"merges": ["a b", "b c", "a b"], "vocab": base()["model"]["vocab"] | {"bc": n}}
    ), ["abc", "aabc"]
    yield "version lines", base(model={"merges": ["#version: 0.2", "a b", "#version x"]}), ["abab"]
    vocab = {k: v for k, v in base()["model"]["vocab"].items() if k not in ("é", "漢")}
    for fuse in (False, True):
        yield f"unknown {fuse}", base(
            model={"vocab": vocab, "unk_token": "<s>", "byte_fallback": True, "fuse_unk": fuse}
        ), ["漢é漢漢é", "a漢漢b", "é漢"]
    yield "unknown added alone", base(model={"unk_token": "<unk>"}, added_tokens=[ADDED(n, "<unk>", special=True)]), [
        "ab<unk>",
        "foo",
    ]


def decoded(tokenizer, ids):
    """None where the package panics: its Strip counts beyond a short text."""
    try:
        return tokenizer.decode(ids, skip_special_tokens=False)
    except BaseException as error:
        if "PanicException" not in type(error).__name__:
            raise
        return None


def kinds():
    vocab = base()["model"]["vocab"]
    n = len(vocab)
    load = lambda tokenizer: tokenizers.Tokenizer.from_str(json.dumps(tokenizer))
    texts = TEXTS[:-1] + ["  \t lead Ünï Ā\u0327 trail \n"]
    result = {
        "versions": {"tokenizers": tokenizers.__version__},
        "base": base(),
        "texts": texts,
        "every_character": every_character(),
    }
    result["normalizer"] = [
        [part, [load(base(normalizer=part)).normalizer.normalize_str(t) for t in texts]] for part in NORMALIZERS
    ]
    result["pre_tokenizer"] = [
        [part, [[w for w, _ in load(base(pre_tokenizer=part)).pre_tokenizer.pre_tokenize_str(t)] for t in texts]]
        for part in PRE_TOKENIZERS
    ]
    result["post_processor"] = [
        [part, load(base(post_processor=part)).encode("ab c").ids] for part in post_processors(vocab)
    ]
    result["decoder"] = [
        [part, [decoded(load(base(decoder=part)), [vocab[t] for t in tokens]) for tokens in DECODED]]
        for part in DECODERS
    ]
    result["decoded"] = [[vocab[t] for t in tokens] for tokens in DECODED]
    result["added"] = [
        {
            "name": name,
            "tokenizer": {k: v for k, v in t.items() if v != base()[k]},
            "texts": ts,
            "ids": [load(t).encode(x, add_special_tokens=False).ids for x in ts],
        }
        for name, t, ts in added_cases(n)
    ]
    return result


def folders():
    """What transformers makes of the files beside a tokenizer."""
    import transformers

    n = len(base()["model"]["vocab"])
    token = (
        lambda content, **more: {
            "__type": "AddedToken",
            "content": content,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
        }
        | more
    )
    bos = base()["model"]["vocab"]["<s>"]
    template = post_processors(base()["model"]["vocab"])[3]
    decoder = lambda *tokens: {
        "added_tokens_decoder": {
            str(i): {k: v for k, v in token(c).items() if k != "__type"} | {"special": s} | more
            for i, c, s, more in tokens
        }
    }
    slow = {
        "vocab.json": {"Ġ": 0, "a": 1, "b": 2, "ab": 3, "<": 4, "x": 5, ">": 6, "<|endoftext|>": 7, "y": 8},
        "merges.txt": "#version: 0.2\na b\n#version: 1\n",
    }
    config = lambda **c: {"tokenizer_config.json": c}
    one = {"tokenizer.json": {}}
    cases = {
        "named tokens of the config": one
        | config(bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<x>"),
        "named tokens as objects": one
        | config(pad_token=token("<x>", lstrip=True), mask_token=token("<y>", rstrip=True)),
        "additional special tokens": one | config(additional_special_tokens=["<x>", "<y>"], sep_token="<z>"),
        "extra special tokens": one | config(extra_special_tokens=["<y>"], image_token="<x>"),
        "extra special tokens with names": one
        | config(extra_special_tokens={"image_token": "<x>", "boi_token": "<y>"}),
        "added_tokens_decoder": one
        | config(**decoder((n, "<x>", True, {}), (n + 1, "<y>", False, {"rstrip": True}), (bos, "<s>", True, {}))),
        "added_tokens_decoder over tokenizer.json": {"tokenizer.json": {"added_tokens": [ADDED(n, "<x>")]}}
        | config(**decoder((n, "<x>", True, {"lstrip": True}))),
        "special_tokens_map": one
        | {
            "special_tokens_map.json": {
                "pad_token": {k: v for k, v in token("<x>", rstrip=True).items() if k != "__type"},
                "eos_token": "</s>",
                "additional_special_tokens": ["<y>"],
            }
        },
        "special_tokens_map beside added_tokens_decoder": one
        | config(**decoder((n, "<y>", True, {})))
        | {"special_tokens_map.json": {"pad_token": "<x>"}},
        "special_tokens_map over the config": one
        | config(pad_token="<y>")
        | {"special_tokens_map.json": {"pad_token": "<x>"}},
        "added_tokens.json": one | {"added_tokens.json": {"<y>": n + 1, "<x>": n}} | config(pad_token="<x>"),
        "added_tokens.json beside tokenizer.json's": {
            "tokenizer.json": {"added_tokens": [ADDED(n, "<x>", rstrip=True)]},
            "added_tokens.json": {"<y>": n + 1, "<x>": n},
        },
        "post_processor and add_bos_token": {"tokenizer.json": {"post_processor": template}}
        | config(
            bos_token="<s>",
            eos_token="</s>",
            add_bos_token=False,
            add_eos_token=True,
            tokenizer_class="PreTrainedTokenizerFast",
        ),
        "post_processor and add_bos_token without a class": {"tokenizer.json": {"post_processor": template}}
        | config(bos_token="<s>", add_bos_token=False),
        "no post_processor and add_bos_token": one
        | config(bos_token="<s>", add_bos_token=True, tokenizer_class="PreTrainedTokenizerFast"),
        "Qwen2": slow | config(tokenizer_class="Qwen2Tokenizer", additional_special_tokens=["<x>"]),
        "Qwen2 with a token of its own": slow
        | config(tokenizer_class="Qwen2Tokenizer", eos_token="<y>", pad_token="<x>", unk_token=None, bos_token=None),
        "Qwen2 with added_tokens_decoder": slow
        | config(
            tokenizer_class="Qwen2Tokenizer",
            **decoder((7, "<|endoftext|>", True, {}), (9, "<x>", True, {}), (10, "<y>", False, {})),
        ),
        "Qwen2 with BOS and EOS": slow
        | config(tokenizer_class="Qwen2Tokenizer", bos_token="<x>", add_bos_token=True, add_eos_token=True),
        "Qwen2 with a space before": slow | config(tokenizer_class="Qwen2Tokenizer", add_prefix_space=True),
        "GPT2": slow
        | config(tokenizer_class="GPT2Tokenizer", pad_token="<x>")
        | {"special_tokens_map.json": {"mask_token": "<y>"}},
        "GPT2 with BOS": slow | config(tokenizer_class="GPT2TokenizerFast", add_bos_token=True),
        "GPT2 with a space before": slow | config(tokenizer_class="GPT2Tokenizer", add_prefix_space=True),
        "GPT2 with added_tokens.json": slow
        | config(tokenizer_class="GPT2Tokenizer")
        | {"added_tokens.json": {"<x>": 9, "<y>": 10}},
    }
    texts = ["ab<x> <y> b", "a <s>b</s> <pad>", " ab  <z>", "<|endoftext|>ab <y>  a", "<x>"]
    result = []
    for name, files in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            for file, content in files.items():
                whole = base(**content) if file == "tokenizer.json" else content
                (pathlib.Path(folder) / file).write_text(whole if isinstance(whole, str) else json.dumps(whole))
            # As texts, for the order of their keys counts; tokenizer.json by what the base lacks.
            texts_of = {
                f: c if isinstance(c, str) or f == "tokenizer.json" else json.dumps(c) for f, c in files.items()
            }
            by_class = {"Qwen2Tokenizer": transformers.Qwen2Tokenizer, "GPT2Tokenizer": transformers.GPT2Tokenizer}
            kind = files.get("tokenizer_config.json", {}).get("tokenizer_class", "").removesuffix("Fast")
            made = by_class.get(kind, transformers.PreTrainedTokenizerFast).from_pretrained(folder)
            ids = [made(text).input_ids for text in texts]
            result.append(
                {
                    "name": name,
                    "files": texts_of,
                    "ids": ids,
                    "skipped": [made.decode(i, skip_special_tokens=True) for i in ids],
                    "bos": made.bos_token_id,
                    "eos": made.eos_token_id,
                }
            )
    return {
        "versions": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__},
        "base": base(),
        "texts": texts,
        "folders": result,
    }


def main():
    for name, make in {"patterns": patterns, "kinds": kinds, "folders": folders}.items():
        text = json.dumps(make(), ensure_ascii=True, separators=(",", ":"))
        (OUT / f"{name}.json").write_text(text + "\n")
        print(name, len(text))


if __name__ == "__main__":
    main()
