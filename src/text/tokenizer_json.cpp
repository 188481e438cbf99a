// tokenizer.json, the tokenizers package's one-file form.
#include "base/check.h"
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
                       .fuse_unk = model.get_or("fuse_unk", false)};
  if (model.has("unk_token")) {
    options.unk_id = vocabulary.find(model.get<std::string>("unk_token"));
    if (options.unk_id < 0) model.reject("unk_token", "is not in the vocabulary");
  }
  Bpe bpe(std::move(vocabulary), options);
  for (const Json& merge : model.array("merges")) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      bpe.add_merge(merge[0].get<std::string>(), merge[1].get<std::string>(), where);
      continue;
    }
    const std::string pair = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = pair.find(' ');
    EMBERQ_REQUIRE(space != pair.npos && pair.find(' ', space + 1) == pair.npos,
                   "{}: a merge must be two tokens, got {}", where,
                   merge.dump(-1, ' ', false, Json::error_handler_t::replace));
    bpe.add_merge(std::string_view(pair).substr(0, space), std::string_view(pair).substr(space + 1),
                  where);
  }
  return bpe;
}

AddedToken parse_added_token(const JsonObject& json) {
  return {.id = json.get<int>("id"),
          .content = json.get<std::string>("content"),
          .special = json.get_or("special", false),
          .normalized = json.get_or("normalized", !json.get_or("special", false)),
          .single_word = json.get_or("single_word", false),
          .lstrip = json.get_or("lstrip", false),
          .rstrip = json.get_or("rstrip", false)};
}

struct Around {
  std::vector<int> prefix, suffix;
};

// What a post-processor puts around one text.
void parse_post_processor(const JsonObject& json, const Tokenizer& tokenizer, Around& around) {
  const auto type = json.get<std::string>("type");
  if (type == "Sequence") {
    for (const Json& part : json.array("processors"))
      parse_post_processor(JsonObject(part, json.where()), tokenizer, around);
  } else if (type == "TemplateProcessing") {
    bool after_text = false;
    const JsonObject specials = json.object("special_tokens");
    for (const Json& piece : json.array("single")) {
      const JsonObject object(piece, json.where());
      if (object.has("Sequence")) {
        after_text = true;
        continue;
      }
      const auto name = object.object("SpecialToken").get<std::string>("id");
      for (const int id : specials.object(name).get<std::vector<int>>("ids"))
        (after_text ? around.suffix : around.prefix).push_back(id);
    }
  } else if (type != "ByteLevel") {  // which changes offsets alone
    json.reject("type", "of a post-processor must be TemplateProcessing, ByteLevel or Sequence");
  }
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
  if (file.has("added_tokens"))
    for (const Json& token : file.array("added_tokens"))
      tokenizer.add_token(parse_added_token(JsonObject(token, where)), where);
  if (file.has("post_processor")) {
    Around around;
    parse_post_processor(file.object("post_processor"), tokenizer, around);
    for (const std::vector<int>* ids : {&around.prefix, &around.suffix})
      for (const int id : *ids)
        EMBERQ_REQUIRE(tokenizer.model_.vocabulary().has(id),
                       "{}: post_processor: there is no token of id {}", where, id);
    tokenizer.prefix_ = std::move(around.prefix);
    tokenizer.suffix_ = std::move(around.suffix);
  }
  tokenizer.added_.finish(tokenizer.normalizer_);
  return tokenizer;
}

}  // namespace emberq
