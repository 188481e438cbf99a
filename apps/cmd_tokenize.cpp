#include <fmt/format.h>

#include <charconv>

#include "apps/app.h"
#include "base/check.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/json.h"
#include "base/print.h"
#include "text/read_utf8.h"
#include "text/tokenizer.h"

namespace emberq {
namespace {

struct TokenizeArguments {
  std::string model, text;
  bool no_special = false, decode = false, json = false;
};

// Ids with anything but digits between them: "[1, 2, 3]", "1 2 3", one a line.
std::vector<int> parse_ids(const std::string& text, const std::string& file, int vocabulary) {
  std::vector<int> ids;
  const char *at = text.data(), *end = at + text.size();
  while (true) {
    while (at < end && (*at == ' ' || *at == ',' || *at == '[' || *at == ']' || *at == '\n' ||
                        *at == '\r' || *at == '\t'))
      ++at;
    if (at == end) return ids;
    check_interrupt();
    int id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    EMBERQ_REQUIRE(error == std::errc() && id >= 0 && id < vocabulary,
                   "{}: at byte {} there is no token id from 0 to {}", file, at - text.data(),
                   vocabulary - 1);
    ids.push_back(id);
    at = next;
  }
}

void run(const TokenizeArguments& options) {
  const Tokenizer tokenizer = Tokenizer::load(options.model);
  if (options.decode) {
    const std::vector<int> ids =
        parse_ids(read_text(options.text), options.text, tokenizer.vocab_size());
    const std::string decoded =
        tokenizer.decode(ids, options.no_special ? SkipSpecial::kYes : SkipSpecial::kNo);
    if (options.json) return print_json({{"text", decoded}, {"count", ids.size()}});
    return write_out(decoded);
  }
  const std::vector<int> ids = tokenizer.encode(
      read_utf8(options.text), options.no_special ? SpecialTokens::kNone : SpecialTokens::kAdd);
  if (options.json) return print_json({{"ids", ids}, {"count", ids.size()}});
  for (const int id : ids) {
    check_interrupt();
    print_out("{}\n", id);
  }
}

}  // namespace

void add_tokenize(Command& app) {
  Command command = app.subcommand("tokenize", "Token ids of a text, or the text of token ids");
  const auto options = std::make_shared<TokenizeArguments>();
  command.option("MODEL", options->model, "A model folder, or a folder with a tokenizer alone")
      .required();
  command.option("--text", options->text, "The text, or with --decode the ids: a file").required();
  command.flag("--no-special", options->no_special,
               "Add no special tokens; with --decode, leave them out");
  command.flag("--decode", options->decode, "From ids back to text");
  command.flag("--json", options->json, "Print one JSON object: ids and count, or text and count");
  command.action([options] { run(*options); });
}

}  // namespace emberq
