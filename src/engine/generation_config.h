#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/model_config.h"
#include "engine/sampler.h"

namespace emberq {

// What the user asks for instead of what a model's folder says. Naming a temperature, top_k, top_p
// or min_p asks for sampling; a temperature of 0 or `greedy` for the most likely token.
struct GenerationChoice {
  bool greedy = false;
  std::optional<int64_t> max_new_tokens;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
};

struct GenerationConfig {
  SamplingOptions sampling;
  std::optional<int64_t> max_new_tokens;
  // Keys that would change what transformers generates and that emberq does not run.
  std::vector<std::string> not_run;
  fs::path path;  // of the file that was read
};

// How a model's folder asks to generate: generation_config.json, or where there is none the same
// keys in config.json; as transformers reads them, with its defaults (no sampling; where it
// samples, the 50 most likely tokens). `config` is the model's; its eos_ids are for where the file
// names none. max_length is not read.
//
// InputError names file and key of a value that is out of range. What the choice replaces, and what
// only sampling uses where the most likely token is taken, is not looked at.
GenerationConfig read_generation_config(const fs::path& folder, const ModelConfig& config,
                                        const GenerationChoice& choice = {});

}  // namespace emberq
