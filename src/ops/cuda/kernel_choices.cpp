#include "ops/cuda/kernel_choices.h"

#include <algorithm>
#include <optional>
#include <string>

#include "base/check.h"
#include "ops/cuda/attention/split_kv.h"
#include "ops/cuda/linear/pick_general.h"
#include "ops/cuda/rows/rows.h"

namespace emberq::cuda {
namespace {

// How fast a kernel works in a step, fitted to measurements (docs/operations.md, --explain): what
// it takes beside its work, and its share of the rates of memory and of products.
struct KernelSpeed {
  double fixed_us, of_memory, of_products;
};
constexpr KernelSpeed kPromotedLinear{4.5, 0.95, 0.77}, kUnpromotedLinear{4.5, 0.95, 0.92},
    kSlices{3, 0.95, 0.2}, kFewGeneral{5, 0.7, 0.2}, kLibraryLinear{5, 0.8, 0.85},
    kSplitKv{8, 0.8, 0.3}, kPrefillFp8{19, 0.8, 0.38}, kPrefillHalf{19, 0.8, 0.6},
    kNorm{1.9, 0.9, 1}, kSiluAndMul{1.5, 0.9, 1}, kRopeAppendKv{4, 0.09, 1}, kArgmax{8, 0.3, 1};

enum class Products { kNone, kHalf, kFp8 };

KernelChoice with_times(KernelChoice choice, const Card& card, const Cost& cost, Products products,
                        const std::optional<KernelSpeed>& speed) {
  const double memory = cost.bytes / card.read_rate,
               multiply = products == Products::kNone
                              ? 0
                              : cost.flops / card.fp8_rate * (products == Products::kFp8 ? 1 : 2);
  choice.roof_seconds = std::max(memory, multiply);
  if (speed)
    choice.expected_seconds =
        speed->fixed_us * 1e-6 + std::max(memory / speed->of_memory, multiply / speed->of_products);
  return choice;
}

std::string counted(int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

KernelChoice tiled_choice(const Linear& op, const TiledWeight& weight, const Card& card,
                          bool invariant) {
  const TiledPick pick =
      pick_tiled(op.x.rows, op.out.dim, weight.k_tiles, card.multiprocessors, weight.format,
                 invariant ? BatchInvariant::kYes : BatchInvariant::kNo);
  const GemmConfig& shape = pick.shape();
  KernelChoice choice{.configuration =
                          fmt::format("{} tokens, {} stages", shape.tokens, shape.stages)};
  if (pick.slice_tokens > 0) {
    choice.kernel = "SliceKernel";
    return with_times(choice, card, cost(op), Products::kFp8, kSlices);
  }
  choice.kernel = "LinearKernel";
  choice.configuration +=
      fmt::format(", {}, {} warpgroups", counted(shape.cluster, "CTA"), shape.math_warpgroups());
  if (shape.k_warpgroups > 1) choice.configuration += ", sliced-K";
  const bool products =
      weight.format == OperandFormat::kLut4E4m3 || weight.format == OperandFormat::kInt4E4m3;
  return with_times(choice, card, cost(op), Products::kFp8,
                    products ? kUnpromotedLinear : kPromotedLinear);
}

// Why the general kernels multiply, and not LinearKernel or the library.
std::string general_reason(const Linear& op, const CudaWeight& weight,
                           std::string_view library_obstacle) {
  if (std::holds_alternative<UnquantizedWeight>(weight.data)) return std::string(library_obstacle);
  if (!std::holds_alternative<TiledWeight>(weight.data))
    return "no tensor-core kernel has this weight's codes or groups";
  if (op.x.dtype != DType::kF8E4M3)
    return fmt::format("{} inputs", op.x.dtype == DType::kI8 ? "integer" : name(op.x.dtype));
  if (op.x.group != 0) return "inputs in groups";
  return op.rows ? "chosen rows" : "F32 output";
}

KernelChoice general_choice(const Linear& op, const CudaWeight& weight, const Card& card,
                            std::string_view library_obstacle) {
  const auto* bytes = std::get_if<ByteWeight>(&weight.data);
  const auto* tiles = std::get_if<TiledWeight>(&weight.data);
  const bool dense = !bytes && !tiles;
  // Groups of tiles are of whole steps.
  const GeneralKernel kernel = pick_general(op, bytes ? bytes->group_size : op.x.dim);
  const bool integers = op.x.dtype == DType::kI8 &&
                        ((bytes && has_integers(*bytes)) || (tiles && has_integers(*tiles)));
  KernelChoice choice{
      .kernel = kernel == GeneralKernel::kManyTokens ? "ManyTokensKernel" : "FewTokensKernel",
      .configuration = integers ? "s8 products" : "BF16 products"};
  if (op.x.quantized() && !integers) choice.kernel = "CodesToBf16Kernel + " + choice.kernel;
  if (kernel == GeneralKernel::kRagged) choice.configuration += ", ragged groups";
  if (!dense || kernel != GeneralKernel::kFewTokens)
    choice.why_slow = general_reason(op, weight, library_obstacle);
  return with_times(
      choice, card, cost(op), op.x.quantized() ? Products::kFp8 : Products::kHalf,
      kernel == GeneralKernel::kFewTokens ? std::optional(kFewGeneral) : std::nullopt);
}

std::string describe(const RowConfig& config) {
  std::string text =
      fmt::format("{} threads, {}", config.threads, counted(config.vectors, "vector"));
  if (config.cluster > 1) text += fmt::format(", {}", counted(config.cluster, "CTA"));
  return text;
}

// Of rows whose groups have scales: a kernel more.
std::string grouped(std::string kernel, const Activations& out) {
  return out.scales_per_row() > 1 ? kernel + " + QuantizeGroupsKernel" : kernel;
}

}  // namespace

Card card_of(std::string_view device_name, int multiprocessors) {
  if (device_name.find("H100") != std::string_view::npos)
    return {3.09e12, 1.45e15, multiprocessors};
  return {4.71e12, 1.53e15, multiprocessors};  // H200
}

KernelChoice linear_choice(const Card& card, const Linear& op, const CudaWeight& weight,
                           LinearPath path, bool invariant, std::string_view library_obstacle) {
  switch (path) {
    case LinearPath::kTiled:
      return tiled_choice(op, std::get<TiledWeight>(weight.data), card, invariant);
    case LinearPath::kLibrary:
      return with_times({.kernel = "cuBLASLt", .configuration = "its first choice"}, card, cost(op),
                        Products::kHalf, kLibraryLinear);
    case LinearPath::kGeneral:
      return general_choice(op, weight, card, library_obstacle);
    case LinearPath::kNaive:
      break;
  }
  return with_times({.kernel = "NaiveLinearKernel", .why_slow = "the definition was asked for"},
                    card, cost(op), op.x.quantized() ? Products::kFp8 : Products::kHalf,
                    std::nullopt);
}

KernelChoice attention_choice(const Card& card, const Attention& op, AttentionKernel kernel,
                              bool invariant) {
  const bool fp8 = op.query.dtype == DType::kF8E4M3 && op.probability == ProbabilityScheme::kFp8;
  const Products roof = fp8 ? Products::kFp8 : Products::kHalf;
  const std::string half = op.cache.scheme == KvScheme::kFp ? "BF16" : "FP16";
  KernelChoice choice;
  switch (kernel) {
    case AttentionKernel::kPrefill: {
      const bool e4m3 = prefill_is_fp8(op);
      choice.kernel = "PrefillKernel";
      choice.configuration = (e4m3 ? "e4m3" : half) + " products";
      // Both speeds are shares of what their own products can reach.
      KernelSpeed speed = e4m3 ? kPrefillFp8 : kPrefillHalf;
      if (!e4m3 && fp8) speed.of_products /= 2;
      return with_times(choice, card, cost(op), roof, speed);
    }
    case AttentionKernel::kSplitKv: {
      const SplitKvPlan plan = split_kv_plan(op, invariant);
      choice.kernel = "SplitKvKernel";
      choice.configuration =
          fmt::format("{}, {}, {} products", counted(plan.column_tiles, "column tile"),
                      counted(plan.tokens_of_task, "token"), half);
      return with_times(choice, card, cost(op), roof, kSplitKv);
    }
    case AttentionKernel::kNaive:
      choice.kernel = "NaiveAttentionKernel";
      choice.why_slow = attention_obstacle(op, invariant);
      if (choice.why_slow.empty()) choice.why_slow = "the definition was asked for";
      break;
  }
  return with_times(choice, card, cost(op), roof, std::nullopt);
}

KernelChoice row_choice(const Card& card, const Embed& op) {
  const auto& data = cuda_weight(*op.table).data;
  const std::string_view kernel = std::holds_alternative<UnquantizedWeight>(data) ? "EmbedKernel"
                                  : std::holds_alternative<CanonicalWeight>(data)
                                      ? "EmbedCanonicalKernel"
                                      : "EmbedTilesKernel";
  return with_times({.kernel = std::string(kernel)}, card, cost(op), Products::kNone, std::nullopt);
}
KernelChoice row_choice(const Card& card, const RmsNorm& op) {
  return with_times(
      {.kernel = grouped("RmsNormKernel", op.out), .configuration = describe(row_config(op))}, card,
      cost(op), Products::kNone, kNorm);
}
KernelChoice row_choice(const Card& card, const PerTokenQuantize& op) {
  if (op.out.scales_per_row() > 1)
    return with_times({.kernel = "QuantizeGroupsKernel"}, card, cost(op), Products::kNone, kNorm);
  return with_times({.kernel = "PerTokenQuantizeKernel", .configuration = describe(row_config(op))},
                    card, cost(op), Products::kNone, kNorm);
}
KernelChoice row_choice(const Card& card, const SiluAndMul& op) {
  return with_times(
      {.kernel = grouped("SiluAndMulKernel", op.out), .configuration = describe(row_config(op))},
      card, cost(op), Products::kNone, kSiluAndMul);
}
KernelChoice row_choice(const Card& card, const RopeAppendKv& op) {
  return with_times({.kernel = "RopeAppendKvKernel"}, card, cost(op), Products::kNone,
                    kRopeAppendKv);
}
KernelChoice row_choice(const Card& card, const Argmax& op) {
  return with_times({.kernel = "ArgmaxKernel"}, card, cost(op), Products::kNone, kArgmax);
}
KernelChoice row_choice(const Card& card, const Sample& op) {
  return with_times({.kernel = "SampleKernel"}, card, cost(op), Products::kNone, std::nullopt);
}

}  // namespace emberq::cuda
