#include "quant/layer_result.h"

#include <cmath>

#include "quant/rounding/linear_algebra.h"
#include "quant/rounding/quantized_weight_io.h"

namespace emberq {
namespace {

double decibels(double signal, double noise) {
  return noise > 0 ? 10 * std::log10(signal / noise) : 0;
}

// sum_i m_i gram m_i^T over the rows of m [n, k]
double energy(const std::vector<double>& m, const std::vector<double>& gram, int64_t n, int64_t k) {
  const std::vector<double> pulled = product(m.data(), gram.data(), n, k, k);
  double sum = 0;
  for (size_t i = 0; i < m.size(); ++i) sum += m[i] * pulled[i];
  return sum;
}

}  // namespace

LinearResult report_linear(Projection module, const F64Linear& dense, const QuantizedWeight& weight,
                           ActivationScheme activation, const std::vector<double>& gram,
                           int64_t tokens) {
  LinearResult report{
      .module = module,
      .scheme = name(weight.scheme),
      .activation = name(activation),
      .bits = bits_per_weight(weight.scheme, 8 * double(size_bytes(weight.scale.dtype())),
                              double(weight.k))};
  const std::vector<float> values = unpack(weight);
  std::vector<double> error(values.size());
  double signal = 0, noise = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    error[i] = dense.weight[i] - double(values[i]);
    signal += dense.weight[i] * dense.weight[i];
    noise += error[i] * error[i];
  }
  report.sqnr_db = decibels(signal, noise);
  if (gram.empty()) return report;
  report.output_sqnr_db =
      decibels(energy(dense.weight, gram, dense.n, dense.k), energy(error, gram, dense.n, dense.k));
  double power = 0;
  for (int64_t j = 0; j < dense.k; ++j) power += gram[size_t(j * dense.k + j)];
  report.input_rms = std::sqrt(power / double(tokens * dense.k));
  return report;
}

}  // namespace emberq
