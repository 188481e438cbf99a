#pragma once

#include "quant/calibration/calibration.h"
#include "quant/layer/f64_layer.h"
#include "quant/recipe/recipe.h"

// The two scales of attention: FireQ's N, before RoPE, and S, after it. RoPE turns channel j with
// its partner, j + head_dim / 2.
namespace emberq {

// S, after RoPE, one list a KV head: the top_k channels by largest |K| and their partners, each
// brought to a largest value of beta. Channels in rising order; of equal ones the lower is taken
// first. A channel that never left zero keeps 1.
std::vector<PostRopeScale> post_rope_scale(const KeyStatistics& keys,
                                           const Recipe::PostRope& options);

// N, before RoPE, [kv_heads, head_dim / 2], 1 for pairs that S handles in `post_rope` and for those
// that never left zero:
//   kRadius   brings each pair's largest radius to alpha
//   kMaximum  divides it by its largest radius^power
//   kBalance  (rms of the queries' pair / rms of the keys')^power over the geometric mean of the
//             head. Noise of one size on all of a head's key channels, which is what a Hadamard
//             transform makes of rounding, moves the scores least with power 1/2; and keys and
//             queries that trade a factor give the same product N K, whatever the factor was.
// With `shared`, all heads get one N, from the maximum or the sum over heads, and 1 where any
// head's S handles the pair.
std::vector<double> pre_rope_scale(const KeyStatistics& keys,
                                   const std::vector<PostRopeScale>& post_rope,
                                   const Recipe::PreRope& options, bool shared);

// K's rows times N and the rows of the query heads that read them divided by it, with biases; in a
// model with QK norms, whose N must be shared, the norms' weights instead.
void fold_pre_rope_scale(F64Layer& block, const ModelConfig& config,
                         const std::vector<double>& scale);

}  // namespace emberq
