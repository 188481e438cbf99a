#pragma once

#include "ops/backend.h"
#include "ops/kernel_choice.h"

namespace emberq::cpu {

// One function per operation, each in the file of its name: the definition in plain loops, with the
// work split over threads.
void embed(const Embed& op);
void rms_norm(const RmsNorm& op);
void per_token_quantize(const PerTokenQuantize& op);
void silu_and_mul(const SiluAndMul& op);
void linear(const Linear& op);
KernelChoice linear_choice(const Linear& op);  // by which code
void rope_append_kv(const RopeAppendKv& op);
void attention(const Attention& op);
void read_kv(const ReadKv& op);
void cross_entropy(const CrossEntropy& op);
void argmax(const Argmax& op);
void sample(const Sample& op);

}  // namespace emberq::cpu
