#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json_fwd.h"
#include "format/scheme.h"

// emberq.json: what compressed-tensors cannot say of a model folder. A folder without one has none
// of it.
namespace emberq {

inline constexpr std::string_view kEmberqConfigName = "emberq.json";

// S of one KV head: after RoPE, K's channel channels[i] is multiplied by scale[i] and Q's divided
// by it. The other channels have 1.
struct PostRopeScale {
  std::vector<int> channels;
  std::vector<float> scale;
  bool operator==(const PostRopeScale&) const = default;
};

struct AttentionScheme {
  KvScheme kv = KvScheme::kFp;
  QueryScheme query = QueryScheme::kNone;
  ProbabilityScheme probability = ProbabilityScheme::kNone;
  std::vector<std::vector<PostRopeScale>> post_rope;  // [layer][kv_head]; empty = none
  bool hadamard = false;                              // on queries and keys, after S
  // Taken off keys (after RoPE) and values before they are stored: [layer][kv_head * head_dim +
  // channel]; empty = none.
  std::vector<std::vector<float>> key_mean, value_mean;
  bool operator==(const AttentionScheme&) const = default;
};

struct EmberqConfig {
  std::string recipe;  // JSON of what made the folder, for people; not interpreted; empty = none
  Dequant dequant = Dequant::kExact;          // of all linears that can_dequantize_to_e4m3()
  std::map<std::string, float> global_scale;  // p of each linear where it is not 1
  AttentionScheme attention;
  int down_hadamard = 0;  // block of the Hadamard transform of down_proj's input; 0 = none
};

// InputError names `where` and the key. Whether linears, layers and heads are the model's is for
// Checkpoint::open to say.
EmberqConfig parse_emberq_config(const OrderedJson& json, const std::string& where);
OrderedJson to_json(const EmberqConfig& emberq_config);  // floats come back exactly

}  // namespace emberq
