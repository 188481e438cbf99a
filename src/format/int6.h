#pragma once

// INT6: codes -32 ... 31. A symmetric scale is absmax / 31.
namespace emberq {

struct Int6 {
  static constexpr int kBits = 6, kMin = -32, kMax = 31;
};

}  // namespace emberq
