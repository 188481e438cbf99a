#include "engine/generation_config.h"

#include <array>
#include <cmath>

#include "base/check.h"
#include "base/json.h"

namespace emberq {
namespace {

constexpr int kDefaultTopK = 50;  // transformers' GenerationConfig

// A key that emberq does not run, and the number that says nothing; null, false and what is empty
// say nothing either.
struct OtherKey {
  std::string_view key;
  std::optional<double> neutral = {};
};
constexpr std::array kOtherKeys = {
    OtherKey{"num_beams", 1},
    OtherKey{"num_beam_groups", 1},
    OtherKey{"num_return_sequences", 1},
    OtherKey{"penalty_alpha", 0},
    OtherKey{"guidance_scale", 1},
    OtherKey{"encoder_repetition_penalty", 1},
    OtherKey{"encoder_no_repeat_ngram_size", 0},
    OtherKey{"sequence_bias"},
    OtherKey{"forced_bos_token_id"},
    OtherKey{"forced_eos_token_id"},
    OtherKey{"forced_decoder_ids"},
    OtherKey{"force_words_ids"},
    OtherKey{"constraints"},
    OtherKey{"exponential_decay_length_penalty"},
    OtherKey{"remove_invalid_values"},
    OtherKey{"stop_strings"},
    OtherKey{"max_time"},
    OtherKey{"token_healing"},
    OtherKey{"dola_layers"},
    OtherKey{"watermarking_config"},
};
constexpr std::array kOtherSamplingKeys = {
    OtherKey{"typical_p", 1},
    OtherKey{"top_h"},
    OtherKey{"epsilon_cutoff", 0},
    OtherKey{"eta_cutoff", 0},
};

bool asks_for(const JsonObject& file, const OtherKey& other) {
  if (!file.has(other.key)) return false;
  const Json& value = file.at(other.key);
  if (value.is_number()) return value.get<double>() != other.neutral;
  return value != false && !value.empty();
}

// One id or several.
std::vector<int> token_ids(const JsonObject& file, std::string_view key) {
  if (!file.has(key)) return {};
  if (file.at(key).is_array()) return file.get<std::vector<int>>(key);
  if (!file.at(key).is_number_integer()) file.reject(key, "must be an id or a list of ids");
  return {file.get<int>(key)};
}

int64_t count(const JsonObject& file, std::string_view key) {
  const int64_t value = file.get_or<int64_t>(key, 0);
  if (value < 0) file.reject(key, "must not be negative");
  return value;
}

std::vector<std::vector<int>> bad_words(const JsonObject& file, int64_t vocab_size) {
  constexpr std::string_view kKey = "bad_words_ids";
  std::vector<std::vector<int>> words;
  if (!file.has(kKey)) return words;
  const auto reject = [&] {
    file.reject(kKey, fmt::format("must be lists of ids from 0 to {}", vocab_size - 1));
  };
  for (const Json& word : file.array(kKey)) {
    if (!word.is_array() || word.empty()) reject();
    words.emplace_back();
    for (const Json& id : word) {
      if (!id.is_number_integer() || id < 0 || id >= vocab_size) reject();
      words.back().push_back(id.get<int>());
    }
  }
  return words;
}

LogitRules read_rules(const JsonObject& file, int64_t vocab_size, const GenerationChoice& choice) {
  LogitRules rules{.no_repeat_ngram_size = count(file, "no_repeat_ngram_size"),
                   .bad_words = bad_words(file, vocab_size),
                   .min_length = count(file, "min_length"),
                   .min_new_tokens = count(file, "min_new_tokens"),
                   .suppress = token_ids(file, "suppress_tokens"),
                   .begin_suppress = token_ids(file, "begin_suppress_tokens")};
  if (choice.repetition_penalty) {
    rules.repetition_penalty = *choice.repetition_penalty;
  } else if (file.has("repetition_penalty")) {
    rules.repetition_penalty = file.get<double>("repetition_penalty");
    if (!(rules.repetition_penalty > 0) || !std::isfinite(rules.repetition_penalty))
      file.reject("repetition_penalty", "must be positive");
  }
  return rules;
}

// Whether the most likely token is taken: by what the user says, or else the file.
bool is_greedy(const JsonObject& file, const GenerationChoice& choice) {
  if (choice.greedy) return true;
  if (choice.temperature) return *choice.temperature == 0;
  const bool asked = choice.top_k || choice.top_p || choice.min_p;
  return (!asked && !file.get_or("do_sample", false)) || file.get_or("temperature", 1.0) == 0;
}

// The user's value, or else the file's, which must be as `fits` says, or else the fallback.
template <class T, class Fits>
T chosen(const JsonObject& file, std::string_view key, const std::optional<T>& choice, T fallback,
         const Fits& fits, std::string_view complaint) {
  if (choice) return *choice;
  const T value = file.get_or<T>(key, fallback);
  if (!fits(value)) file.reject(key, complaint);
  return value;
}

void read_sampling(const JsonObject& file, const GenerationChoice& choice,
                   SamplingOptions& options) {
  options.temperature = chosen(
      file, "temperature", choice.temperature, 1.0,
      [](double x) { return x > 0 && std::isfinite(x); }, "must be positive");
  options.top_k = chosen(
      file, "top_k", choice.top_k, kDefaultTopK, [](int k) { return k >= 0; },
      "must not be negative");
  options.top_p = chosen(
      file, "top_p", choice.top_p, 1.0, [](double p) { return p > 0 && p <= 1; },
      "must be in (0, 1]");
  options.min_p = chosen(
      file, "min_p", choice.min_p, 0.0, [](double p) { return p >= 0 && p <= 1; },
      "must be in [0, 1]");
}

}  // namespace

GenerationConfig read_generation_config(const fs::path& folder, const ModelConfig& config,
                                        const GenerationChoice& choice) {
  GenerationConfig result{.path = folder / "generation_config.json"};
  if (!file_exists(result.path)) result.path = folder / "config.json";
  const Json json = read_json(result.path);
  const JsonObject file(json, result.path.string());

  SamplingOptions& sampling = result.sampling;
  sampling.rules = read_rules(file, config.vocab_size, choice);
  sampling.greedy = is_greedy(file, choice);
  if (!sampling.greedy) read_sampling(file, choice, sampling);
  sampling.eos_ids = file.has("eos_token_id") ? token_ids(file, "eos_token_id") : config.eos_ids;
  check(sampling);
  result.max_new_tokens = choice.max_new_tokens;
  if (!choice.max_new_tokens && file.has("max_new_tokens")) {
    result.max_new_tokens = file.get<int64_t>("max_new_tokens");
    if (*result.max_new_tokens < 1) file.reject("max_new_tokens", "must be positive");
  }
  const auto note = [&](const auto& keys) {
    for (const OtherKey& other : keys)
      if (asks_for(file, other)) result.not_run.emplace_back(other.key);
  };
  note(kOtherKeys);
  if (!sampling.greedy) note(kOtherSamplingKeys);
  return result;
}

}  // namespace emberq
