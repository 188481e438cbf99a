#include "quant/run_notes.h"

#include <algorithm>

#include "base/check.h"
#include "base/hash.h"
#include "base/json.h"

namespace emberq {
namespace {

constexpr std::string_view kName = "quantize.json";
constexpr size_t kPieces = 16, kPieceBytes = 4096;

void add_tensor(const std::string& name, const StoredTensor& tensor, Hash& hash) {
  hash.add(name);
  hash.add(tensor.type);
  hash.add(shape_text(tensor.shape));
  const std::span<const std::byte> bytes = tensor.bytes;
  if (bytes.size() <= kPieces * kPieceBytes) return hash.add(bytes);
  for (size_t i = 0; i + 1 < kPieces; ++i)
    hash.add(bytes.subspan((bytes.size() - kPieceBytes) / (kPieces - 1) * i, kPieceBytes));
  hash.add(bytes.last(kPieceBytes));
}

std::string hash_of(std::string_view text) {
  Hash hash;
  hash.add(text);
  return hash.hex();
}

OrderedJson files_json(const Checkpoint& original) {
  OrderedJson json = OrderedJson::object();
  for (const SafetensorsFile& file : original.files()) {
    const FileStamp stamp = stamp_of(file.path());
    json[file.path().filename().string()] = {{"bytes", stamp.bytes},
                                             {"modified_ns", stamp.modified_ns}};
  }
  return json;
}

std::string weights_hash(const Checkpoint& original) {
  Hash hash;
  for (const std::string& name : original.names()) {
    add_tensor(name, original.stored(name), hash);
    original.forget_pages();
  }
  return hash.hex();
}

OrderedJson texts_json(const std::vector<fs::path>& texts) {
  OrderedJson json = OrderedJson::array();
  for (const fs::path& text : texts) json.push_back(hash_of(read_text(text)));
  return json;
}

OrderedJson tokens_json(const CalibrationWindows& windows) {
  Hash hash;
  for (const std::vector<int>& window : windows.ids) hash.add(std::as_bytes(std::span(window)));
  return {{"windows", windows.ids.size()}, {"length", windows.length}, {"ids", hash.hex()}};
}

std::string windows_text(const OrderedJson& tokens) {
  return fmt::format("{} windows of {} tokens", tokens["windows"].dump(), tokens["length"].dump());
}

// What is not the same, as the end of "OUT.partial ...".
std::string difference(const OrderedJson& was, const OrderedJson& is,
                       const std::vector<fs::path>& texts) {
  const auto differs = [&](const char* key) { return was[key] != is[key]; };
  if (was["recipe"]["name"] != is["recipe"]["name"])
    return fmt::format("was made with the recipe {}, not with {}", was["recipe"]["name"].dump(),
                       is["recipe"]["name"].dump());
  if (differs("recipe"))
    return fmt::format("was made with other settings of the recipe {}: {}, not {}",
                       is["recipe"]["name"].dump(), was["recipe"].dump(), is["recipe"].dump());
  if (differs("config")) return "was made with another config.json of the model";
  for (const auto& [file, stamp] : is["files"].items())
    if (!was["files"].contains(file) || was["files"][file] != stamp)
      return fmt::format(
          "was made with another {} of the model, of another size or time of writing", file);
  if (differs("files") || differs("weights")) return "was made with other weights of the model";
  if (was["texts"].size() != texts.size())
    return fmt::format("was made with {} calibration texts, not with {}", was["texts"].size(),
                       texts.size());
  for (size_t i = 0; i < texts.size(); ++i)
    if (was["texts"][i] != is["texts"][i])
      return fmt::format("was made with another calibration text than {} holds now",
                         texts[i].string());
  const OrderedJson &before = was["tokens"], &now = is["tokens"];
  if (windows_text(before) != windows_text(now))
    return fmt::format("was made with {}, not with {}", windows_text(before), windows_text(now));
  return "was made with another tokenizer: the calibration text has other tokens now";
}

}  // namespace

OrderedJson run_identity(const Checkpoint& original, const Recipe& recipe,
                         const std::vector<fs::path>& texts, const CalibrationWindows& windows) {
  return {{"recipe", to_json(recipe)},
          {"config", hash_of(read_text(original.folder() / "config.json"))},
          {"files", files_json(original)},
          {"weights", weights_hash(original)},
          {"texts", texts_json(texts)},
          {"tokens", tokens_json(windows)}};
}

RunNotes::RunNotes(const fs::path& folder, const OrderedJson& identity,
                   const std::vector<fs::path>& texts)
    : folder_(folder),
      path_(folder / kName),
      aside_(folder.string() + ".json"),
      identity_(identity) {
  if (file_exists(aside_) && !file_exists(path_)) {
    // Of a folder that was whole, or left over from one that has been renamed.
    entries_of(folder).empty() ? remove_file(aside_) : rename_file(aside_, path_);
  }
  file_exists(path_) ? go_on(texts) : begin();
}

void RunNotes::go_on(const std::vector<fs::path>& texts) {
  const OrderedJson notes = read_ordered_json(path_);
  const auto has = [](const OrderedJson& json, const std::string& key) {
    return json.is_object() && json.contains(key);
  };
  bool whole = has(notes, "run") && has(notes, "blocks") && notes["blocks"].is_array();
  for (const auto& [key, value] : identity_.items()) whole = whole && has(notes["run"], key);
  EMBERQ_REQUIRE(whole, "{} is of another version of emberq", path_.string());
  EMBERQ_REQUIRE(notes["run"] == identity_, "{} {}", folder_.string(),
                 difference(notes["run"], identity_, texts));
  for (const OrderedJson& block : notes["blocks"])
    blocks_.push_back(parse_emberq_config(block, path_.string()));
}

void RunNotes::begin() {
  for (const fs::path& entry : entries_of(folder_))
    // A run that ended while it began them left this, and nothing else.
    EMBERQ_REQUIRE(entry == path_.string() + ".partial",
                   "{} holds {} but no {}: it is not what a run left to go on with",
                   folder_.string(), entry.filename().string(), kName);
  write();
}

void RunNotes::add(EmberqConfig block) {
  blocks_.push_back(std::move(block));
  write();
}

void RunNotes::put_aside() { rename_file(path_, aside_); }

void RunNotes::remove() { remove_file(aside_); }

void RunNotes::write() const {
  OrderedJson blocks = OrderedJson::array();
  for (const EmberqConfig& block : blocks_) blocks.push_back(to_json(block));
  const OrderedJson notes = {{"run", identity_}, {"blocks", blocks}};
  write_file_atomically(path_, notes.dump() + "\n");
}

bool has_run_notes(const fs::path& partial) {
  std::error_code ignored;  // what cannot be looked at is nothing to go on with
  return fs::exists(partial / kName, ignored) ||
         (fs::is_directory(partial, ignored) && fs::exists(partial.string() + ".json", ignored));
}

}  // namespace emberq
