// config.json, its quantization_config, and emberq.json: each is refused in a sentence, or read.
#include "base/error.h"
#include "base/json.h"
#include "checkpoint/compressed_tensors/config.h"
#include "checkpoint/emberq_config.h"
#include "checkpoint/model_config.h"

namespace {

template <class Read>
void try_to(const Read& read) {
  try {
    read();
  } catch (const emberq::InputError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try_to([&] {
    const emberq::Json json = emberq::parse_json(text, "input");
    try_to([&] { emberq::parse_config(json, "input"); });
    try_to([&] { emberq::to_json(emberq::parse_emberq_config(json, "input")); });
    const emberq::JsonObject config =
        emberq::JsonObject(json, "input").object("quantization_config");
    emberq::QuantizationConfig::parse(config).find("model.layers.0.self_attn.q_proj");
  });
  return 0;
}
