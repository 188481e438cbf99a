#pragma once

#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "model/explain.h"

namespace emberq {

// Prompts of so many sequences, as many as 16 384 tokens at a time, and a step in which each gets
// one more token.
std::vector<StepShape> steps_of(int64_t sequences, int64_t prompt, int64_t context);

// A table for each step: which kernels run it, how, and how near to the roof they should be.
std::string explanation(Model& model, ExplainingBackend& backend,
                        const std::vector<StepShape>& steps);
OrderedJson explanation_json(Model& model, ExplainingBackend& backend,
                             const std::vector<StepShape>& steps);

}  // namespace emberq
