#include "model/parameters.h"

#include <gtest/gtest.h>

#include <set>

#include "support/shared.h"

namespace emberq::parameters_test {
namespace {

TEST(Parameters, AreTheTensorsOfThePublishedModel) {
  const Checkpoint model = Checkpoint::open(test::source_folder() / "models/nano-wiki");
  const ModelConfig& config = model.config();
  std::set<std::string> names;
  const auto expect_there = [&](const Parameter& parameter, const std::string& name) {
    if (!parameter.present(config)) return;
    EXPECT_EQ(model.get(name).shape(), parameter.shape(config)) << name;
    names.insert(name);
  };
  for (const Parameter* parameter : {&kEmbedding, &kFinalNorm, &kHead})
    expect_there(*parameter, std::string(parameter->name));
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    for (const Parameter& parameter : layer_parameters())
      expect_there(parameter, layer_tensor(layer, parameter.name));
  const std::vector<std::string> stored = model.names();
  EXPECT_EQ(names, std::set<std::string>(stored.begin(), stored.end()));
}

TEST(Parameters, HaveAWeightAndABiasOfEveryModule) {
  for (const Projection module : kProjections) {
    EXPECT_EQ(weight_of(module).name, std::string(name(module)) + ".weight");
    EXPECT_EQ(bias_of(module).name, std::string(name(module)) + ".bias");
  }
}

TEST(Parameters, AreReadAtTheSitesOfTheirModules) {
  for (const LinearInput site : kLinearInputs)
    for (const Projection module : linears_reading(site))
      EXPECT_EQ(input_of(module), site) << name(module);
}

}  // namespace
}  // namespace emberq::parameters_test
