#include "apps/explain.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "base/table.h"

namespace emberq {
namespace {

std::string microseconds(double seconds) {
  return seconds > 0 ? fmt::format("{:.1f}", seconds * 1e6) : "-";
}

OrderedJson json_or_null(double value) { return value > 0 ? OrderedJson(value) : OrderedJson(); }

// The line above a step's table.
std::string title(const StepShape& step, const std::vector<ExplainedOperation>& operations) {
  std::string text = fmt::format("{} sequence{}, {} new token{} each, {} in the cache",
                                 step.sequences, step.sequences == 1 ? "" : "s", step.new_tokens,
                                 step.new_tokens == 1 ? "" : "s", step.context);
  double roof = 0, expected = 0;  // of what is measured
  for (const ExplainedOperation& operation : operations)
    if (operation.share() > 0) {
      roof += operation.calls * operation.choice.roof_seconds;
      expected += operation.calls * operation.choice.expected_seconds;
    }
  if (expected > 0)
    text += fmt::format(": {:.0f} us expected, {:.0f} % of the roof", expected * 1e6,
                        100 * roof / expected);
  return text;
}

}  // namespace

std::vector<StepShape> steps_of(int64_t sequences, int64_t prompt, int64_t context) {
  const int64_t at_once =
      std::clamp<int64_t>(16384 / std::max<int64_t>(1, prompt), 1, std::max<int64_t>(1, sequences));
  return {{.sequences = at_once, .new_tokens = prompt, .context = prompt},
          {.sequences = sequences, .new_tokens = 1, .context = context}};
}

std::string explanation(Model& model, ExplainingBackend& backend,
                        const std::vector<StepShape>& steps) {
  std::string text;
  for (const StepShape& step : steps) {
    const auto operations = explain(model, backend, step);
    const bool timed = std::ranges::any_of(operations, [](const ExplainedOperation& operation) {
      return operation.choice.roof_seconds > 0;
    });
    std::vector<std::vector<std::string>> table = {
        {"layers", "operation", "calls", "shape", "formats", "kernel", "configuration"}};
    const auto add_columns = [&](const std::vector<std::string>& columns) {
      if (timed) table.back().insert(table.back().end(), columns.begin(), columns.end());
    };
    add_columns({"roof us", "expected us", "% of roof", "slow because"});
    for (const ExplainedOperation& operation : operations) {
      const KernelChoice& choice = operation.choice;
      table.push_back({operation.layers, operation.name, std::to_string(operation.calls),
                       operation.shape, operation.formats, choice.kernel, choice.configuration});
      add_columns({microseconds(choice.roof_seconds), microseconds(choice.expected_seconds),
                   operation.share() > 0 ? fmt::format("{:.0f}", 100 * operation.share()) : "-",
                   choice.why_slow});
    }
    text += fmt::format("{}\n\n{}\n", title(step, operations), format_table(table));
  }
  return text;
}

OrderedJson explanation_json(Model& model, ExplainingBackend& backend,
                             const std::vector<StepShape>& steps) {
  OrderedJson all = OrderedJson::array();
  for (const StepShape& step : steps) {
    OrderedJson operations = OrderedJson::array();
    for (const ExplainedOperation& operation : explain(model, backend, step)) {
      const KernelChoice& choice = operation.choice;
      operations.push_back(
          {{"layers", operation.layers},
           {"operation", operation.name},
           {"calls", operation.calls},
           {"shape", operation.shape},
           {"formats", operation.formats},
           {"kernel", choice.kernel},
           {"configuration", choice.configuration},
           {"roof_us", json_or_null(choice.roof_seconds * 1e6)},
           {"expected_us", json_or_null(choice.expected_seconds * 1e6)},
           {"share_of_roof", json_or_null(operation.share())},
           {"slow_because",
            choice.why_slow.empty() ? OrderedJson() : OrderedJson(choice.why_slow)}});
    }
    all.push_back({{"sequences", step.sequences},
                   {"new_tokens", step.new_tokens},
                   {"context", step.context},
                   {"operations", operations}});
  }
  return {{"backend", backend.name()}, {"steps", all}};
}

}  // namespace emberq
