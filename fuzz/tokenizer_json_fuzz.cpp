// Any bytes as tokenizer.json: refused with an InputError, or a tokenizer that encodes and decodes
// without a fault.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace emberq;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    const Tokenizer tokenizer = parse_tokenizer_json(parse_json(input, "fuzz"), "fuzz");
    // The file's own end for a text: what it holds is likely to be in its vocabulary.
    const std::string text =
        "a b  \n" + lossy_utf8(input.substr(size - std::min<size_t>(size, 40)));
    const std::vector<int> ids = tokenizer.encode(text, SpecialTokens::kAdd);
    const std::string decoded = tokenizer.decode(ids);
    Detokenizer stream(tokenizer, SkipSpecial::kNo);
    std::string streamed;
    for (const int id : ids) streamed += stream.add(id);
    if (streamed + stream.finish() != decoded) __builtin_trap();
  } catch (const InputError&) {
  }
  return 0;
}
