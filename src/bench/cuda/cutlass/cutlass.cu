// Needs CUTLASS 4 and its utilities. CUTLASS computes out^T = w x^T, with w the operand that comes
// from registers.
#include <cutlass/gemm/device/gemm_universal_adapter.h>
#include <cutlass/version.h>

#include <algorithm>
#include <array>
#include <cutlass/epilogue/collective/collective_builder.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <cutlass/gemm/kernel/gemm_universal.hpp>
#include <cutlass/util/mixed_dtype_utils.hpp>
#include <vector>

#include "base/error.h"
#include "bench/cuda/cutlass.h"
#include "format/bf16.h"
#include "format/weight_code.h"
#include "ops/cuda/runtime/stream.h"

namespace emberq::bench {
namespace {

using cutlass::float_e4m3_t;
using cutlass::int4b_t;
using Numbers = cutlass::Array<float_e4m3_t, 8>;  // of a group's codes -8 to -1
using Decomposition =
    cutlass::gemm::kernel::detail::PersistentTileSchedulerSm90StreamKParams::DecompositionMode;

constexpr int kGroup = 128;

// The order of codes, in which the codes of a thread are contiguous.
using OrderAtom = decltype(cutlass::compute_memory_reordering_atom<float_e4m3_t>());
using RowsOfCodes = cute::Stride<int64_t, cute::Int<1>, int64_t>;
using Order = decltype(cute::tile_to_shape(
    OrderAtom{}, cute::Layout<cute::Shape<int, int, int>, RowsOfCodes>{}));

Order order(int n, int k) { return cute::tile_to_shape(OrderAtom{}, cute::make_shape(n, k, 1)); }

template <int kTokens>
struct Instance {
  using Arch = cutlass::arch::Sm90;
  using Class = cutlass::arch::OpClassTensorOp;
  using Tile = cute::Shape<cute::_128, cute::Int<kTokens>, cute::_128>;
  using Cluster = cute::Shape<cute::_1, cute::_1, cute::_1>;
  using OutLayout = cutlass::layout::ColumnMajor;
  using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      Arch, Class, Tile, Cluster, cutlass::epilogue::collective::EpilogueTileAuto, float, float,
      void, OutLayout, 8, cutlass::bfloat16_t, OutLayout, 8,
      cutlass::epilogue::TmaWarpSpecializedCooperative>::CollectiveOp;
  using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      Arch, Class, cute::tuple<int4b_t, Numbers>, Order, 32, float_e4m3_t,
      cutlass::layout::ColumnMajor, 16, float, Tile, Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<int(
          sizeof(typename Epilogue::SharedStorage))>,
      cutlass::gemm::KernelTmaWarpSpecializedCooperative>::CollectiveOp;
  using Gemm = cutlass::gemm::device::GemmUniversalAdapter<cutlass::gemm::kernel::GemmUniversal<
      cute::Shape<int, int, int, int>, Mainloop, Epilogue, cutlass::gemm::StreamKScheduler>>;
};

struct Call {
  int n, k, m;
  const void* x = nullptr;
  const CutlassWeight* weight = nullptr;
  void* out = nullptr;
};

template <int kTokens>
typename Instance<kTokens>::Gemm::Arguments arguments(const Call& call, Decomposition mode) {
  using Gemm = typename Instance<kTokens>::Gemm;
  typename Gemm::GemmKernel::StrideB x_stride{};
  typename Gemm::GemmKernel::StrideD out_stride{};
  typename Gemm::GemmKernel::CollectiveMainloop::StrideScale numbers_stride{};
  cute::get<0>(x_stride) = call.k;
  cute::get<1>(out_stride) = call.n;
  cute::get<1>(numbers_stride) = call.n;
  typename Gemm::Arguments arguments{
      cutlass::gemm::GemmUniversalMode::kGemm,
      {call.n, call.m, call.k, 1},
      {.dA = order(call.n, call.k),
       .ptr_B = static_cast<const float_e4m3_t*>(call.x),
       .dB = x_stride,
       .dS = numbers_stride,
       .group_size = kGroup},
      {{}, nullptr, {}, static_cast<cutlass::bfloat16_t*>(call.out), out_stride}};
  if (call.weight) {
    arguments.mainloop.ptr_A = call.weight->codes.as<int4b_t>();
    arguments.mainloop.ptr_S = call.weight->numbers.as<Numbers>();
    arguments.epilogue.thread.alpha = 1 / call.weight->global_scale;
  }
  arguments.scheduler.decomposition_mode = mode;
  return arguments;
}

// One call, the host's part included, which the graph or the flush keeps out of the time. Clearing
// stream-K's counters is part of every call.
template <int kTokens>
bool run(const Call& call, Decomposition mode, void* workspace, cudaStream_t stream) {
  using Gemm = typename Instance<kTokens>::Gemm;
  const auto args = arguments<kTokens>(call, mode);
  Gemm gemm;
  return Gemm::can_implement(args) == cutlass::Status::kSuccess &&
         gemm.initialize(args, workspace, stream) == cutlass::Status::kSuccess &&
         gemm.run(stream) == cutlass::Status::kSuccess;
}

template <int kTokens>
size_t workspace_bytes(const Call& call, Decomposition mode) {
  return Instance<kTokens>::Gemm::get_workspace_size(arguments<kTokens>(call, mode));
}

struct Variant {
  int tokens;
  Decomposition mode;
  bool (*run)(const Call&, Decomposition, void* workspace, cudaStream_t);
  size_t (*workspace_bytes)(const Call&, Decomposition);
};
template <int... kTokens>
constexpr auto variants_of() {
  std::array<Variant, 2 * sizeof...(kTokens)> all{};
  size_t i = 0;
  ((all[i++] = {kTokens, Decomposition::DataParallel, run<kTokens>, workspace_bytes<kTokens>},
    all[i++] = {kTokens, Decomposition::Heuristic, run<kTokens>, workspace_bytes<kTokens>}),
   ...);
  return all;
}
constexpr auto kVariants = variants_of<16, 32, 64, 128, 256>();

// CUTLASS's code of u - 8: an index into the group's numbers, whose sign is inverted for a positive
// value. -8 ... -1 are 8 ... 15, 0 is 0, 1 ... 7 are 7 ... 1.
constexpr uint8_t encode(int u) { return uint8_t(u < 8 ? u + 8 : (16 - u) % 8); }

}  // namespace

std::string cutlass_version() {
  return std::to_string(CUTLASS_MAJOR) + "." + std::to_string(CUTLASS_MINOR) + "." +
         std::to_string(CUTLASS_PATCH);
}

CutlassWeight cutlass_weight(Backend& backend, const QuantizedWeight& weight) {
  const int64_t n = weight.n, k = weight.k, groups = k / kGroup;
  if (name(weight.scheme) != "int4-g128-e4m3" || n % CutlassProduct::kOutputs != 0 ||
      k % CutlassProduct::kInputs != 0)
    throw Error("CUTLASS: a weight that it does not multiply");
  std::vector<uint8_t> codes(size_t(n * k / 2)), numbers(size_t(n * groups) * sizeof(Numbers));
  const auto packed = weight.packed.bytes();
  for (size_t i = 0; i < codes.size(); ++i) {
    const int two = int(packed[i]);
    codes[i] = uint8_t(encode(two & 15) | encode(two >> 4) << 4);
  }
  const bf16* scale = weight.scale.data<bf16>();
  for (int64_t row = 0; row < n; ++row)
    for (int64_t g = 0; g < groups; ++g)
      for (int u = 0; u < 8; ++u)
        numbers[size_t((g * n + row) * 8 + u)] = dequantize_to_e4m3(
            float(u - 8), scale[row * groups + g].to_float(), weight.global_scale);

  CutlassWeight result{.n = n,
                       .k = k,
                       .global_scale = weight.global_scale,
                       .codes = Buffer(backend, codes.size()),
                       .numbers = upload(backend, numbers),
                       .bytes = codes.size() + numbers.size()};
  const Buffer rows = upload(backend, codes);
  backend.synchronize();  // CUTLASS orders on a stream of its own
  const RowsOfCodes stride{k, {}, 0};
  cutlass::reorder_tensor(rows.as<int4b_t>(),
                          cute::make_layout(cute::make_shape(int(n), int(k), 1), stride),
                          result.codes.as<int4b_t>(), order(int(n), int(k)));
  return result;
}

int CutlassProduct::variants() { return int(kVariants.size()); }

std::string CutlassProduct::name(int variant) {
  const Variant& v = kVariants[size_t(variant)];
  return "128x" + std::to_string(v.tokens) +
         (v.mode == Decomposition::Heuristic ? " stream-K" : "");
}

CutlassProduct::CutlassProduct(Backend& backend, int64_t n, int64_t k, int64_t m)
    : backend_(&backend), n_(n), k_(k), m_(m) {
  size_t bytes = 0;
  for (const Variant& v : kVariants)
    bytes = std::max(bytes, v.workspace_bytes({int(n), int(k), int(m)}, v.mode));
  workspace_ = Buffer(backend, bytes);
}

bool CutlassProduct::run(int variant, const void* x, const CutlassWeight& weight, void* out) const {
  if (weight.n != n_ || weight.k != k_) throw Error("CUTLASS: a weight of another shape");
  const Variant& v = kVariants[size_t(variant)];
  return v.run({int(n_), int(k_), int(m_), x, &weight, out}, v.mode, workspace_.as<void>(),
               cuda::stream_of(*backend_));
}

}  // namespace emberq::bench
