#pragma once

#include <fmt/format.h>

#include "base/error.h"

// EMBERQ_CHECK(k % 128 == 0, "linear: k must be a multiple of 128, got {}", k);
//
// For .cpp files. A .cu file includes base/error.h: nvcc's host pass cannot take fmt's compile-time
// format strings.
#define EMBERQ_CHECK(condition, ...)                          \
  do {                                                        \
    if (!(condition)) [[unlikely]]                            \
      ::emberq::fail(#condition, ::fmt::format(__VA_ARGS__)); \
  } while (false)

// The same for what a user gave: throws InputError, whose message is the sentence alone.
#define EMBERQ_REQUIRE(condition, ...)                        \
  do {                                                        \
    if (!(condition)) [[unlikely]]                            \
      throw ::emberq::InputError(::fmt::format(__VA_ARGS__)); \
  } while (false)
