#include "quant/rounding/generalization.h"

#include <algorithm>

#include "quant/rounding/linear_algebra.h"

namespace emberq {
namespace {

constexpr double kWhole = 0.9;

double inner_product(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
#pragma omp parallel for simd reduction(+ : sum)
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

double gram_shrinkage(const std::vector<double>& gram, double fourth_powers, int64_t tokens,
                      int64_t distinct, int64_t k) {
  double trace = 0;
  for (int64_t i = 0; i < k; ++i) trace += gram[size_t(i * k + i)];
  const double power = inner_product(gram, gram), flat = trace * trace / double(k);
  const double distance = power - flat;  // |G - m I|^2
  if (distinct < 2 || !(distance > 0)) return 1;
  const double noise = (double(tokens) * fourth_powers - power) / double(distinct - 1);
  return std::clamp(noise / distance, 0.0, 1.0);
}

double correction_share(const Lacking& a, const Lacking& b, int64_t n, int64_t k, double damping) {
  double agreed = 0, power = 0;
  const auto predict = [&](const Lacking& from, const Lacking& to) {
    const std::vector<double> d =
        solve_right({from.cross.begin(), from.cross.end()},
                    damped({from.gram.begin(), from.gram.end()}, k, damping), n, k);
    agreed += inner_product(d, to.cross);
    power += inner_product(d, product(d.data(), to.gram.data(), n, k, k));
  };
  predict(a, b);
  predict(b, a);
  if (!(agreed > 0)) return 0;
  const double share = agreed / power;
  const double of_both = 2 * share / (1 + share);
  return of_both < kWhole ? of_both : 1;
}

}  // namespace emberq
