#pragma once

#include "quant/calibration.h"
#include "quant/dense_block.h"
#include "quant/recipe.h"

// The two scales of attention (fireq.md 3). RoPE turns channel j with its partner, j + head_dim
// / 2.
namespace emberq {

// S, after RoPE, one list a KV head: the top_k channels by largest |K| and their partners, each
// brought to a largest value of beta. Channels in rising order; of equal ones the lower is taken
// first. A channel that never left zero keeps 1.
std::vector<PostRopeScale> post_rope_scale(const KeyStatistics& keys,
                                           const Recipe::PostRope& options);

// N, before RoPE, [kv_heads, head_dim / 2]: brings each pair's largest radius to alpha; 1 for pairs
// that S handles in `post_rope` and for those that never left zero. With `shared`, all heads get
// one N, from the maximum over heads, and 1 where any head's S handles the pair.
std::vector<double> pre_rope_scale(const KeyStatistics& keys,
                                   const std::vector<PostRopeScale>& post_rope,
                                   const Recipe::PreRope& options, bool shared);

// K's rows times N and the rows of the query heads that read them divided by it, with biases; in a
// model with QK norms, whose N must be shared, the norms' weights instead.
void fold_pre_rope_scale(DenseBlock& block, const ModelConfig& config,
                         const std::vector<double>& scale);

}  // namespace emberq
