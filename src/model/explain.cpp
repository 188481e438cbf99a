#include "model/explain.h"

#include <algorithm>
#include <optional>
#include <type_traits>

#include "base/check.h"
#include "model/logit_rows.h"
#include "ops/sample_memory.h"

namespace emberq {
namespace {

// What was noted is not recorded either.
struct NotedRecording final : Recording {
  void replay() override {}
};

// "BF16", or the scheme of codes: "fp8-token".
std::string format_of(const Activations& x) {
  if (!x.quantized()) return std::string(name(x.dtype));
  const ActivationCode code = x.dtype == DType::kF8E4M3 ? ActivationCode::kFp8
                              : x.code_max == 31        ? ActivationCode::kInt6
                                                        : ActivationCode::kInt8;
  return name(ActivationScheme{code, int(x.group)});
}

// Of queries and a cache: "fp8-head queries, int4-asym cache".
std::string cache_formats(const Activations& query, const KvLayer& cache) {
  const std::string_view of_query = !query.quantized()              ? name(query.dtype)
                                    : query.dtype == DType::kF8E4M3 ? name(QueryScheme::kFp8Head)
                                                                    : name(QueryScheme::kInt8Head);
  return fmt::format("{} queries, {} cache", of_query, name(cache.scheme));
}

std::string extent_of(const Activations& x) { return fmt::format("{} x {}", x.rows, x.dim); }
std::string from_to(const Activations& from, const Activations& to) {
  const std::string a = format_of(from), b = format_of(to);
  return a == b ? a : a + " to " + b;
}

std::string heads_of(int64_t tokens, int64_t heads, const KvLayer& cache) {
  return fmt::format("{} x {}/{} heads of {}", tokens, heads, cache.kv_heads, cache.head_dim);
}
// Of tokens in all caches that a batch reads.
std::string lengths_of(const Batch& batch) {
  int64_t longest = 0;
  for (const BatchSequence& sequence : batch.on_host)
    longest = std::max(longest, sequence.kv_length);
  return fmt::format("{} keys", longest);
}

// Shape, formats and weights of an operation.
AskedOperation describe(const Embed& op) {
  return {.shape = extent_of(op.out), .formats = format_of(op.out)};
}
AskedOperation describe(const RmsNorm& op) {
  return {.shape = extent_of(op.out), .formats = from_to(op.x, op.out), .weights = op.weight};
}
AskedOperation describe(const PerTokenQuantize& op) {
  return {.shape = extent_of(op.out), .formats = from_to(op.x, op.out)};
}
AskedOperation describe(const SiluAndMul& op) {
  return {.shape = extent_of(op.out), .formats = from_to(op.gate, op.out)};
}
AskedOperation describe(const Linear& op) {
  return {.shape = fmt::format("{} x {} x {}", op.out.rows, op.out.dim, op.x.dim),
          .formats = format_of(op.x),
          .weights = op.weight};
}
AskedOperation describe(const RopeAppendKv& op) {
  return {.shape = heads_of(op.tokens(), op.heads(), op.cache),
          .formats = cache_formats(op.query, op.cache)};
}
AskedOperation describe(const Attention& op) {
  return {.shape = heads_of(op.tokens(), op.heads(), op.cache) + ", " + lengths_of(op.batch),
          .formats = cache_formats(op.query, op.cache) +
                     (op.probability == ProbabilityScheme::kNone
                          ? ""
                          : fmt::format(", {} probabilities", name(op.probability)))};
}
AskedOperation describe(const Argmax& op) {
  return {.shape = extent_of(op.logits), .formats = format_of(op.logits)};
}
AskedOperation describe(const Sample& op) {
  return {.shape = extent_of(op.logits), .formats = format_of(op.logits)};
}

// Where the weights of a model stand in it.
struct Place {
  int64_t layer = 0;
  std::string part;  // of linears: "q, k"
};

std::map<const void*, Place> places_of(Model& model) {
  std::map<const void*, Place> places;
  for (int64_t i = 0; i < model.config().num_layers; ++i) {
    DecoderLayer& layer = model.layer(i);
    const bool value_joined = layer.qkv.weight.n == outputs(model.config(), Projection::kQ) +
                                                        2 * outputs(model.config(), Projection::kK);
    places[&layer.qkv.weight] = {i, value_joined ? "q, k, v" : "q, k"};
    places[&layer.gate_up.weight] = {i, "gate, up"};
    for (const Projection module : kProjections) {
      const std::string_view text = short_name(module);  // "q_proj"
      places[&layer[module].weight] = {i, std::string(text.substr(0, text.find('_')))};
    }
    for (const Buffer* norm : {&layer.input_layernorm, &layer.post_attention_layernorm})
      places[norm->as<void>()] = {i, ""};
  }
  return places;
}

// The operations that the model asks for in a step.
std::vector<AskedOperation> asked_operations(Model& model, ExplainingBackend& backend,
                                             const StepShape& step) {
  constexpr int64_t kPageTokens = 64;
  const int64_t pages = step.sequences * pages_for(step.context, kPageTokens) + 1;
  KvPool pool = model.make_pool(kPageTokens, pages);
  std::vector<KvSequence> sequences;
  std::vector<KvPool::Growth> growths;
  for (int64_t i = 0; i < step.sequences; ++i) sequences.emplace_back(pool);
  for (KvSequence& sequence : sequences) growths.push_back({&sequence, step.context});
  pool.reserve(growths);
  const std::vector<int> ids(static_cast<size_t>(step.new_tokens));
  std::vector<Model::NewTokens> batch;
  std::vector<int32_t> last;
  for (KvSequence& sequence : sequences) {
    sequence.extend(step.context - step.new_tokens);
    batch.push_back({ids, &sequence});
    last.push_back(int32_t(int64_t(batch.size()) * step.new_tokens - 1));
  }
  LogitRows rows(model, step.sequences);
  SampleMemory sample(backend);
  const std::vector<SampleRequest> requests(sequences.size());
  backend.start();
  try {
    const Activations logits = rows.on_backend(model.forward(batch, pool), last);
    backend.run(sample.set(logits, requests));
  } catch (...) {
    backend.finish();
    throw;
  }
  backend.synchronize();  // uploads
  return backend.finish();
}

}  // namespace

std::unique_ptr<Recording> ExplainingBackend::record(const std::function<void()>& calls) {
  return noting_ ? std::make_unique<NotedRecording>() : whole().record(calls);
}

Weight ExplainingBackend::named(Weight weight, std::string_view format) {
  formats_[weight.impl.get()] = format;
  return weight;
}

Weight ExplainingBackend::prepare(const Tensor& dense) {
  return named(whole().prepare(dense), emberq::name(dense.dtype()));
}

Weight ExplainingBackend::prepare(const QuantizedWeight& quantized) {
  return named(whole().prepare(quantized), emberq::name(quantized.scheme));
}

Weight ExplainingBackend::prepare_joined(std::span<const Tensor> parts, int64_t block) {
  return named(whole().prepare_joined(parts, block), emberq::name(parts.front().dtype()));
}

Weight ExplainingBackend::prepare_joined(std::span<const QuantizedWeight> parts, int64_t block) {
  return named(whole().prepare_joined(parts, block), emberq::name(parts.front().scheme));
}

void ExplainingBackend::run_together(std::span<const Linear> linears) {
  if (!noting_) return whole().run_together(linears);
  for (const Linear& op : linears) run(op);
}

template <class Op>
void ExplainingBackend::note_or_run(const Op& op) {
  if (!noting_) return whole().run(op);
  AskedOperation asked = describe(op);
  asked.operation = operation_name<Op>();
  if constexpr (std::is_same_v<Op, Linear>)
    asked.formats = formats_.at(op.weight->impl.get()) + " x " + asked.formats;
  asked.choice = choice(&op);
  noted_.push_back(std::move(asked));
}

void ExplainingBackend::run(const Embed& op) { note_or_run(op); }
void ExplainingBackend::run(const RmsNorm& op) { note_or_run(op); }
void ExplainingBackend::run(const PerTokenQuantize& op) { note_or_run(op); }
void ExplainingBackend::run(const SiluAndMul& op) { note_or_run(op); }
void ExplainingBackend::run(const Linear& op) { note_or_run(op); }
void ExplainingBackend::run(const RopeAppendKv& op) { note_or_run(op); }
void ExplainingBackend::run(const Attention& op) { note_or_run(op); }
void ExplainingBackend::run(const Argmax& op) { note_or_run(op); }
void ExplainingBackend::run(const Sample& op) { note_or_run(op); }

std::string ranges(const std::vector<int64_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    if (!text.empty()) text += ", ";
    text += end - i == 1 ? fmt::format("{}", numbers[i])
                         : fmt::format("{}-{}", numbers[i], numbers[end - 1]);
    i = end;
  }
  return text;
}

