#include "quant/channel_scale.h"

#include <cmath>
#include <initializer_list>

namespace emberq {
namespace {

// sum_i |W_ij| over the rows of the linears that share an input, and how many rows these are.
struct AbsoluteSums {
  std::vector<double> sum;  // [k]
  int64_t rows = 0;
};

AbsoluteSums absolute_sums(std::initializer_list<const DenseLinear*> linears) {
  AbsoluteSums result;
  for (const DenseLinear* linear : linears) {
    result.sum.resize(size_t(linear->k));
    result.rows += linear->n;
    for (int64_t i = 0; i < linear->n; ++i)
      for (int64_t j = 0; j < linear->k; ++j) result.sum[size_t(j)] += std::abs(linear->row(i)[j]);
  }
  return result;
}

// λ of each channel from its mean magnitude.
std::vector<double> lambdas(const AbsoluteSums& sums, const ChannelScale& scale) {
  std::vector<double> means = sums.sum;
  double total = 0;
  for (double& mean : means) total += mean /= double(sums.rows);
  const double constant = scale.constant.value_or(total / double(means.size()));
  std::vector<double> lambda;
  lambda.reserve(means.size());
  for (const double mean : means) lambda.push_back(mean > 0 ? constant / mean : 1.0);
  return lambda;
}

}  // namespace

void scale_qkv_inputs(DenseBlock& block, const ChannelScale& scale) {
  DenseLinear &q = block[Module::kQ], &k = block[Module::kK], &v = block[Module::kV];
  const std::vector<double> lambda = lambdas(absolute_sums({&q, &k, &v}), scale);
  for (size_t j = 0; j < lambda.size(); ++j) {
    for (DenseLinear* linear : {&q, &k, &v}) linear->scale_input(int64_t(j), lambda[j]);
    block.input_layernorm[j] /= lambda[j];
  }
}

void scale_up_gate_inputs(DenseBlock& block, const ChannelScale& scale) {
  DenseLinear &up = block[Module::kUp], &gate = block[Module::kGate];
  const std::vector<double> lambda = lambdas(absolute_sums({&up, &gate}), scale);
  for (size_t j = 0; j < lambda.size(); ++j) {
    for (DenseLinear* linear : {&up, &gate}) linear->scale_input(int64_t(j), lambda[j]);
    block.post_attention_layernorm[j] /= lambda[j];
  }
}

void scale_down_inputs(DenseBlock& block, const ChannelScale& scale) {
  const std::vector<double> lambda = lambdas(absolute_sums({&block[Module::kDown]}), scale);
  for (size_t j = 0; j < lambda.size(); ++j) {
    block[Module::kDown].scale_input(int64_t(j), lambda[j]);
    block[Module::kUp].scale_output(int64_t(j), 1 / lambda[j]);
  }
}

void scale_o_inputs(DenseBlock& block, const ModelConfig& config, const ChannelScale& scale) {
  DenseLinear& o = block[Module::kO];
  const int64_t group = config.num_heads / config.num_kv_heads, d = config.head_dim;
  const AbsoluteSums by_input = absolute_sums({&o});
  const auto v_row = [&](int64_t input) { return input / d / group * d + input % d; };

  AbsoluteSums by_value{std::vector<double>(size_t(config.num_kv_heads * d)), o.n * group};
  for (int64_t j = 0; j < o.k; ++j) by_value.sum[size_t(v_row(j))] += by_input.sum[size_t(j)];
  const std::vector<double> lambda = lambdas(by_value, scale);
  for (int64_t j = 0; j < o.k; ++j) o.scale_input(j, lambda[size_t(v_row(j))]);
  for (size_t i = 0; i < lambda.size(); ++i)
    block[Module::kV].scale_output(int64_t(i), 1 / lambda[i]);
}

void scale_values(DenseBlock& block, double factor) {
  DenseLinear &v = block[Module::kV], &o = block[Module::kO];
  for (int64_t i = 0; i < v.n; ++i) v.scale_output(i, factor);
  for (int64_t j = 0; j < o.k; ++j) o.scale_input(j, 1 / factor);
}

}  // namespace emberq
