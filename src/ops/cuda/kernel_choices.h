#pragma once

#include <string_view>

#include "ops/cuda/attention/attention_kernel.h"
#include "ops/cuda/cuda_weight.h"
#include "ops/kernel_choice.h"

// What CudaBackend says of the kernels that it picks: names, configurations and times.
namespace emberq::cuda {

// What a card was seen to do (docs/kernels/w4a8.md), and how many multiprocessors it has.
struct Card {
  double read_rate = 0;  // bytes a second from memory
  double fp8_rate = 0;   // operations a second, of e4m3 and INT8; of BF16 and FP16 half as many
  int multiprocessors = 0;
};
Card card_of(std::string_view device_name, int multiprocessors);

// What multiplies.
enum class LinearPath {
  kTiled,    // LinearKernel or SliceKernel
  kLibrary,  // cuBLASLt
  kGeneral,  // the general kernels
  kNaive,    // the definition
};

// `library_obstacle`: why cuBLASLt does not run it, of kGeneral.
KernelChoice linear_choice(const Card& card, const Linear& op, const CudaWeight& weight,
                           LinearPath path, bool invariant, std::string_view library_obstacle);
KernelChoice attention_choice(const Card& card, const Attention& op, AttentionKernel kernel,
                              bool invariant);
KernelChoice row_choice(const Card& card, const Embed& op);
KernelChoice row_choice(const Card& card, const RmsNorm& op);
KernelChoice row_choice(const Card& card, const PerTokenQuantize& op);
KernelChoice row_choice(const Card& card, const SiluAndMul& op);
KernelChoice row_choice(const Card& card, const RopeAppendKv& op);
KernelChoice row_choice(const Card& card, const Argmax& op);
KernelChoice row_choice(const Card& card, const Sample& op);

}  // namespace emberq::cuda