std::vector<ExplainedOperation> explain(Model& model, ExplainingBackend& backend,
                                        const StepShape& step) {
  EMBERQ_CHECK(&model.backend() == &backend, "explain: the model is of another backend");
  EMBERQ_REQUIRE(step.sequences >= 1 && step.new_tokens >= 1 && step.new_tokens <= step.context,
                 "a step has at least one sequence and one new token, not {} of {}", step.sequences,
                 step.new_tokens);
  EMBERQ_REQUIRE(step.context <= model.config().max_positions,
                 "a context of {} tokens, but the model has {} positions", step.context,
                 model.config().max_positions);
  const std::map<const void*, Place> places = places_of(model);
  std::vector<ExplainedOperation> explained;
  std::vector<std::vector<int64_t>> layers;  // of each
  std::optional<int64_t> layer;              // of the last operation with weights
  for (AskedOperation& asked : asked_operations(model, backend, step)) {
    std::string name = asked.operation;
    if (asked.weights) {
      const auto place = places.find(asked.weights);
      layer = place == places.end() ? std::nullopt : std::optional(place->second.layer);
      if (name == "linear") name += layer ? " " + place->second.part : " head";
    }
    const auto is_equal = [&](const ExplainedOperation& other) {
      const size_t i = size_t(&other - explained.data());
      return other.name == name && other.shape == asked.shape && other.formats == asked.formats &&
             other.choice.kernel == asked.choice.kernel &&
             other.choice.configuration == asked.choice.configuration &&
             other.choice.roof_seconds == asked.choice.roof_seconds &&
             layers[i].empty() == !layer.has_value();
    };
    auto found = std::ranges::find_if(explained, is_equal);
    if (found == explained.end()) {
      explained.push_back({.name = name,
                           .shape = std::move(asked.shape),
                           .formats = std::move(asked.formats),
                           .choice = std::move(asked.choice)});
      layers.emplace_back();
      found = explained.end() - 1;
    }
    found->calls += 1;
    std::vector<int64_t>& of = layers[size_t(found - explained.begin())];
    if (layer && (of.empty() || of.back() != *layer)) of.push_back(*layer);
  }
  for (size_t i = 0; i < explained.size(); ++i) explained[i].layers = ranges(layers[i]);
  return explained;
}

}  // namespace emberq
