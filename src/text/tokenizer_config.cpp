#include "text/tokenizer_config.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/check.h"
#include "base/json.h"

namespace emberq {
namespace {

// The special tokens that transformers knows by name; it takes every other key that ends in _token
// and has a token for a value for one more, and adds them in this order.
constexpr std::array<std::string_view, 7> kNames = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

struct Named {
  std::string name;
  std::optional<AddedToken> token;
};

class Reader {
 public:
  explicit Reader(const SpecialTokenNames& defaults) {
    for (const std::string_view name : kNames) named_.push_back({std::string(name), {}});
    for (const auto& [name, content] : defaults)
      set(std::string(name), AddedToken::special_token(std::string(content)));
  }

  void read_config(const fs::path& path);
  void read_special_tokens_map(const fs::path& path);
  void read_added_tokens(const fs::path& path, const AddedTokens& known);

  bool has_decoder() const { return has_decoder_; }
  std::optional<std::string> content_of(std::string_view name) const;
  std::vector<AddedToken> tokens(const AddedTokens& known) const;

 private:
  void set(const std::string& name, std::optional<AddedToken> token);
  void set_all(const JsonObject& file, const OrderedJson& ordered, bool every_key);
  void read_decoder(const JsonObject& decoder);
  void append_extra(const JsonObject& file, const OrderedJson& ordered, const std::string& key);

  std::vector<Named> named_;
  std::map<int, AddedToken> by_id_;
  std::vector<AddedToken> extra_;
  bool has_decoder_ = false, has_extra_ = false;
};

// A token by its content, or as an object; nullopt for any other value.
std::optional<AddedToken> parse_token(const JsonObject& object, const std::string& key) {
  const Json& value = object.json().at(key);
  if (value.is_string()) return AddedToken::special_token(value.get<std::string>());
  if (!value.is_object() || !value.contains("content")) return std::nullopt;
  AddedToken token = AddedToken::parse(object.object(key), true);
  token.special = true;
  return token;
}

void Reader::set(const std::string& name, std::optional<AddedToken> token) {
  const auto found =
      std::find_if(named_.begin(), named_.end(), [&](const Named& n) { return n.name == name; });
  if (found != named_.end())
    found->token = std::move(token);
  else if (token)
    named_.push_back({name, std::move(token)});
}

// Of the keys in the file's order, those that name tokens.
void Reader::set_all(const JsonObject& file, const OrderedJson& ordered, bool every_key) {
  for (const auto& [key, value] : ordered.items()) {
    std::optional<AddedToken> token = parse_token(file, key);
    const bool is_name = std::find(kNames.begin(), kNames.end(), key) != kNames.end();
    if (token ? every_key || key.ends_with("_token") : is_name && value.is_null())
      set(key, std::move(token));
    else if (is_name)
      file.reject(key, "must be a token");
  }
}

void Reader::append_extra(const JsonObject& file, const OrderedJson& ordered,
                          const std::string& key) {
  if (!file.has(key)) return;
  if (file.at(key).is_object()) {  // tokens with names of the model's own
    const JsonObject names = file.object(key);
    for (const auto& [name, value] : ordered.at(key).items()) set(name, parse_token(names, name));
    return;
  }
  for (const Json& value : file.array(key)) {
    if (value.is_string())
      extra_.push_back(AddedToken::special_token(value.get<std::string>()));
    else
      extra_.push_back(AddedToken::parse(JsonObject(value, file.where()), true));
  }
  has_extra_ = has_extra_ || !extra_.empty();
}

void Reader::read_decoder(const JsonObject& decoder) {
  has_decoder_ = true;
  for (const auto& [key, value] : decoder.json().items()) {
    int id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0)
      decoder.reject(key, "must be an id's");
    AddedToken token = AddedToken::parse(decoder.object(key), false);
    token.id = id;
    by_id_[id] = std::move(token);
  }
}

void Reader::read_config(const fs::path& path) {
  const Json json = read_json(path);
  const JsonObject config(json, path.string());
  const OrderedJson ordered = read_ordered_json(path);
  set_all(config, ordered, false);
  append_extra(config, ordered, "extra_special_tokens");
  if (!has_extra_) append_extra(config, ordered, "additional_special_tokens");
  if (config.has("added_tokens_decoder")) read_decoder(config.object("added_tokens_decoder"));
}

void Reader::read_special_tokens_map(const fs::path& path) {
  const Json json = read_json(path);
  const JsonObject map(json, path.string());
  const OrderedJson ordered = read_ordered_json(path);
  set_all(map, ordered, true);
  const bool had_extra = has_extra_;
  append_extra(map, ordered, "extra_special_tokens");
  if (!had_extra) append_extra(map, ordered, "additional_special_tokens");
}

void Reader::read_added_tokens(const fs::path& path, const AddedTokens& known) {
  const Json json = read_json(path);
  const JsonObject added(json, path.string());
  const auto is_special = [&](const std::string& content) {
    return std::any_of(kNames.begin(), kNames.end(),
                       [&](std::string_view name) { return content_of(name) == content; }) ||
           std::any_of(extra_.begin(), extra_.end(),
                       [&](const AddedToken& token) { return token.content == content; });
  };
  for (const auto& [content, value] : added.json().items()) {
    AddedToken token{.id = added.get<int>(content), .content = content};
    if (known.find(content)) continue;  // tokenizer.json knows more of it
    token.special = is_special(content);
    token.normalized = !token.special;
    by_id_[*token.id] = std::move(token);
  }
}

std::optional<std::string> Reader::content_of(std::string_view name) const {
  for (const Named& named : named_)
    if (named.name == name && named.token) return named.token->content;
  return std::nullopt;
}

std::vector<AddedToken> Reader::tokens(const AddedTokens& known) const {
  std::vector<AddedToken> tokens;
  for (const auto& [id, token] : by_id_) {
    tokens.push_back(token);
    for (const Named& named : named_)
      if (named.token && named.token->content == token.content) tokens.back().special = true;
  }
  const auto add = [&](const AddedToken& token) {
    if (known.find(token.content)) return;
    for (const AddedToken& other : tokens)
      if (other.content == token.content) return;
    tokens.push_back(token);
  };
  for (const Named& named : named_)
    if (named.token) add(*named.token);
  for (const AddedToken& token : extra_) add(token);
  return tokens;
}

}  // namespace

TokenizerConfig TokenizerConfig::read(const fs::path& folder, const AddedTokens& known,
                                      const SpecialTokenNames& defaults) {
  const fs::path path = folder / "tokenizer_config.json";
  TokenizerConfig config{.where = path.string()};
  Reader reader(defaults);
  if (file_exists(path)) {
    reader.read_config(path);
    const Json json = read_json(path);
    const JsonObject object(json, path.string());
    if (object.has("add_bos_token")) config.add_bos_token = object.get<bool>("add_bos_token");
    if (object.has("add_eos_token")) config.add_eos_token = object.get<bool>("add_eos_token");
    config.add_prefix_space = object.get_or("add_prefix_space", false);
  }
  const fs::path map = folder / "special_tokens_map.json", added = folder / "added_tokens.json";
  if (!reader.has_decoder() && file_exists(map)) reader.read_special_tokens_map(map);
  if (!reader.has_decoder() && file_exists(added)) reader.read_added_tokens(added, known);
  config.tokens = reader.tokens(known);
  config.bos_token = reader.content_of("bos_token");
  config.eos_token = reader.content_of("eos_token");
  return config;
}

}  // namespace emberq
