// tokenizer.json, the tokenizers package's one-file form.
#include <climits>

#include "base/check.h"
#include "base/json.h"
#include "text/tokenizer.h"

namespace emberq {
namespace {

Bpe parse_model(const JsonObject& model) {
  const std::string& where = model.where();
  // Files from before the package named the model's type have only BPE's keys.
  if (model.get_or<std::string>("type", "BPE") != "BPE") model.reject("type", "must be BPE");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!model.get_or<std::string>(key, "").empty()) model.reject(key, "is not supported");
  if (model.get_or("dropout", 0.0) != 0) model.reject("dropout", "is not supported");

  Vocabulary vocabulary;
  const JsonObject tokens = model.object("vocab");
  for (const auto& [token, id] : tokens.json().items()) {
    if (!id.is_number_integer()) tokens.reject(token, "must be an id");
    vocabulary.add(token, id.get<int64_t>(), where);
  }
  Bpe::Options options{.byte_fallback = model.get_or("byte_fallback", false),
                       .ignore_merges = model.get_or("ignore_merges", false),
                       .fuse_unk = model.get_or("fuse_unk", false),
                       .unk_token = model.get_or<std::string>("unk_token", "")};
  Bpe bpe(std::move(vocabulary), std::move(options));
  for (const Json& merge : model.array("merges")) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      bpe.add_merge(merge[0].get<std::string>(), merge[1].get<std::string>(), where);
      continue;
    }
    EMBERQ_REQUIRE(merge.is_string(), "{}: a merge must be two tokens, got {}", where,
                   merge.dump(-1, ' ', false, Json::error_handler_t::replace));
    bpe.add_merge_line(merge.get<std::string>(), where);
  }
  return bpe;
}

struct Around {
  std::vector<int> prefix, suffix;
};

Around parse_template(const JsonObject& json) {
  Around around;
  int texts = 0;
  const JsonObject specials = json.object("special_tokens");
  for (const Json& piece : json.array("single")) {
    const JsonObject object(piece, json.where());
    if (object.has("Sequence")) {
      if (object.object("Sequence").get_or<std::string>("id", "A") != "A" || texts++ > 0)
        json.reject("single", "must have the text A once");
      continue;
    }
    const auto name = object.object("SpecialToken").get<std::string>("id");
    for (const int id : specials.object(name).get<std::vector<int>>("ids"))
      (texts > 0 ? around.suffix : around.prefix).push_back(id);
  }
  if (texts == 0) json.reject("single", "must have the text A once");
  return around;
}

// "cls": ["<s>", 0]
int parse_text_and_id(const JsonObject& json, std::string_view key) {
  const Json& pair = json.array(key);
  if (pair.size() != 2 || !pair[1].is_number_integer())
    json.reject(key, "must be a token and its id");
  const auto id = pair[1].get<int64_t>();
  if (id < 0 || id > INT_MAX) json.reject(key, "must be a token and its id");
  return int(id);
}

// What a post-processor puts around one text.
Around parse_post_processor(const JsonObject& json) {
  const auto type = json.get<std::string>("type");
  if (type == "TemplateProcessing") return parse_template(json);
  if (type == "BertProcessing" || type == "RobertaProcessing")
    return {{parse_text_and_id(json, "cls")}, {parse_text_and_id(json, "sep")}};
  if (type == "ByteLevel") return {};  // it changes offsets alone
  if (type != "Sequence")
    json.reject("type",
                "of a post-processor must be TemplateProcessing, BertProcessing, "
                "RobertaProcessing, ByteLevel or Sequence");
  Around around;
  for (const Json& part : json.array("processors")) {
    Around next = parse_post_processor(JsonObject(part, json.where()));
    if (next.prefix.empty() && next.suffix.empty()) continue;
    if (!around.prefix.empty() || !around.suffix.empty())
      json.reject("processors", "may have one that adds tokens, not two");
    around = std::move(next);
  }
  return around;
}

}  // namespace

Tokenizer parse_tokenizer_json(const Json& json, const std::string& where) {
  const JsonObject file(json, where);
  Tokenizer tokenizer;
  tokenizer.model_ = parse_model(file.object("model"));
  if (file.has("normalizer")) tokenizer.normalizer_ = Normalizer::parse(file.object("normalizer"));
  if (file.has("pre_tokenizer"))
    tokenizer.pre_tokenizer_ = PreTokenizer::parse(file.object("pre_tokenizer"));
  if (file.has("decoder")) tokenizer.decoder_ = Decoder::parse(file.object("decoder"));
  if (file.has("added_tokens")) {
    std::vector<AddedToken> tokens;
    for (const Json& value : file.array("added_tokens")) {
      const JsonObject token(value, where);
      tokens.push_back(AddedToken::parse(token, false));
      tokens.back().id = token.get<int>("id");
    }
    tokenizer.added_.add(tokens, tokenizer.model_.vocabulary(), where);
  }
  tokenizer.added_.finish(tokenizer.normalizer_);
  if (file.has("post_processor")) {
    Around around = parse_post_processor(file.object("post_processor"));
    for (const std::vector<int>* ids : {&around.prefix, &around.suffix})
      for (const int id : *ids)
        EMBERQ_REQUIRE(tokenizer.has(id), "{}: post_processor: there is no token of id {}", where,
                       id);
    tokenizer.prefix_ = std::move(around.prefix);
    tokenizer.suffix_ = std::move(around.suffix);
  }
  return tokenizer;
}

}  // namespace emberq
