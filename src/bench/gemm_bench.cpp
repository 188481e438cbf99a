#include "bench/gemm_bench.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"

namespace emberq::bench {
namespace {

constexpr int64_t kGroup = 128;            // of the schemes that are measured
constexpr int64_t kLargestSide = 1 << 20;  // so that sizes stay far from overflow

struct ModelShapes {
  std::string_view name;
  int64_t qkv, hidden, gate_up, intermediate;
};
constexpr ModelShapes kModels[] = {{"llama-3-8b", 6144, 4096, 28672, 14336},
                                   {"llama-2-7b", 12288, 4096, 22016, 11008},
                                   {"llama-2-70b", 10240, 8192, 57344, 28672}};

// All of the text as a number from 1; 0 for anything else.
int64_t side(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end && value > 0 && value <= kLargestSide ? value : 0;
}

}  // namespace

std::vector<GemmShape> gemm_shapes(std::string_view model) {
  for (const ModelShapes& m : kModels)
    if (m.name == model)
      return {{"qkv", m.qkv, m.hidden},
              {"o", m.hidden, m.hidden},
              {"gate_up", m.gate_up, m.hidden},
              {"down", m.hidden, m.intermediate}};
  const size_t by = model.find('x');
  const int64_t n = by == model.npos ? 0 : side(model.substr(0, by)),
                k = by == model.npos ? 0 : side(model.substr(by + 1));
  EMBERQ_REQUIRE(n > 0 && k > 0,
                 "--model must be llama-3-8b, llama-2-7b, llama-2-70b or a shape such as "
                 "28672x4096, outputs by inputs of up to {}, got {}",
                 kLargestSide, model);
  EMBERQ_REQUIRE(k % kGroup == 0, "--model {}: the inputs must be a multiple of {}, the group",
                 model, kGroup);
  return {{"", n, k}};
}

}  // namespace emberq::bench
