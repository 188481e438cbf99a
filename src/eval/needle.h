#pragma once

#include <string>
#include <vector>

#include "model/model.h"
#include "text/tokenizer.h"

// Retrieval of one sentence from a long text, to compare what KV caches store.
namespace emberq {

// What one trial hides and where its filler begins; the same at every depth.
struct NeedleTrial {
  std::string city;
  std::string number, other;  // seven digits each, different in every place
  uint64_t filler = 0;        // chooses where in the text the filler begins
};
// The same for the same seed on every machine.
std::vector<NeedleTrial> needle_trials(int64_t count, uint64_t seed);

enum class Needle {
  kNumber,  // "The secret number of CITY is NUMBER." is in the filler
  kOther,   // the same sentence with the other number
  kAbsent,  // filler alone
};

struct NeedlePrompt {
  std::vector<int> context, answer;
  int64_t begin = 0, end = 0;  // the needle's tokens in the context
};
// A prompt that has `length` tokens with the answer, NUMBER: BOS where the tokenizer puts one
// before a text, filler tokens in their order with the needle after a share `depth` of them, moved
// back to where a sentence ends if one does, and a question that ends where the number follows.
// InputError where the length leaves no room for filler, or there are fewer filler tokens than
// `length`.
NeedlePrompt needle_prompt(const Tokenizer& tokenizer, std::span<const int> filler,
                           const NeedleTrial& trial, Needle needle, int64_t length, double depth);

struct NeedleOptions {
  int64_t length = 2048;               // tokens of a prompt and its answer
  std::vector<double> depths = {0.5};  // 0: at the beginning, 1: just before the question
  int64_t trials = 10;
  uint64_t seed = 0;
};

// Log-likelihoods are of the number that is asked for, means over its tokens in all trials, in
// nats. A model too small to answer still shows what it reads from the cache: present - other, for
// a number is expected with either sentence.
struct NeedleScore {
  double depth = 0;
  double exact = 0;  // share of the trials whose answer is what greedy decoding gives
  double present = 0, other = 0, absent = 0;  // by what the filler hides
};

struct NeedleResult {
  std::vector<NeedleScore> scores;  // as options.depths
  double seconds = 0;
};

// InputError as needle_prompt(), where the length is more than the model's positions, there is no
// trial, a depth is outside [0, 1], or an id is outside the vocabulary.
NeedleResult needle(Model& model, const Tokenizer& tokenizer, std::span<const int> filler,
                    const NeedleOptions& options);

}  // namespace emberq
