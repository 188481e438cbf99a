#include "checkpoint/output_folder.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "base/json.h"

namespace emberq {
namespace {

constexpr std::string_view kCompanions[] = {
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
};
constexpr std::string_view kCompanionPrefixes[] = {"chat_template.", "LICENSE", "LICENCE", "NOTICE",
                                                   "USE_POLICY"};

bool is_companion(const std::string& name) {
  return std::ranges::find(kCompanions, name) != std::end(kCompanions) ||
         std::ranges::any_of(kCompanionPrefixes,
                             [&](std::string_view prefix) { return name.starts_with(prefix); });
}

}  // namespace

void copy_companion_files(const fs::path& from, const fs::path& to) {
  for (const fs::path& path : entries_of(from)) {
    const fs::path name = path.filename();
    if (!is_companion(name.string()) || is_folder(path)) continue;
    const MappedFile source(path);
    FileWriter copy(to / name);
    copy.write(source.bytes());
    copy.close();
  }
}

void write_config(const fs::path& from, const fs::path& to, const OrderedJson& changes) {
  OrderedJson config = read_ordered_json(from / "config.json");
  for (const auto& [key, value] : changes.items()) config[key] = value;
  write_text(to / "config.json", config.dump(2) + "\n");
}

}  // namespace emberq
