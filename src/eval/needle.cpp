#include "eval/needle.h"

#include <array>
#include <chrono>
#include <random>

#include "base/check.h"
#include "base/progress.h"
#include "eval/likelihood.h"
#include "model/token_ids.h"

namespace emberq {
namespace {

constexpr std::array<std::string_view, 16> kCities = {
    "Paris",  "London", "Berlin", "Rome",  "Madrid", "Vienna", "Prague",  "Moscow",
    "Athens", "Cairo",  "Delhi",  "Tokyo", "Sydney", "Boston", "Chicago", "Toronto"};
constexpr int kDigits = 7;

std::string sentence(const std::string& city, const std::string& number) {
  return fmt::format(" The secret number of {} is {}.", city, number);
}
// Repeats the sentence up to the number: what a model that only continues texts can complete.
std::string question(const std::string& city) {
  return fmt::format(
      "\n\nQuestion: What is the secret number of {0}?\nAnswer: The secret number of {0} is", city);
}

std::vector<int> beginning(const Tokenizer& tokenizer) {
  const std::vector<int> ids = tokenizer.encode("a", SpecialTokens::kAdd);
  if (tokenizer.bos_id() && ids.front() == *tokenizer.bos_id()) return {ids.front()};
  return {};
}

bool ends_sentence(const Tokenizer& tokenizer, int id) {
  const std::string text = tokenizer.decode(std::span(&id, 1));
  return text.ends_with('.') || text.ends_with('\n');
}

// Where the needle goes among the filler's tokens.
size_t place(const Tokenizer& tokenizer, std::span<const int> filler, double depth) {
  const auto wanted = size_t(depth * double(filler.size()));
  for (size_t at = wanted; at > 0; --at)
    if (ends_sentence(tokenizer, filler[at - 1])) return at;
  return wanted;
}

void append(std::vector<int>& ids, std::span<const int> more) {
  ids.insert(ids.end(), more.begin(), more.end());
}

void check(const NeedleOptions& options, const ModelConfig& config) {
  EMBERQ_REQUIRE(options.length <= config.max_positions,
                 "a prompt of {} tokens is longer than the model's {} positions", options.length,
                 config.max_positions);
  EMBERQ_REQUIRE(options.trials >= 1, "the number of trials must be at least 1, got {}",
                 options.trials);
  for (const double depth : options.depths)
    EMBERQ_REQUIRE(depth >= 0 && depth <= 1, "a depth must be from 0 to 1, got {}", depth);
}

}  // namespace

std::vector<NeedleTrial> needle_trials(int64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](uint64_t bound) { return random() % bound; };  // the bias is 2^-60
  std::vector<NeedleTrial> trials;
  for (int64_t t = 0; t < count; ++t) {
    NeedleTrial trial{.city = std::string(kCities[below(kCities.size())])};
    for (int i = 0; i < kDigits; ++i) {
      // Neither number begins with a zero.
      const uint64_t first = i == 0 ? 1 : 0, digits = 10 - first;
      const uint64_t digit = below(digits), step = 1 + below(digits - 1);
      trial.number += char('0' + first + digit);
      trial.other += char('0' + first + (digit + step) % digits);
    }
    trial.filler = random();
    trials.push_back(std::move(trial));
  }
  return trials;
}

NeedlePrompt needle_prompt(const Tokenizer& tokenizer, std::span<const int> filler,
                           const NeedleTrial& trial, Needle needle, int64_t length, double depth) {
  TokenPair asked = encode_pair(tokenizer, question(trial.city), " " + trial.number);
  std::vector<int> hidden;
  if (needle != Needle::kAbsent)
    hidden = tokenizer.encode(
        sentence(trial.city, needle == Needle::kNumber ? trial.number : trial.other),
        SpecialTokens::kNone);
  NeedlePrompt prompt{.context = beginning(tokenizer), .answer = std::move(asked.continuation)};
  const size_t fixed =
      prompt.context.size() + hidden.size() + asked.context.size() + prompt.answer.size();
  EMBERQ_REQUIRE(length > int64_t(fixed),
                 "a prompt of {} tokens has no room for filler: needle, question and answer are {}",
                 length, fixed);
  EMBERQ_REQUIRE(int64_t(filler.size()) >= length,
                 "the text has {} tokens, less than a prompt of {}", filler.size(), length);
  // From as many tokens whatever is hidden, so that all three begin alike.
  const size_t start = trial.filler % (filler.size() - size_t(length) + 1);
  const auto text = filler.subspan(start, size_t(length) - fixed);
  const size_t at = place(tokenizer, text, depth);
  append(prompt.context, text.first(at));
  prompt.begin = int64_t(prompt.context.size());
  append(prompt.context, hidden);
  prompt.end = int64_t(prompt.context.size());
  append(prompt.context, text.subspan(at));
  append(prompt.context, asked.context);
  return prompt;
}

NeedleResult needle(Model& model, const Tokenizer& tokenizer, std::span<const int> filler,
                    const NeedleOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  check(options, model.config());
  require_in_vocabulary(filler, model.config().vocab_size, "the text");
  const std::vector<NeedleTrial> trials = needle_trials(options.trials, options.seed);
  LikelihoodScorer scorer(model, options.length);
  Progress progress("needle", int64_t(options.depths.size()) * options.trials);
  NeedleResult result;
  for (const double depth : options.depths) {
    NeedleScore score{.depth = depth};
    size_t tokens = 0;
    for (const NeedleTrial& trial : trials) {
      const auto judge = [&](Needle hidden) {
        const NeedlePrompt prompt =
            needle_prompt(tokenizer, filler, trial, hidden, options.length, depth);
        if (hidden == Needle::kNumber) tokens += prompt.answer.size();
        return scorer.score(prompt.context, prompt.answer);
      };
      const Likelihood present = judge(Needle::kNumber);
      score.exact += present.greedy;
      score.present += present.log_p;
      score.other += judge(Needle::kOther).log_p;
      score.absent += judge(Needle::kAbsent).log_p;
      progress.step();
    }
    score.exact /= double(trials.size());
    for (double* sum : {&score.present, &score.other, &score.absent}) *sum /= double(tokens);
    result.scores.push_back(score);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace emberq
