#include "checkpoint/output_folder.h"

#include <algorithm>
#include <array>

namespace emberq {
namespace {

using std::operator""sv;

constexpr std::array kCompanions = {
    "tokenizer.json"sv,
    "tokenizer.model"sv,
    "tokenizer_config.json"sv,
    "special_tokens_map.json"sv,
    "added_tokens.json"sv,
    "vocab.json"sv,
    "merges.txt"sv,
    "generation_config.json"sv,
};
constexpr std::array kCompanionPrefixes = {"chat_template."sv, "LICENSE"sv, "LICENCE"sv, "NOTICE"sv,
                                           "USE_POLICY"sv};

bool is_companion(const std::string& name) {
  return std::ranges::find(kCompanions, name) != kCompanions.end() ||
         std::ranges::any_of(kCompanionPrefixes,
                             [&](std::string_view prefix) { return name.starts_with(prefix); });
}

}  // namespace

void copy_companion_files(const fs::path& from, const fs::path& to) {
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    const fs::path name = entry.path().filename();
    if (!entry.is_regular_file() || !is_companion(name.string())) continue;
    const MappedFile source(entry.path());
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
