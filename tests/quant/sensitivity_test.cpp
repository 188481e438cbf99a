#include "quant/analysis/sensitivity.h"

#include <gtest/gtest.h>

#include <functional>

#include "eval/divergence.h"
#include "model/model.h"
#include "quant/layer/f64_layer.h"
#include "support/refusal.h"
#include "support/tiny_model.h"

namespace emberq::sensitivity_test {
namespace {

// Linears that read one input.
std::vector<std::vector<Projection>> by_input() {
  std::vector<std::vector<Projection>> groups;
  for (const LinearInput site : kLinearInputs)
    groups.emplace_back(linears_reading(site).begin(), linears_reading(site).end());
  return groups;
}

const WeightScheme kInt4{4, 128};

// The tiny model in F32, with down_proj of both layers on INT4's own grid.
void write_model_with_exact_down(const fs::path& from, const fs::path& folder) {
  fs::create_directory(folder);
  for (const auto& entry : fs::directory_iterator(from))
    if (entry.path().extension() == ".json") fs::copy_file(entry, folder / entry.path().filename());
  const Checkpoint checkpoint = Checkpoint::open(from);
  SafetensorsWriter writer(folder);
  for (const std::string& name : checkpoint.names()) {
    const Tensor tensor = checkpoint.get(name);
    if (name.find("down_proj.weight") == name.npos) {
      writer.add(name, tensor);
      continue;
    }
    std::vector<float> values(size_t(tensor.size()));
    for (size_t i = 0; i < values.size(); ++i)  // every group reaches 7
      values[i] = float(int(i * i * 31 + i * 7) % 8 - (i % 128 == 5 ? 0 : 1)) / 16;
    for (size_t g = 0; g < values.size(); g += 128) values[g] = 7.0f / 16;
    writer.add(name, Tensor::of(tensor.shape(), values));
  }
  writer.finish();
}

class TinySensitivity : public testing::Test {
 protected:
  TinySensitivity() {
    test::write_tiny_model(folder_.path() / "model", test::tiny_config("llama"));
    for (int i = 0; i < 75; ++i) ids_.push_back((i * i * 37 + 11 * i) % 8192);
  }

  Checkpoint checkpoint() const { return Checkpoint::open(folder_.path() / "model"); }
  std::vector<Sensitivity> measure(const std::vector<SensitivityUnit>& units) {
    return measure_sensitivity(checkpoint(), *backend_, ids_, options_, units).units;
  }
  // Of a model changed by hand.
  Divergence by_hand(const std::function<void(Model&)>& change,
                     std::optional<KvScheme> kv = std::nullopt) {
    Model original = Model::load(checkpoint(), *backend_);
    Model model = Model::load(checkpoint(), *backend_, kv);
    change(model);
    return divergence(original, model, ids_, {.window = options_.length});
  }
  Weight rounded(int64_t layer, Projection module) {
    const F64Layer block = read_block(checkpoint(), layer);
    return backend_->prepare(round_to_nearest(block[module], kInt4, options_.rule));
  }

