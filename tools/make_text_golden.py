"""Writes tests/golden/text/: sample texts, and what the tokenizers and tiktoken packages make of them.

    pip install tokenizers tiktoken
    python3 tools/make_text_golden.py ../shared

golden.json: of each tokenizer, the ids of each sample, and of WikiText-2's test text the number of ids and
the FNV-1a hash (64 bits) of the ids as little-endian 32-bit words. The vocabularies of others stay outside
the tree: their licences are not ours.
"""
import base64
import json
import pathlib
import sys

import tiktoken
import tokenizers

OUT = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "text"

MULTILINGUAL = (
    "The quick brown fox. Ça va? Übergröße — naïve façade… Ελληνικά, Кириллица, עברית, العربية ١٢٣, "
    "हिन्दी क्षत्रिय, ไทยไม่มีช่องว่าง, 中文字符,日本語のテキスト、カタカナ、한국어 ㅎㅏㄴ, "
    "Tiếng Việt, İstanbul ıI ſs K \u0130\u0131, é e\u0301 ô o\u0302 \u1100\u1161\u11a8 각, ﬁ ﬀ ² ½ Ⅳ ① Å Ω, "
    "emoji: 😀 👍🏽 👨‍👩‍👧‍👦 🇫🇷🇩🇪 ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🫠 1️⃣, math ∑∫√∞≠ 𝔘𝔫𝔦 𝟘𝟙, "
    "numbers 1 12 123 1234 12345678 3.14 1,000 ½ ٣ Ⅷ, they're WE'VE I'M he'd it'll 'Twas don't'S\n"
)
CODE = (
    "#include <cstdio>\r\n\r\nint main(int argc, char** argv) {\r\n\tfor (int i = 0; i < 10; ++i) {\r\n"
    '\t\tprintf("%d\\n", i);   // spaces   and\ttabs\r\n\t}\r\n}\r\n\n\n'
    "def f(x):\n    if x  >  0:\n        return {'a': [1, 2, 3], \"b\": None}\n\n\n    # comment\n"
    "        \n    return x**2 if x else -1_000\n" + " " * 40 + "x\n" + "\t" * 9 + "y\n" + "=" * 77 + "\n\n\n\n"
    "https://example.com/a/b?c=d&e=f#g user@host.org C:\\path\\file.txt $HOME ~/.x 0xFF 1e-9 a+=b<<=2 @@@\n"
)
CONTROL = (
    "".join(map(chr, range(0x20)))
    + "\x7f"
    + "".join(map(chr, range(0x80, 0xA1)))
    + "\u00ad\u034f\u061c\u115f\u1680\u180e\u2000\u2003\u2007\u2009\u200a\u200b\u200c\u200d\u200e\u2028\u2029"
    + "\u202f\u205f\u2060\u3000\ufeff\ufffd\ufffe\uffff\ue000\U000f0000\U0010fffd\U0001fffe"
    + " a\u180eb \u180e c\u2003d \x85 e\x0b\x0c f\u00a0 \u00a0g\n \n  \n\t\n"
)
SPECIAL = (
    "<|begin_of_text|>hello<|eot_id|> <|start_header_id|>user<|end_header_id|>\n\nhi<|end_of_text|><s>a</s> <s> "
    "<unk><|im_start|>system\nx<|im_end|><|endoftext|><|fim_prefix|><tool_call>{}</tool_call> <|not_a_token|><|im_start"
)
SAMPLES = {
    "multilingual": MULTILINGUAL,
    "code": CODE,
    "control": CONTROL,
    "special": SPECIAL,
    "empty": "",
    "space": " ",
    "spaces": "      ",
    "newlines": "\n\n\n",
    "leading_space": "  a",
    "letter": "a",
    "long_word": "ab" * 500,
    "long_spaces": " " * 1000 + "a" + "\n" * 200,
}

# The regex and special tokens that Llama 3's reference code gives to tiktoken.
LLAMA3_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_REGEX = LLAMA3_REGEX.replace(r"\p{N}{1,3}", r"\p{N}")


def llama3(path):
    ranks = {}
    for line in path.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    names = ["<|begin_of_text|>", "<|end_of_text|>"]
    names += [f"<|reserved_special_token_{i}|>" for i in range(4)]
    names += ["<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>"]
    names += [f"<|reserved_special_token_{i}|>" for i in range(5, 251)]
    special = {name: len(ranks) + i for i, name in enumerate(names)}
    encoding = tiktoken.Encoding("llama3", pat_str=LLAMA3_REGEX, mergeable_ranks=ranks, special_tokens=special)
    return lambda text: encoding.encode(text, allowed_special="all"), lambda ids: encoding.decode(ids)


def of_file(path):
    return of_tokenizer(tokenizers.Tokenizer.from_file(str(path)))


def of_tokenizer(tokenizer):
    return (
        lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        lambda ids: tokenizer.decode(ids, skip_special_tokens=False),
    )


def qwen2(folder):
    """As transformers' Qwen2Converter puts it together."""
    model = tokenizers.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(QWEN2_REGEX), behavior="isolated", invert=False)
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    added = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    for _, token in sorted(added.items(), key=lambda item: int(item[0])):
        special = token.pop("special")
        made = tokenizers.AddedToken(**token, special=special)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([made])
    return of_tokenizer(tokenizer)


def fnv1a(ids):
    value = 0xCBF29CE484222325
    for i in ids:
        for byte in i.to_bytes(4, "little"):
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def main(shared):
    data = shared / "data" / "tokenizers"
    wiki = (shared / "data" / "wikitext2" / "wiki.test.gptqjoin.txt").read_bytes().decode()
    golden = {
        "versions": {"tokenizers": tokenizers.__version__, "tiktoken": tiktoken.__version__},
        "samples": SAMPLES,
        "tokenizers": {},
    }
    made = {
        "small-wiki": of_file(shared / "models" / "small-wiki" / "tokenizer.json"),
        "llama3": llama3(data / "llama3" / "tokenizer.model"),
        "qwen2.5": qwen2(data / "qwen2.5"),
        "llama2": of_file(data / "llama2" / "tokenizer.derived.json"),
        "mistral": of_file(data / "mistral" / "tokenizer.v1.derived.json"),
    }
    for name, (encode, decode) in made.items():
        ids = encode(wiki)
        golden["tokenizers"][name] = {
            "wikitext2": {"count": len(ids), "fnv1a": fnv1a(ids)},
            "samples": {s: {"ids": encode(text), "text": decode(encode(text))} for s, text in SAMPLES.items()},
        }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "golden.json").write_text(json.dumps(golden, indent=0, separators=(",", ":")).replace(",\n", ",") + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
