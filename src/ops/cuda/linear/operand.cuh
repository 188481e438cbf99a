#pragma once

#include <cstdint>

#include "ops/cuda/linear/tile_order.h"
#include "ops/cuda/ptx/pipeline.cuh"
#include "ops/cuda/ptx/wgmma.cuh"

namespace emberq::device {

// What the products of a thread's two rows, g and g + 8, are multiplied by.
struct W4Scales {
  float low, high;
};

// How a thread of a warpgroup makes operand A of wgmma of a tile in shared memory, which is given
// by its address. kScarce: no register to spare for what can be read anew.
template <W4Codes kCodes, int kSets, bool kScarce>
class W4Operand {
 public:
  // What is read of a tile before it is expanded: its codes and, where they are of one set, its
  // products.
  static constexpr bool kTakesNumbers = are_products(kCodes) && kSets == 1;
  struct Codes {
    uint32_t words[8];
    uint4 numbers;  // if kTakesNumbers
  };
  using Registers = uint32_t[16];  // four for each 32 inputs

  // kSigned's table of eight in constant memory and a copy of it in shared memory. Half of it stays
  // in the former, as PRMT can take one of the two from there; the other is loaded from an address
  // that looks different in every thread, or it would be moved from a uniform register before every
  // use.
  __device__ W4Operand(const W4Table& table, uint32_t copy) : table_(table) {
    if constexpr (kCodes == W4Codes::kSigned)
      table_.words[0] = load_shared_4(copy + (thread_again() >> 10));
  }

  __device__ void take(uint32_t tile, Codes& to) const {
    const uint32_t codes = tile + thread() * 16;
    const uint4 v[2] = {load_shared_16(codes), load_shared_16(codes + 2048)};
    for (int half = 0; half < 2; ++half) {
      uint32_t* words = to.words + 4 * half;
      words[0] = v[half].x, words[1] = v[half].y, words[2] = v[half].z, words[3] = v[half].w;
    }
    if constexpr (kTakesNumbers) to.numbers = load_shared_16(numbers_of(tile, 0));
  }

  __device__ void expand(uint32_t tile, const Codes& codes, Registers& to) const {
    W4Table even, odd;  // of products
#pragma unroll
    for (int w = 0; w < 8; ++w) {
      W4Pair pair;
      if constexpr (kCodes == W4Codes::kSigned) {
        pair = expand_signed(codes.words[w], table_, table_);
      } else if constexpr (kCodes == W4Codes::kIntegers) {
        pair = expand_integers(codes.words[w]);
      } else {
        constexpr int kWords = 8 / kSets;  // that share tables
        if (w % kWords == 0) {
          const uint4 v =
              kTakesNumbers ? codes.numbers : load_shared_16(numbers_of(tile, w / kWords));
          if constexpr (kCodes == W4Codes::kSignedProducts)
            even = {{v.x, v.y}}, odd = {{v.z, v.w}};
          else
            even = with_positive(v.x, v.y), odd = with_positive(v.z, v.w);
        }
        if constexpr (kCodes == W4Codes::kSignedProducts)
          pair = expand_signed(codes.words[w], even, odd);
        else
          pair = expand_each(codes.words[w], even, odd);
      }
      to[2 * w] = pair.even, to[2 * w + 1] = pair.odd;
    }
    pin<16>(to);
  }

  // But of products.
  __device__ W4Scales scales(uint32_t tile, int set) const {
    const uint32_t pair = load_shared_4(numbers_of(tile, set));
    return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000)};
  }

 private:
  __device__ uint32_t thread() const { return kScarce ? uint32_t(thread_again()) % 128 : thread_; }
  // Where the numbers of this thread's two rows are, in a set.
  __device__ uint32_t numbers_of(uint32_t tile, int set) const {
    constexpr int kSetBytes = w4_set_bytes(kCodes);
    return tile + kW4CodeBytes + set * kSetBytes + thread() / 4 * (kSetBytes / 32);
  }

  uint32_t thread_ = uint32_t(thread_again()) % 128;  // of the warpgroup
  W4Table table_;
};

}  // namespace emberq::device