  const TestFolder folder_;
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
  std::vector<int> ids_;
  SensitivityOptions options_{.windows = 3, .length = 25};
};

TEST_F(TinySensitivity, IsTheDivergenceOfAModelQuantizedByHand) {
  const auto units = units_by_module({{Projection::kGate, Projection::kUp}}, {kInt4});
  const Divergence expected = by_hand([&](Model& model) {
    for (int64_t layer = 0; layer < 2; ++layer)
      for (const Projection module : {Projection::kGate, Projection::kUp})
        model.layer(layer)[module].weight = rounded(layer, module);
  });
  const SensitivityResult report =
      measure_sensitivity(checkpoint(), *backend_, ids_, options_, units);
  const Sensitivity& s = report.units[0];
  EXPECT_GT(s.kl, 1e-6);
  EXPECT_EQ(s.kl, expected.kl);
  EXPECT_EQ(s.ppl, expected.ppl);
  EXPECT_EQ(report.ppl, expected.reference_ppl);
  EXPECT_EQ(s.bits, 4.125);
  EXPECT_DOUBLE_EQ(s.mac_share, 2 * 256 / double(128 + 64 + 64 + 128 + 3 * 256));
}

TEST_F(TinySensitivity, OfOneLayerLeavesTheOther) {
  SensitivityUnit unit = units_by_layer(checkpoint().config(), {{Projection::kO}}, {kInt4})[1];
  EXPECT_EQ(unit.name, "layer 1 o_proj");
  const Divergence expected = by_hand(
      [&](Model& model) { model.layer(1)[Projection::kO].weight = rounded(1, Projection::kO); });
  EXPECT_EQ(measure({unit})[0].kl, expected.kl);
}

TEST_F(TinySensitivity, OfInputsAloneRoundsWhatAllTheirReadersRead) {
  const auto units = units_by_module(by_input(), {.input = ActivationScheme::kFp8Token});
  EXPECT_EQ(units[0].name, "q+k+v_proj");
  const Divergence expected = by_hand([&](Model& model) {
    for (int64_t layer = 0; layer < 2; ++layer)
      for (const Projection module : {Projection::kQ, Projection::kK, Projection::kV})
        model.layer(layer)[module].input = ActivationScheme::kFp8Token;
  });
  const Sensitivity s = measure(units)[0];
  EXPECT_GT(s.kl, 1e-6);
  EXPECT_EQ(s.kl, expected.kl);
  EXPECT_EQ(s.bits, 16) << "BF16, as stored";
}

TEST_F(TinySensitivity, OfTheCacheIsThatOfAModelThatKeepsItSo) {
  const AttentionScheme attention{.kv = KvScheme::kInt4Head, .query = QueryScheme::kFp8Head};
  const Divergence expected = by_hand(
      [](Model& model) {
        for (int64_t layer = 0; layer < 2; ++layer)
          model.layer(layer).query = QueryScheme::kFp8Head;
      },
      KvScheme::kInt4Head);
  const Sensitivity s = measure({cache_unit(attention)})[0];
  EXPECT_GT(s.kl, 1e-6);
  EXPECT_EQ(s.kl, expected.kl);
  EXPECT_EQ(s.bits, 4 + 8.0 / 32) << "an e4m3 scale for 32 channels";
  EXPECT_EQ(s.mac_share, 0);
}

TEST_F(TinySensitivity, DoesNotDependOnWhatWasMeasuredBefore) {
  const auto weights = units_by_module({{Projection::kDown}}, {kInt4})[0];
  const auto inputs =
      units_by_module({{Projection::kDown}}, {.input = ActivationScheme::kFp8Token})[0];
  const auto cache = cache_unit({.kv = KvScheme::kInt4Head});
  const auto once = measure({weights}), again = measure({inputs, cache, weights, inputs});
  EXPECT_EQ(again[2].kl, once[0].kl);
  EXPECT_EQ(again[3].kl, again[0].kl);
}

TEST_F(TinySensitivity, OfWeightsThatTheSchemeHasExactlyIsZero) {
  write_model_with_exact_down(folder_.path() / "model", folder_.path() / "exact");
  options_.rule = ScaleRule::kAbsmax;
  const auto units = units_by_module({{Projection::kDown}, {Projection::kUp}}, {kInt4});
  const auto s = measure_sensitivity(Checkpoint::open(folder_.path() / "exact"), *backend_, ids_,
                                     options_, units)
                     .units;
  EXPECT_EQ(s[0].kl, 0);
  EXPECT_GT(s[1].kl, 0);
}

TEST_F(TinySensitivity, TakesOneScaleForARow) {
  const auto units = units_by_module({{Projection::kDown}}, {WeightScheme{4, 0}});
  const Sensitivity s = measure(units)[0];
  EXPECT_EQ(s.bits, 4 + 16.0 / 256);
  EXPECT_GT(s.kl, measure(units_by_module({{Projection::kDown}}, {WeightScheme{4, 32}}))[0].kl);
}

TEST_F(TinySensitivity, OfAllLayersSharesAddUpToOne) {
  const ModelConfig config = checkpoint().config();
  for (const auto& groups : {single_modules(), by_input()}) {
    double by_module = 0, by_layer = 0;
    for (const auto& unit : units_by_module(groups, {kInt4})) by_module += mac_share(config, unit);
    for (const auto& unit : units_by_layer(config, groups, {kInt4}))
      by_layer += mac_share(config, unit);
    EXPECT_DOUBLE_EQ(by_module, 1);
    EXPECT_DOUBLE_EQ(by_layer, 1);
  }
}

TEST_F(TinySensitivity, RefusesWhatCannotBeMeasured) {
  const auto units = units_by_module({{Projection::kDown}}, {kInt4});
  const auto measure_with = [&](SensitivityOptions options) {
    measure_sensitivity(checkpoint(), *backend_, ids_, options, units);
  };
  EXPECT_REFUSED(measure_with({.windows = 4, .length = 25}),
                 "has 75 tokens, 4 windows of 25 need 100");
  EXPECT_REFUSED(measure_with({.windows = 0}), "at least one window, got 0");
  EXPECT_REFUSED(measure(units_by_module({{Projection::kO}}, {WeightScheme{4, 96}})),
                 "self_attn.o_proj has 128 inputs, which groups of 96 (int4-g96) do not divide");
  ids_.resize(200'000);
  EXPECT_REFUSED(measure_with({.windows = 1, .length = 257}), "257", "256 positions");
  EXPECT_REFUSED(measure_with({.windows = 600, .length = 256}),
                 "600 windows of 256 tokens take 5.0 GB, more than 4");
}

TEST_F(TinySensitivity, RefusesAnIdOutsideTheVocabulary) {
  for (const int bad : {-1, 8192}) {
    ids_[3] = bad;
    EXPECT_REFUSED(measure(units_by_module({{Projection::kDown}}, {kInt4})),
                   "position 3 of the text has the id " + std::to_string(bad), "vocab_size 8192");
  }
}

TEST_F(TinySensitivity, ChecksThatAUnitHasLinears) {
  EXPECT_THROW(measure(units_by_module({{}}, {kInt4})), Error);
}

TEST(SensitivityUnit, SaysItsScheme) {
  const auto of = [](PartScheme scheme) {
    return scheme_name({.name = "", .modules = {Projection::kO}, .linear = scheme});
  };
  EXPECT_EQ(of({kInt4}), "int4-g128");
  EXPECT_EQ(of({.input = ActivationScheme::kFp8Token}), "fp8-token inputs");
  EXPECT_EQ(of({WeightScheme{.bits = 6}, {ActivationCode::kInt8, 128}}),
            "int6-g128, int8-g128 inputs");
  EXPECT_EQ(scheme_name(cache_unit({.kv = KvScheme::kInt4Head,
                                    .query = QueryScheme::kFp8Head,
                                    .probability = ProbabilityScheme::kFp8,
                                    .hadamard = true})),
            "int4-head, hadamard, fp8-head queries, fp8 probabilities");
}

}  // namespace
}  // namespace emberq::sensitivity_test
